"""The door of a site: who goes in, who waits for room, who is sent away, for now or for good."""

from __future__ import annotations

import contextlib
import json
import os
import select
from dataclasses import replace
from pathlib import Path

import pytest
from tests.agent.scripted import CPU, NOW_MS, Clock, Site

from meyrin.agent import veto
from meyrin.agent.config import AgentConfig
from meyrin.agent.door import SHUT_FIRST_S, SHUT_LONGEST_S, Door, Way
from meyrin.agent.journal import Item
from meyrin.agent.rules import in_words
from meyrin.domain.job import JobRequest
from meyrin.wire.agents import Work

HELD, IN, NO, NOT_NOW = Way.HELD, Way.IN, Way.NO, Way.NOT_NOW


def config(**rules):
    return AgentConfig.model_validate(
        {"hub": "http://hub", "credential_file": "c", "dir": "d", "rules": rules}
    )


def item(number, accelerators=0, nodes=1, **more):
    work = Work.model_validate(
        {
            "attempt": f"a{number}",
            "epoch": 1,
            "job": number,
            "array_job": None,
            "task": None,
            "task_count": 0,
            "person": "ada",
            "project": "lab",
            "partition": "gpu",
            "nodes": nodes,
            "cores": 1,
            "memory_mb": 1,
            "accelerators": accelerators,
            "tasks": 1,
            "walltime_s": 60,
            "request_id": 1,
        }
        | more
    )
    return Item(work, JobRequest(script="#!/bin/sh\n", environment=(("SECRET", "x"),)))


class Program:
    """A veto that answers as the test says."""

    def __init__(self):
        self.answer = veto.Answer()
        self.asked = []

    def __call__(self, program, asked, timeout_s):
        self.asked.append((program, asked, timeout_s))
        return self.answer


def ways(door, *items):
    return [door.verdict("alps", each).way for each in items]


def test_so_many_jobs_at_once_and_the_first_first():
    door = Door(config(max_jobs_at_once=2), Clock())
    jobs = [item(n) for n in range(5)]
    assert ways(door, *jobs) == [IN, IN, HELD, HELD, HELD]
    assert door.not_now() == "the site takes 2 jobs at once"
    assert ways(door, jobs[0]) == [IN]  # in already: a doubtful one comes again
    door.left(["a0"])
    assert ways(door, jobs[4], jobs[3]) == [HELD, HELD]  # not before the second
    assert ways(door, jobs[2], jobs[3]) == [IN, HELD]
    assert door.held() == ["a3", "a4"]
    door.left(["a3", "a1", "a2"])  # one of them was cancelled while it waited
    assert ways(door, jobs[4]) == [IN]
    assert door.not_now() == ""


def test_accelerators_at_once_are_counted_over_nodes_and_large_jobs_are_not_passed_by():
    door = Door(config(max_accelerators_at_once=8), Clock())
    assert ways(door, item(1, 2, nodes=2)) == [IN]
    assert ways(door, item(2, 8), item(3, 1)) == [HELD, HELD]
    assert door.not_now() == "jobs wait here for room"
    assert ways(door, item(4, 9)) == [NO]  # it can never go in
    door.left(["a1"])
    assert ways(door, item(2, 8), item(3, 1)) == [IN, HELD]


def test_after_a_new_start_what_is_inside_is_counted():
    door = Door(config(max_jobs_at_once=1), Clock())
    door.inside([item(1)])
    assert ways(door, item(2)) == [HELD]
    door.left(["a1"])
    assert ways(door, item(2)) == [IN]


def test_none_at_once_lets_nothing_in():
    door = Door(config(max_jobs_at_once=0), Clock())
    assert ways(door, item(1)) == [HELD]
    assert door.not_now()


def test_a_drained_site_and_quiet_hours_say_not_now():
    clock = Clock()
    door = Door(config(drained="floor is wet"), clock)
    verdict = door.verdict("alps", item(1))
    assert (verdict.way, verdict.why) == (NOT_NOW, "floor is wet")
    assert door.not_now() == "floor is wet"
    assert NOW_MS // 1000 % 86_400 == 8 * 3600  # 08:00
    door.config = config(quiet_hours=["08:00-09:00"])
    assert door.not_now() == "quiet hours until Fri 09:00 (UTC)"
    assert ways(door, item(1)) == [NOT_NOW]
    clock.pass_s(3600)
    assert door.not_now() == ""
    assert ways(door, item(1)) == [IN]


def test_what_waits_for_room_is_sent_away_when_the_site_is_drained():
    door = Door(config(max_jobs_at_once=1), Clock())
    assert ways(door, item(1), item(2)) == [IN, HELD]
    door.config = config(max_jobs_at_once=1, drained="floor is wet")
    assert ways(door, item(2)) == [NOT_NOW]
    assert door.held() == []


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({"allowed_projects": ["other"]}, "project lab may not run here"),
        ({"partitions_shown": ["cpu"]}, "partition gpu is not for this facility"),
        ({"max_accelerators": 3}, "asks 4 accelerators, the site allows 3 a job"),
        ({"max_accelerators_at_once": 3}, "asks 4 accelerators, the site allows 3 at once"),
    ],
)
def test_a_no_to_the_job_itself(rules, why):
    verdict = Door(config(**rules), Clock()).verdict("alps", item(1, 4))
    assert (verdict.way, verdict.why) == (NO, why)


def test_the_veto_sees_the_request_without_its_variables():
    program = Program()
    door = Door(config(veto="/v", veto_timeout_s=3), Clock(), program)
    assert ways(door, item(1, 4)) == [IN]
    ((path, asked, timeout_s),) = program.asked
    assert (path, timeout_s) == (Path("/v"), 3)
    assert asked["project"] == "lab"
    assert asked["accelerators_per_node"] == 4
    assert asked["script"] == "#!/bin/sh\n"
    assert "SECRET" not in json.dumps(asked)
    program.answer = veto.Answer(no="not on Fridays")
    verdict = door.verdict("alps", item(2))
    assert (verdict.way, verdict.why) == (NO, "not on Fridays")


def test_a_broken_veto_shuts_the_door_longer_each_time():
    clock, program = Clock(), Program()
    door = Door(config(veto="/v"), clock, program)
    program.answer = veto.Answer(broken="it fell over")
    shut = []
    for _ in range(8):
        asked = len(program.asked)
        assert ways(door, item(1)) == [NOT_NOW]
        assert len(program.asked) == asked + 1
        assert "gave no answer" in door.not_now()
        begun = clock.now_ms
        while door.not_now():
            assert ways(door, item(2)) == [NOT_NOW]  # and it is not asked meanwhile
            clock.pass_s(10)
        assert len(program.asked) == asked + 1
        shut.append((clock.now_ms - begun) // 1000)
    assert shut == [SHUT_FIRST_S * n for n in (1, 2, 4, 8)] + [SHUT_LONGEST_S] * 4
    assert "no answer" in door.trouble()
    door.config, asking = config(), door.config
    assert door.trouble() == "", "a veto that was taken away is none to mend"
    door.config = asking
    program.answer = veto.Answer()
    assert ways(door, item(1)) == [IN]
    assert door.trouble() == ""
    program.answer = veto.Answer(broken="it fell over")
    assert ways(door, item(3)) == [NOT_NOW]
    clock.pass_s(SHUT_FIRST_S)
    assert door.not_now() == ""  # it begins anew after a good answer


def test_an_operator_who_mended_it_has_it_asked_at_once():
    program = Program()
    door = Door(config(veto="/v"), Clock(), program)
    program.answer = veto.Answer(broken="it fell over")
    assert ways(door, item(1)) == [NOT_NOW]
    program.answer = veto.Answer()
    assert ways(door, item(1)) == [NOT_NOW]
    door.try_now()
    assert ways(door, item(1)) == [IN]


def test_a_clock_that_was_set_back_does_not_keep_the_door_shut():
    clock, program = Clock(), Program()
    door = Door(config(veto="/v"), clock, program)
    program.answer = veto.Answer(broken="it fell over")
    assert ways(door, item(1)) == [NOT_NOW]
    clock.pass_s(-86_400)
    assert door.not_now() == ""


# --- real programs


def program(tmp_path, text, mode=0o755):
    path = tmp_path / "veto"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("text", "no", "broken"),
    [
        ("#!/bin/sh\ncat >/dev/null\nexit 0\n", "", ""),
        ("#!/bin/sh\nexit 0\n", "", ""),  # it need not read
        ("#!/bin/sh\necho too  much\necho of it\nexit 1\n", "too much of it", ""),
        ("#!/bin/sh\nexit 1\n", "", "exit code 1 and no reason: it said nothing"),
        ("#!/bin/sh\necho oh >&2\nexit 2\n", "", "exit code 2 and no reason: oh"),
        ("#!/bin/sh\necho no\nexit 2\n", "", "exit code 2"),
        ("#!/bin/sh\nkill -9 $$\n", "", "signal 9"),
        ("#!/nowhere\n", "", "can't be started"),
        ("no program", "", "can't be started"),
        ("#!/bin/sh\nread -r line </dev/tty; while :; do :; done\n", "", "no answer in 0.2 s"),
    ],
)
def test_what_a_program_says(tmp_path, text, no, broken):
    answer = veto.ask(program(tmp_path, text), veto.question("alps", None, item(1)), 0.2)
    assert answer.no == no
    assert broken in answer.broken
    assert bool(answer.broken) == bool(broken)


def test_a_program_that_can_not_be_run_is_broken(tmp_path):
    path = program(tmp_path, "#!/bin/sh\nexit 0\n", mode=0o644)
    assert "can't be started" in veto.ask(path, {}, 1).broken
    assert "can't be started" in veto.ask(tmp_path / "none", {}, 1).broken


def test_a_program_gets_json_and_none_of_our_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("MEYRIN_TOKEN", "myr_secret")
    path = program(tmp_path, f"#!/bin/sh\ncat > {tmp_path}/asked\nenv > {tmp_path}/env\n")
    asked = veto.question("alps", "astro", item(1))
    assert veto.ask(path, asked, 5) == veto.Answer()
    assert json.loads((tmp_path / "asked").read_text()) == asked
    assert "MEYRIN" not in (tmp_path / "env").read_text()
    assert asked["account"] == "astro"


def test_a_reason_is_cut(tmp_path):
    path = program(tmp_path, "#!/bin/sh\nhead -c 100000 /dev/zero | tr '\\0' x\nexit 1\n")
    assert len(veto.ask(path, {}, 5).no) == 500


# --- through the agent


def story(folder, **rules):
    site = Site(folder, rules=rules)
    return site, site.agent()


def test_held_jobs_go_in_as_others_end_and_each_runs_once(tmp_path):
    site, agent = story(tmp_path, max_jobs_at_once=2)
    works = [site.hub.add() for _ in range(7)]
    agent.hello()
    most = 0
    for _ in range(20):
        site.cycle(agent)
        most = max(most, len(site.batch.running()) + len(site.batch.waiting()))
        site.go_on()
    assert most == 2
    assert all(len(site.hub.ends(work)) == 1 for work in works)
    assert set(site.batch.launches.values()) == {1}
    assert site.hub.not_now[1] == "the site takes 2 jobs at once"
    assert site.hub.not_now[-1] == ""
    site.close()


def test_held_jobs_say_once_what_they_wait_for(tmp_path):
    site, agent = story(tmp_path, max_jobs_at_once=1)
    first, second = site.hub.add(), site.hub.add()
    agent.hello()
    for _ in range(4):
        site.cycle(agent)
    told = site.hub.reports[second.attempt]
    assert [(each.phase, each.why) for each in told] == [("held", "the site takes 1 job at once")]
    for _ in range(4):
        site.go_on()
        site.cycle(agent)
    assert "held" not in {each.phase for each in site.hub.reports[first.attempt]}
    assert [each.phase for each in told][:2] == ["held", "queued"]
    site.close()


def test_after_a_crash_held_jobs_are_still_held_and_counted(tmp_path):
    site, agent = story(tmp_path, max_jobs_at_once=1)
    works = [site.hub.add() for _ in range(3)]
    agent.hello()
    site.cycle(agent)
    for _ in range(12):
        agent = site.agent()
        agent.hello()
        site.cycle(agent)
        assert len(site.batch.running()) + len(site.batch.waiting()) <= 1
        site.go_on()
    agent = site.agent()
    agent.hello()
    site.cycle(agent)
    assert all(len(site.hub.ends(work)) == 1 for work in works)
    assert set(site.batch.launches.values()) == {1}
    site.close()


def test_a_held_job_that_is_cancelled_never_starts(tmp_path):
    site, agent = story(tmp_path, max_jobs_at_once=1)
    first, second = site.hub.add(), site.hub.add()
    agent.hello()
    site.cycle(agent)
    site.hub.to_cancel = [second.attempt]
    site.cycle(agent)
    site.hub.to_cancel = []
    for _ in range(4):
        site.go_on()
        site.cycle(agent)
    assert [each.end for each in site.hub.ends(second)] == ["cancelled"]
    assert second.attempt not in site.batch.launches
    assert [each.end for each in site.hub.ends(first)] == ["exit"]
    site.close()


def test_a_no_for_now_is_told_as_such(tmp_path):
    site, agent = story(tmp_path, drained="floor is wet")
    work = site.hub.add()
    agent.hello()
    site.cycle(agent)
    (told,) = site.hub.ends(work)
    assert (told.phase, told.for_now, told.why) == ("refused", True, "floor is wet")
    assert site.hub.not_now == ["floor is wet"]
    site.close()


def test_a_job_for_a_partition_that_is_not_there_any_more_may_be_placed_anew(tmp_path):
    site = Site(tmp_path)
    agent = site.agent()
    agent.hello()
    site.batch._partitions = (replace(CPU, name="other"),)
    agent.announcer.look()
    work = site.hub.add()
    site.cycle(agent)
    (said,) = site.hub.reports[work.attempt]
    assert (said.phase, said.for_now) == ("refused", True)
    assert said.why == "there is no partition cpu at the site now"
    assert site.batch.look_up((work.attempt,)) == {}
    site.close()


def test_the_agent_says_what_the_site_is_and_says_it_again_when_that_changes(tmp_path):
    site, agent = story(tmp_path, max_accelerators=4)
    agent.hello()
    site.cycle(agent)
    ((partitions, about),) = site.hub.heard
    assert partitions == [CPU]
    assert about.rules == ("at most 4 accelerators a job",)
    hidden = agent.config.rules.model_copy(update={"partitions_shown": ("gpu",)})
    agent.config = agent.config.model_copy(update={"rules": hidden})
    site.cycle(agent)
    site.cycle(agent)
    assert [heard[0] for heard in site.hub.heard] == [[CPU], []]
    site.close()


def test_the_rules_in_words():
    full = config(
        drained="new cooling",
        allowed_projects=["a", "b"],
        max_walltime_s=3600,
        max_accelerators=4,
        max_jobs_at_once=20,
        max_accelerators_at_once=16,
        quiet_hours=["08:00-09:00"],
        veto="/home/op/secret/veto",
    )
    words = "\n".join(in_words(full))
    for word in (
        "new cooling",
        "a, b",
        "at most 4",
        "at most 20 jobs",
        "08:00-09:00",
        "may say no",
    ):
        assert word in words
    assert "/home/op" not in words  # how the site finds out is its own business
    assert in_words(config()) == ()


def test_nothing_of_the_veto_stays_behind(tmp_path):
    text = f"#!/bin/sh\nsleep 600 & echo $! > {tmp_path}/pid; wait\n"
    assert veto.ask(program(tmp_path, text), {}, 0.5).broken
    pid = int((tmp_path / "pid").read_text())
    with contextlib.suppress(ProcessLookupError):  # it is gone already
        end = os.pidfd_open(pid)
        assert select.select([end], [], [], 60)[0], "it was killed, and that comes to pass"
        os.close(end)
