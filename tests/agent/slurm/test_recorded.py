"""The same jobs by commands and by slurmrestd, from Slurm 20.11 to 26.05: the same answers."""

from __future__ import annotations

import json

import pytest
from tests.agent.slurm.recorded import COMMANDS, FOLDER, RELEASES, Recorded, RecordedCommands

from meyrin.agent.slurm import describe
from meyrin.agent.slurm.snapshot import entries
from meyrin.agent.slurm.transport import Gres, NotAccepted, Submission

NAMES = [
    "meyrin-done", "meyrin-code", "meyrin-killed", "meyrin-late", "meyrin-stopped", "meyrin-never",
    "meyrin-again", "meyrin-refused", "meyrin-running", "meyrin-waiting", "meyrin-array",
]  # fmt: skip
SITES = [("rest", each) for each in RELEASES] + [("command", each) for each in COMMANDS]


@pytest.fixture(params=SITES, ids=["-".join(each) for each in SITES])
def site(request):
    how, release = request.param
    return Recorded(release) if how == "rest" else RecordedCommands(release)


def queue(site):
    return {row.name: row for row in site.transport().queue()}


def runs(site):
    return site.transport().accounting(NAMES, 0)


def test_at_least_four_releases_by_each_way():
    for releases in (RELEASES, COMMANDS):
        assert {each.partition(".")[0] for each in releases} >= {"22", "23", "24", "25", "26"}
    assert "20.11" in COMMANDS


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_each_file_says_where_it_is_from(path):
    about = json.loads(path.read_text(encoding="utf-8"))["_about"]
    assert about.startswith(("real: ", "written by hand from the published format"))


def test_states_as_slurm_says_them(site):
    rows = queue(site)
    assert {name: rows[name].state for name in NAMES if name != "meyrin-array"} == {
        "meyrin-done": "COMPLETED",
        "meyrin-code": "FAILED",
        "meyrin-killed": "FAILED",
        "meyrin-late": "TIMEOUT",
        "meyrin-stopped": "CANCELLED",
        "meyrin-never": "CANCELLED",
        "meyrin-again": "COMPLETED",
        "meyrin-refused": "FAILED",
        "meyrin-running": "RUNNING",
        "meyrin-waiting": "PENDING",
    }


def test_a_running_job(site):
    row = queue(site)["meyrin-running"]
    assert (row.user, row.partition, row.account) == ("mtb1", "gpu", "astro")
    assert (row.nodes, row.cores, row.accelerators, row.walltime_s) == (2, 8, 8, 86_400)
    assert row.start_s is not None
    assert row.start_s >= row.submit_s
    assert (row.exit_code, row.node_list) == (None, "rest-n[1-2]")


def test_what_waits_has_not_started_and_says_why(site):
    row = queue(site)["meyrin-waiting"]
    assert (row.start_s, row.reason) == (None, "Resources")
    assert row.walltime_s == 7200


def test_one_by_name_and_none(site):
    there = site.transport()
    assert [row.name for row in there.queue(["meyrin-late"])] == ["meyrin-late"]
    assert there.queue(["meyrin-none"]) == []


def test_a_run_for_each_time_that_it_ran(site):
    rows = runs(site)
    again = [row for row in rows if row.name == "meyrin-again"]
    assert sorted(row.state for row in again) == ["COMPLETED", "REQUEUED"]
    assert {row.name for row in rows} == set(NAMES) - site.unseen


def test_what_was_used(site):
    rows = {(row.name, row.state.partition(" ")[0]): row for row in runs(site)}
    late = rows["meyrin-late", "TIMEOUT"]
    assert late.elapsed_s == late.end_s - late.start_s
    assert 60 <= late.elapsed_s <= 120
    assert late.max_rss_kb is not None
    assert late.energy_j in (None, 0)
    done = rows["meyrin-done", "COMPLETED"]
    assert (done.exit_code, done.cores, done.accelerators, done.nodes) == (0, 2, 1, 1)
    assert "mem=800M" in done.tres.split(",")


def test_how_it_ended_or_that_nobody_knows(site):
    rows = {row.name: row for row in runs(site)}
    assert (rows["meyrin-killed"].exit_code, rows["meyrin-killed"].signal) == (None, 9)
    # slurmrestd of 22.05 knows no code here; none of the others may say anything but 3
    unknown = isinstance(site, Recorded) and site.version in ("v0.0.36", "v0.0.38")
    assert rows["meyrin-code"].exit_code == (None if unknown else 3)


def test_what_never_began_has_no_start(site):
    rows = {row.name: row for row in runs(site)}
    for name in {"meyrin-never", "meyrin-waiting"} - site.unseen:
        assert rows[name].start_s is None, name


def test_the_whole_queue_in_the_same_sizes(site):
    found = entries(site.transport().whole_queue())
    assert {each.state for each in found} == {"RUNNING", "PENDING"}
    assert sum(each.count for each in found if each.waits) == 6, "one job and an array of five"
    runs_now = sorted((each.nodes, each.accelerators) for each in found if not each.waits)
    assert runs_now == [(1, 2), (2, 8)]
    assert len({each.user for each in found}) == 2


def wanted(**changed):
    given = {
        "name": "m-1", "script": "#!/bin/bash\ntrue\n", "partition": "gpu", "workdir": "/w",
        "stdout": "/w/out", "gres": (Gres("gpu", None, 99),), "account": "astro",
    }  # fmt: skip
    return Submission(**(given | changed))


def test_a_submission_and_a_refusal(site):
    assert site.transport().submit(wanted()).isdigit()
    site.refusing = True
    with pytest.raises(NotAccepted, match="not available"):
        site.transport().submit(wanted())


def test_ending_what_is_not_there_is_no_error(site):
    site.transport().cancel(["999999"])


def test_the_cluster(site):
    facts = site.transport().describe()
    assert (facts.cluster, facts.accounting) == ("rest", True)
    assert [(each.name, each.max_walltime_s) for each in facts.partitions] == [
        ("gpu", 86_400),
        ("short", 600),
    ]
    for node in facts.nodes:
        assert (node.cores, node.memory_mb, node.partitions) == (32, 64_000, ("gpu", "short"))
        assert node.gres == (Gres("gpu", "h100", 8),)
    bio = next(each for each in facts.associations if each.account == "bio")
    assert (bio.max_walltime_s, bio.max_tres) == (780, "cpu=14")
    debug = next(each for each in facts.qos if each.name == "deb")
    assert (debug.priority, debug.max_walltime_s) == (7, 1260)
    assert [each.whole_node for each in facts.partitions] == [False, False]
    assert site.transport().health().controller


@pytest.mark.parametrize("said", ["OverSubscribe=EXCLUSIVE", "OverSubscribe=NO Exclusive=NODE"])
def test_a_partition_that_gives_whole_nodes(said):
    """The second is what 26.05 makes of the first."""
    assert describe.partition(f"PartitionName=short {said}").whole_node
    assert not describe.partition("PartitionName=short OverSubscribe=NO Exclusive=NO").whole_node


def test_an_operators_comment_of_several_lines_shifts_nothing():
    """So a real 22.05 prints it, also with --oneliner: the line ends stay."""
    node = "NodeName=n{} CPUTot=32 RealMemory=64000 State=IDLE Partitions=gpu"
    nodes = f"{node.format(1)} Comment=see\nticket=42 CPUTot=1\n\nas said\n{node.format(2)}\n"
    facts = describe.facts("mtb1", "", "PartitionName=gpu State=UP\n", nodes)
    assert [(each.name, each.cores) for each in facts.nodes] == [("n1", 32), ("n2", 32)]
