"""A few errands at a time: what takes long holds up no other, and what fails is told once."""

from __future__ import annotations

import threading

import pytest

from meyrin.agent.errands import WIDTH, Errands
from meyrin.domain.errors import Unreachable


def test_a_long_one_holds_up_no_other():
    slow, done = threading.Event(), []
    all_others = threading.Event()

    def run(name):
        if name == "huge":
            assert slow.wait(60)
        done.append(name)
        if len(done) == 20:
            all_others.set()

    errands = Errands(run, "test")
    due = ["huge", *map(str, range(20))]
    errands.go(lambda: due)
    assert all_others.wait(60)
    assert "huge" not in done
    errands.go(lambda: due[:1])  # it is under way: not begun twice
    slow.set()
    while "huge" not in done:
        pass
    assert sorted(done) == sorted(due)


def test_never_more_than_a_few_at_once():
    lock, now, most = threading.Lock(), set(), []
    ended = threading.Barrier(2)

    def run(name):
        with lock:
            now.add(name)
            most.append(len(now))
        threading.Event().wait(0.001)
        with lock:
            now.discard(name)
            last = len(most) == 50 and not now
        if last:
            ended.wait(60)

    errands = Errands(run, "test")
    errands.go(lambda: map(str, range(50)))
    ended.wait(60)
    assert max(most) <= WIDTH


def test_what_one_meets_is_raised_by_the_next_call_and_the_others_wait_for_it():
    tried = []

    def run(name):
        tried.append(name)
        raise Unreachable("no hub answers")

    errands = Errands(run, "test")
    errands.begin = lambda work: work()
    errands.go(lambda: ["a", "b", "c"])
    assert tried == ["a"]
    for count in (2, 3):
        with pytest.raises(Unreachable):
            errands.go(lambda: ["a", "b", "c"])
        assert tried == ["a"] * count


def test_what_ends_while_the_list_is_read_is_not_begun_again():
    due, ran, read = {"a"}, [], threading.Event()

    def run(name):
        assert read.wait(60)
        ran.append(name)
        due.discard(name)

    errands = Errands(run, "test")
    errands.go(lambda: list(due))

    def slowly():
        found = list(due)
        read.set()
        threading.Event().wait(0.2)  # it ends meanwhile; its name is known until this is over
        return found

    errands.go(slowly)
    while due:
        pass
    errands.go(lambda: list(due))
    assert ran == ["a"]


def test_a_bug_is_raised_too():
    errands = Errands(lambda name: 1 / int(name), "test")
    errands.begin = lambda work: work()
    errands.go(lambda: ["0"])
    with pytest.raises(ZeroDivisionError):
        errands.go(lambda: ["1"])
    errands.go(lambda: ["1"])
