"""The same jobs as slurmrestd tells of them, from Slurm 20.11 to 26.05: the same rows.

When each ran and which number it got is held against what the commands of the same cluster said.
"""

from __future__ import annotations

import json

import pytest
from tests.agent.slurm.recorded import RELEASES, Recorded

from meyrin.agent.slurm import rest_facts, words
from meyrin.agent.slurm.rest_versions import VERSIONS
from meyrin.agent.slurm.transport import Gres, NotAccepted, Submission
from meyrin.domain.errors import Unreachable
from meyrin.domain.job import WarnSignal

NAMES = [
    "meyrin-done", "meyrin-code", "meyrin-killed", "meyrin-late", "meyrin-stopped", "meyrin-never",
    "meyrin-again", "meyrin-refused", "meyrin-running", "meyrin-waiting", "meyrin-array",
]  # fmt: skip
T = 1795918273


@pytest.fixture(params=RELEASES)
def site(request):
    return Recorded(request.param)


def by_name(rows):
    return {row.name: row for row in rows}


def test_at_least_four_releases_are_here():
    assert len(RELEASES) >= 4
    assert {"22.05", "22.05-v0.0.36"} <= set(RELEASES)
    assert {each.partition(".")[0] for each in RELEASES} >= {"22", "23", "24", "25", "26"}


def test_the_newest_common_version_is_spoken(site):
    rest = site.transport()
    assert rest.health().controller
    assert rest.health().accounting
    spoken = [each.url.path.split("/")[2] for each in site.asked]
    assert spoken[-1] == site.version
    names = [each.name for each in VERSIONS]
    assert spoken[: names.index(site.version)] == names[: names.index(site.version)]


def test_the_queue(site):
    rows = by_name(site.transport().queue())
    assert set(rows) == set(NAMES)
    states = {name: rows[name].state for name in NAMES}
    assert states == {
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
        "meyrin-array": "PENDING",
    }
    ends = {name: (rows[name].exit_code, rows[name].signal) for name in NAMES[:4]}
    # the shell's own word of the signal, or Slurm's
    assert ends.pop("meyrin-late") in ((143, None), (None, 15))
    assert ends == {
        "meyrin-done": (0, None),
        "meyrin-code": (3, None),
        "meyrin-killed": (None, 9),
    }


def test_one_running_job_in_full(site):
    row = by_name(site.transport().queue())["meyrin-running"]
    ids, told = site.facts["ids"], site.facts["running"]
    assert (row.batch_job, row.user) == (ids["meyrin-running"], "mtb1")
    assert (row.partition, row.account) == ("gpu", "astro")
    moments = words.moment(told["submit"]), words.moment(told["start"]), None
    assert (row.submit_s, row.start_s, row.end_s) == moments
    assert (row.nodes, row.cores, row.memory_mb, row.accelerators) == (2, 8, 2000, 8)
    assert (row.walltime_s, row.priority, row.restarts) == (86_400, int(told["priority"]), 0)
    assert (row.exit_code, row.signal, row.node_list) == (None, None, "rest-n[1-2]")


def test_what_waits_has_no_start_and_says_why(site):
    rows = by_name(site.transport().queue())
    assert (rows["meyrin-waiting"].start_s, rows["meyrin-waiting"].reason) == (None, "Resources")
    assert rows["meyrin-array"].batch_job == site.facts["ids"]["meyrin-array"] + "_[1,3,5,7,9%2]"
    assert rows["meyrin-again"].restarts == 1


def test_one_job_by_name(site):
    rest = site.transport()
    late = site.facts["ids"]["meyrin-late"]
    assert [row.batch_job for row in rest.queue(["meyrin-late"])] == [late]
    assert rest.queue(["meyrin-none"]) == []


def test_the_whole_queue_has_no_names_and_nobody_left_out(site):
    rows = site.transport().whole_queue()
    assert {row.name for row in rows} == {""}
    ids = site.facts["ids"]
    mine = {ids["meyrin-running"], ids["meyrin-waiting"], f"{ids['meyrin-array']}_[1,3,5,7,9%2]"}
    assert {row.batch_job for row in rows} == mine | {site.facts["others"][-1]}
    assert len({row.user for row in rows}) == 2


def accounted(site, *, ids=()):
    rows = site.transport().accounting(NAMES, T, ids)
    assert len(rows) == len(NAMES) - len(site.unseen) + 1, "a requeued job has one for each run"
    return rows


def test_accounting_to_the_second(site):
    spans = {
        (row.name, row.state): (row.start_s, row.end_s, row.elapsed_s)
        for row in accounted(site)
        if row.elapsed_s
    }
    spans.pop(("meyrin-running", "RUNNING"))
    assert spans == {
        (name, state): (words.moment(start), words.moment(end), elapsed)
        for name, state, start, end, elapsed in site.facts["ran"]
    }


def test_accounting_of_what_runs(site):
    (row,) = (row for row in accounted(site) if row.name == "meyrin-running")
    start = words.moment(site.facts["running"]["start"])
    # v0.0.36 tells no start of what still runs
    assert row.start_s == (None if site.version == "v0.0.36" else start)
    assert (row.state, row.end_s) == ("RUNNING", None)
    assert row.elapsed_s > 0


def test_accounting_of_what_never_began(site):
    rows = {row.name: row for row in accounted(site)}
    never = {"meyrin-never", "meyrin-refused", "meyrin-waiting", "meyrin-array"}
    for name in never - site.unseen:
        assert rows[name].start_s is None, name
        assert rows[name].cpu_ms is None, name
    assert rows["meyrin-waiting"].end_s is None


def test_accounting_counts_what_was_held(site):
    row = next(row for row in accounted(site) if row.name == "meyrin-running")
    assert (row.nodes, row.cores, row.accelerators) == (2, 8, 8)
    assert "gres/gpu=8" in row.tres.split(",")
    late = next(row for row in accounted(site) if row.name == "meyrin-late")
    told = site.facts["late_rss"]
    assert late.max_rss_kb == words.memory_kb(told)
    assert late.energy_j is None, "a site that does not record energy has no number of it"


def test_an_exit_code_that_accounting_does_not_know_is_unknown(site):
    """Slurm 22.05 calls what ended with 3 a SUCCESS in this reply: no code is better than 0."""
    row = next(row for row in accounted(site) if row.name == "meyrin-code")
    assert row.exit_code in (None, 3)
    assert (row.exit_code is None) == (site.version in ("v0.0.36", "v0.0.38"))
    killed = next(row for row in accounted(site) if row.name == "meyrin-killed")
    assert (killed.exit_code, killed.signal) == (None, 9)


def test_ids_narrow_the_question(site):
    rest = site.transport()
    some = [site.facts["ids"][name] for name in ("meyrin-again", "meyrin-done")]
    rows = rest.accounting(NAMES, T, some)
    assert {row.batch_job for row in rows} == set(some)
    assert rest.accounting(["meyrin-none"], T, some[:1]) == [], "an id is no identity"
    asked = [each.url for each in site.asked if each.url.path.startswith("/slurmdb")]
    assert all("start_time" not in str(url) for url in asked), "a time cuts the times of jobs"


def test_nothing_found_is_nothing_and_no_error(site):
    assert site.transport().accounting(["meyrin-none"], T) == []


def test_all_own_jobs_are_asked_by_a_filter(site):
    rows = site.transport().accounting([], T)
    assert {row.user for row in rows} == {"mtb1"}


def test_a_submission_and_its_id(site):
    made = site.transport().submit(full())
    assert made == str(site.replies["submit-yes"]["job_id"])
    body = json.loads(site.asked[-1].content)
    job = body["job"]
    assert (job["name"], job["partition"], job["account"]) == ("m-1", "gpu", "astro")
    assert body.get("script", job.get("script")) == "#!/bin/bash\ntrue\n"
    if site.version in ("v0.0.36", "v0.0.38"):
        assert (job["gres"], job["time_limit"], job["nodes"]) == ("gpu:h100:2", 2, [2, 2])
        assert (job["environment"], job["no_requeue"]) == ({"A": "b=c"}, True)
        assert (job["signal"], job["exclusive"]) == ("USR1@30", "exclusive")
    else:
        between = ":" if site.version == "v0.0.39" else "/"
        assert job["tres_per_node"] == f"gres{between}gpu:h100:2"
        assert job["time_limit"] == {"set": True, "infinite": False, "number": 2}
        assert (job["environment"], job["requeue"]) == (["A=b=c"], False)
        assert (job["kill_warning_signal"], job["shared"]) == ("USR1", ["none"])
        assert (job["minimum_nodes"], job["maximum_nodes"]) == (2, 2)


def full(**changed):
    given = {
        "name": "m-1", "script": "#!/bin/bash\ntrue\n", "partition": "gpu", "workdir": "/w",
        "stdout": "/w/out", "nodes": 2, "account": "astro", "gres": (Gres("gpu", "h100", 2),),
        "exclusive": True, "walltime_s": 61, "signal": WarnSignal("USR1", 30),
        "memory_mb": 500, "environment": (("A", "b=c"),),
    }  # fmt: skip
    return Submission(**(given | changed))


def test_a_no_is_a_no_in_slurms_words(site):
    site.refusing = True
    with pytest.raises(NotAccepted, match="node configuration is not available") as caught:
        site.transport().submit(full())
    assert not caught.value.later


def test_a_percent_sign_in_a_file_name_is_no_pattern(site):
    site.transport().submit(full(stdout="/w/100%j"))
    assert json.loads(site.asked[-1].content)["job"]["standard_output"] == "/w/100%%j"


def test_a_signal_to_the_shell_only_is_sent_or_refused_by_name(site):
    wanted = full(signal=WarnSignal("USR1", 30, shell_only=True))
    if site.version in ("v0.0.36", "v0.0.38"):
        with pytest.raises(NotAccepted, match="B:"):
            site.transport().submit(wanted)
    else:
        site.transport().submit(wanted)
        job = json.loads(site.asked[-1].content)["job"]
        assert job["kill_warning_flags"] == ["BATCH_JOB"]


def test_ending_what_is_not_there_is_no_error(site):
    site.transport().cancel(["9999"])


def test_the_cluster(site):
    found = site.transport().describe()
    assert (found.cluster, found.user, found.accounting) == ("rest", "mtb1", True)
    assert [each.name for each in found.partitions] == ["gpu", "short"]
    gpu = found.partitions[0]
    assert (gpu.nodes, gpu.max_walltime_s, gpu.max_nodes_per_job) == (2, 86_400, None)
    assert (gpu.default_memory_mb_per_core, gpu.default_walltime_s) == (1000, None)
    assert gpu.state == ("" if site.version == "v0.0.39" else "UP")
    assert len(found.nodes) == 2
    assert [each.whole_node for each in found.partitions] == [False, False]
    for node in found.nodes:
        assert (node.cores, node.memory_mb, node.partitions) == (32, 64_000, ("gpu", "short"))
        assert node.gres == (Gres("gpu", "h100", 8),)
    bio = next(each for each in found.associations if each.account == "bio")
    assert (bio.max_walltime_s, bio.max_tres, bio.max_tres_minutes) == (780, "cpu=14", "cpu=15")
    if site.version != "v0.0.36":
        assert (bio.max_jobs, bio.max_submit_jobs) == (11, 12)
    assert bio.qos == ("normal",)
    debug = next(each for each in found.qos if each.name == "deb")
    assert (debug.priority, debug.max_walltime_s) == (7, 1260)
    assert (debug.max_tres_per_user, debug.max_tres_per_job) == ("gres/gpu=24", "cpu=25")


PER_CORE = 1000 - 2**63


@pytest.mark.parametrize(
    ("said", "found"),
    [
        # a real 22.05: DefMemPerCPU=1000, DefMemPerNode=64000, both with DefaultTime=1:00:00
        ({"default_memory_per_cpu": PER_CORE, "default_time_limit": PER_CORE}, (None, 1000)),
        ({"default_memory_per_cpu": 64_000, "default_time_limit": 64_000}, (None, None)),
        ({"default_memory_per_cpu": 1000, "default_memory_per_node": None,
          "default_time_limit": 60}, (3600, 1000)),
        ({"default_memory_per_cpu": None, "default_memory_per_node": 64_000,
          "default_time_limit": 60}, (3600, None)),
        ({"defaults": {"memory_per_cpu": PER_CORE, "time": {"set": True, "number": 60}}},
         (3600, 1000)),
        ({"defaults": {"memory_per_cpu": 64_000, "partition_memory_per_cpu": {"set": False},
                       "time": {"set": False}}}, (None, None)),
        ({"defaults": {"memory_per_cpu": 0,
                       "partition_memory_per_cpu": {"set": True, "number": 7}}},
         (None, 7)),
    ],
)  # fmt: skip
def test_what_a_partition_gives_who_does_not_ask(said, found):
    (one,) = cluster([{"name": "gpu", **said}]).partitions
    assert (one.default_walltime_s, one.default_memory_mb_per_core) == found


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ({"nodes_online": 3}, "UP"),
        ({"nodes_online": 2}, "DRAIN"),
        ({"nodes_online": 1}, "DOWN"),
        ({"nodes_online": 0}, "INACTIVE"),
        ({"state": "DRAIN"}, "DRAIN"),
        ({"partition": {"state": ["DRAIN"]}}, "DRAIN"),
        ({}, ""),
    ],
)
def test_a_partition_that_is_shut_in_every_version(said, state):
    (one,) = cluster([{"name": "gpu", **said}]).partitions
    assert one.state == state


@pytest.mark.parametrize(
    ("said", "usable"),
    [
        ({"tres": "cpu=28,mem=62.50G,billing=28"}, (28, 64_000)),
        ({"tres": "cpu=28", "specialized_memory": 16_000}, (28, 48_000)),
        ({"effective_cpus": 28, "specialized_memory": 16_000}, (28, 48_000)),
        ({}, (32, 64_000)),
    ],
)
def test_what_slurm_keeps_of_a_node_is_not_ours(said, usable):
    (one,) = cluster([], [{"name": "n1", "cpus": 32, "real_memory": 64_000, **said}]).nodes
    assert (one.cores, one.memory_mb) == usable


def cluster(partitions, nodes=()):
    return rest_facts.cluster("ada", {}, {"partitions": partitions}, {"nodes": nodes})


def test_a_state_that_nobody_knows_yet_changes_nothing_else(site):
    reply = site.replies["jobs"]["jobs"]
    one = next(each for each in reply if each["name"] == "meyrin-late")
    one["job_state"] = ["TELEPORTED"] if isinstance(one["job_state"], list) else "TELEPORTED"
    rows = by_name(site.transport().queue())
    assert rows["meyrin-late"].state == "TELEPORTED"
    assert rows["meyrin-done"].state == "COMPLETED"


def test_an_answer_without_its_list_is_no_answer(site):
    rest = site.transport()
    rest.health()
    del site.replies["jobs"]["jobs"]
    with pytest.raises(Unreachable):
        rest.queue()


def test_accelerators_that_slurm_does_not_count_are_those_that_were_asked_for(site):
    """Where AccountingStorageTRES has no gres/gpu, only the request knows of them."""
    for job in site.replies["jobs"]["jobs"]:
        for key in ("tres_alloc_str", "tres_req_str"):
            held = [each for each in job[key].split(",") if "gpu" not in each]
            job[key] = ",".join(held)
    rows = by_name(site.transport().queue())
    assert rows["meyrin-running"].accelerators == 8
    assert rows["meyrin-array"].accelerators == 8
    assert not rows["meyrin-waiting"].accelerators
