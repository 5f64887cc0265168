"""Compiled room against its plain twin, on thousands of small random rooms."""

from __future__ import annotations

import random

import numpy as np
import pytest
from tests.oracles.naive_room import NEVER, SECONDS, NaiveRoom

from meyrin.engine import room as rooms


class Both:
    """A room and its twin, changed together; what each answers is compared on the way."""

    def __init__(self, rng):
        self.rng = rng
        kinds = [[rng.randint(0, 2), rng.randint(1, 4), rng.randint(1, 8)] for _ in range(2)]
        capacity = [rng.choice(kinds) for _ in range(rng.randint(1, 6))]
        self.size = len(capacity)
        self.capacity = capacity
        self.room = rooms.new(np.array(capacity), 0)
        self.twin = NaiveRoom(capacity)
        self.taken = []
        self.now = 0

    def nodes(self):
        """Some of them, in any order: what comes first wins among equals."""
        return self.rng.sample(range(self.size), self.rng.randint(1, self.size))

    def asked(self):
        most = self.rng.choice(self.capacity)
        return [self.rng.randint(0, part) for part in most]

    def end(self, start):
        if self.rng.random() < 0.1:
            return NEVER
        return min(start + self.rng.randint(0, 12), SECONDS)

    def change(self):
        act = self.rng.choice([self.place, self.place, self.place, self.back, self.squeeze])
        self.room = rooms.ensured(self.room, 2 * self.size)
        act()

    def place(self):
        nodes, asked, packed = self.nodes(), self.asked(), self.rng.random() < 0.7
        count = self.rng.randint(1, len(nodes))
        walltime, begin = self.rng.randint(0, 12), self.rng.randint(self.now, self.now + 5)
        start, chosen = earliest(self.room, nodes, asked, count, walltime, begin, packed)
        expected = self.twin.earliest(nodes, asked, count, walltime, begin, packed)
        assert (start, chosen) == expected
        assert (
            rooms.first_start(*question(self.room, nodes, asked), count, walltime, begin) == start
        )
        if start >= 0:
            self.shift(chosen, asked, -1, start, min(start + walltime, SECONDS))

    def shift(self, chosen, asked, sign, start, end):
        change = rooms.take if sign < 0 else rooms.give
        change(self.room, np.array(chosen, np.int32), len(chosen), np.array(asked), start, end)
        for node in chosen:
            self.twin.add(node, asked, sign, start, end)
        if sign < 0:
            self.taken.append((chosen, asked, start, end))

    def back(self):
        """Give back the rest of something: a job that ended before its limit."""
        if self.taken:
            chosen, asked, start, end = self.taken.pop(self.rng.randrange(len(self.taken)))
            self.shift(chosen, asked, 1, max(start, self.now), end)

    def squeeze(self):
        nodes, asked, count = self.nodes(), self.asked(), self.rng.randint(1, self.size)
        end = self.end(self.now)
        scratch = np.zeros(len(nodes), np.int32)
        rooms.squeeze(*question(self.room, nodes, asked), count, self.now, end, scratch)
        self.twin.squeeze(nodes, asked, count, self.now, end)

    def compare(self):
        nodes, asked = self.nodes(), self.asked()
        count, walltime = self.rng.randint(1, len(nodes)), self.rng.randint(0, 9)
        asking = question(self.room, nodes, asked)
        at = self.rng.randint(self.now, SECONDS - 1)
        ready = self.twin.with_room(nodes, asked, at, walltime)
        assert rooms.count_with_room(*asking, walltime, at) == len(ready)
        assert rooms.longest(*asking, count, at) == self.twin.longest(nodes, asked, count, at)
        total = np.zeros(3, np.int64)
        rooms.free_at(self.room, asking[1], at, total)
        assert total.tolist() == self.twin.free_at(nodes, at)

    def later(self):
        self.now = min(self.now + self.rng.randint(0, 3), SECONDS // 2)
        rooms.compact(self.room, self.now)

    def profiles(self):
        """Of each node, its segments as (begin, free), and that none is lost or there twice."""
        seen, profiles = set(), []
        for node in range(self.size):
            profile, segment = [], node
            while segment >= 0:
                assert segment not in seen
                seen.add(segment)
                profile.append((self.room.time[segment], tuple(self.room.free[segment].tolist())))
                segment = self.room.next[segment]
            profiles.append(profile)
        assert len(seen) + self.room.spare[1] == len(self.room.time)
        return profiles


def question(room, nodes, asked):
    return room, np.array(nodes, np.int32), np.array(asked, np.int64)


def earliest(room, nodes, asked, count, walltime, not_before, packed):
    chosen = np.full(count, -1, np.int32)
    start = rooms.earliest(
        *question(room, nodes, asked), count, walltime, not_before, packed, chosen
    )
    return start, chosen.tolist() if start >= 0 else []


@pytest.mark.parametrize("batch", range(10))
def test_answers_as_the_naive_twin(batch):
    for seed in range(batch * 300, batch * 300 + 300):
        both = Both(random.Random(seed))
        for _ in range(12):
            both.change()
            both.compare()
            if both.rng.random() < 0.2:
                both.later()


def test_equal_neighbours_are_joined_and_nothing_is_lost():
    for seed in range(500):
        both = Both(random.Random(seed))
        for _ in range(12):
            both.change()
        for node, profile in enumerate(both.profiles()):
            assert [free for _, free in profile] == [
                free for _, free in changes(both.twin.free[node])
            ]
            assert [time for time, _ in profile] == [
                time for time, _ in changes(both.twin.free[node])
            ]


def changes(seconds):
    """(second, free) wherever what is free changes."""
    return [(at, free) for at, free in enumerate(seconds) if at == 0 or seconds[at - 1] != free]


def test_all_that_was_taken_and_given_back_leaves_no_trace():
    rng = random.Random(5)
    both = Both(rng)
    both.room = rooms.ensured(both.room, 400)
    for _ in range(30):
        start = rng.randint(0, 20)
        both.shift(both.nodes(), both.asked(), -1, start, both.end(start))
    while both.taken:
        both.back()
    assert [len(profile) for profile in both.profiles()] == [1] * both.size


def test_without_space_for_segments_a_change_is_refused():
    room = rooms.new(np.array([[0, 4, 8]]), 0)
    rooms.ensured(room, 0)
    with pytest.raises(ValueError, match="no space for another segment"):
        rooms.take(room, np.zeros(1, np.int32), 1, np.ones(3, np.int64), 5, 9)
    assert room.free.tolist() == [[0, 4, 8]]


def test_more_nodes_than_there_are_never_have_room():
    room = rooms.new(np.array([[0, 4, 8]] * 2), 0)
    assert earliest(room, [0, 1], [0, 1, 1], 3, 5, 0, True) == (-1, [])
    assert rooms.longest(*question(room, [0, 1], [0, 1, 1]), 3, 0) == 0
    assert earliest(room, [0, 1], [1, 1, 1], 1, 5, 0, True) == (-1, [])
