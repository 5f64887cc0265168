"""What an agent says of its site."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from meyrin.agent.announce import Announcer, shown
from meyrin.agent.config import AgentConfig, Rules
from meyrin.domain.site import Partition
from meyrin.wire.sites import Shortage


def partition(name, longest_s=None, usual_s=None):
    return Partition(name, 2, 8, 64000, max_walltime_s=longest_s, default_walltime_s=usual_s)


@pytest.mark.parametrize(
    ("longest_s", "usual_s", "told"),
    [
        (None, None, (3600, None)),
        (600, 60, (600, 60)),
        (86400, 7200, (3600, 3600)),  # or a job without --time would ask too much
    ],
)
def test_the_site_s_own_wall_time_is_told_with_the_partition(longest_s, usual_s, told):
    (one,) = shown(Rules(max_walltime_s=3600), [partition("cpu", longest_s, usual_s)])
    assert (one.max_walltime_s, one.default_walltime_s) == told


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({}, 8),
        ({"max_accelerators": 2}, 2),
        ({"max_accelerators": 0}, 0),
        ({"max_accelerators": 12}, 8),
        ({"max_accelerators": 4, "max_accelerators_at_once": 3}, 3),
    ],
)
def test_the_site_s_own_most_of_accelerators_is_told_with_the_partition(rules, told):
    gpu = Partition("gpu", 2, 8, 64000, 4, "h100", max_accelerators_per_job=8)
    cpu = partition("cpu")
    assert [one.max_accelerators_per_job for one in shown(Rules(**rules), [gpu, cpu])] == [
        told,
        None,
    ]


def test_only_partitions_shown_are_told_and_as_they_are_where_there_is_no_rule():
    there = [partition("cpu", 600), partition("gpu")]
    assert shown(Rules(), there) == there
    assert shown(Rules(partitions_shown=("gpu",)), there) == there[1:]


def test_partitions_that_are_named_and_not_there_are_told(tmp_path):
    settings = {
        "hub": "http://hub", "credential_file": tmp_path / "c", "dir": tmp_path,
        "rules": {"partitions_shown": ["gpu", "cpu"]},
        "offer": [{"partition": "gpu", "owners": {"uni": 1}}],
    }  # fmt: skip
    config, batch = AgentConfig.model_validate(settings), Shut()
    announcer = Announcer(batch, lambda: 0)
    assert announcer.saying(config, "")[1].trouble == ""
    announcer.look()
    assert announcer.saying(config, "")[1].trouble == ""
    batch.partitions = lambda: (partition("cpu"),)
    announcer.look()
    with capture_logs() as logged:
        for _ in range(2):
            trouble = announcer.saying(config, "")[1].trouble
    assert trouble == (
        "rules.partitions_shown: there is no partition gpu; [[offer]]: there is no partition gpu"
        " (there are: cpu)"
    )
    assert [each["words"] for each in logged] == [trouble]


class Silent:
    kind = "slurm"
    for_s = 0

    def silence(self, at_least_s):
        return "it does not answer" if self.for_s > at_least_s else ""


def test_a_batch_system_that_is_silent_is_told_and_after_a_minute_gets_nothing_new(tmp_path):
    config = AgentConfig(hub="http://hub", credential_file=tmp_path / "c", dir=tmp_path)
    batch = Silent()
    announcer = Announcer(batch, lambda: 0)
    assert (announcer.saying(config, "", "")[1].trouble, announcer.not_now()) == ("", "")
    batch.for_s = 30
    said = announcer.saying(config, "", "a file")[1].trouble
    assert (said, announcer.not_now()) == ("a file; it does not answer", "")
    batch.for_s = 61
    assert announcer.not_now() == "it does not answer"


class Shut:
    kind = "slurm"
    short = ()

    def partitions(self):
        return partition("cpu"), partition("gpu")

    def shortages(self):
        return self.short


class Refusing(Shut):
    words, refused = "", False

    def refusals(self):
        return self.words

    def partition_refused(self):
        return self.refused


def test_what_is_refused_is_told_and_a_partition_that_is_refused_is_looked_at_soon(tmp_path):
    config = AgentConfig(hub="http://hub", credential_file=tmp_path / "c", dir=tmp_path)
    batch, now_ms, looks = Refusing(), [0], []
    batch.partitions = lambda: looks.append(now_ms[0]) or ()
    announcer = Announcer(batch, lambda: now_ms[0])
    announcer.look()
    batch.words = "its Slurm refuses account astro"
    assert announcer.saying(config, "", "")[1].trouble == batch.words

    def look(after_ms):
        now_ms[0] += after_ms
        announcer.look_if_due()

    batch.refused = True
    look(10_000)
    batch.refused = False
    look(9_000)
    assert looks == [0]
    look(1_000)
    look(30_000)
    assert looks == [0, 20_000]
    announcer.look_at_once()
    look(1)
    look(1)
    assert looks == [0, 20_000, 50_001]


def test_what_takes_nothing_is_told_and_looked_at_again_sooner(tmp_path):
    config = AgentConfig(hub="http://hub", credential_file=tmp_path / "c", dir=tmp_path)
    batch, now_ms = Shut(), [0]
    announcer = Announcer(batch, lambda: now_ms[0])
    announcer.look()
    batch.short = (Shortage(partition="gpu", usable_nodes=0, why="gpu is DOWN"),)

    def told(after_ms, rules=config):
        now_ms[0] += after_ms
        announcer.look_if_due()
        return announcer.saying(rules, "")[1].shortages

    assert told(299_000) == ()
    assert told(1_000) == batch.short
    hidden = AgentConfig.model_validate(
        config.model_dump() | {"rules": {"partitions_shown": ["cpu"]}}
    )
    assert told(0, hidden) == ()
    batch.short = ()
    assert told(59_000) != ()
    assert told(1_000) == ()
