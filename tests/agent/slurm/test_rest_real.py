"""On a real cluster: a job by slurmrestd from end to end, and accounts that follow projects.

Both in one file, so that they share the clusters that they start.
"""

from __future__ import annotations

import os
import time
import uuid

import pytest

from meyrin.agent.config import LimitsConfig, SlurmConfig
from meyrin.agent.slurm.accounts import CommandAccounts
from meyrin.agent.slurm.command import CommandTransport, runner
from meyrin.agent.slurm.reconcile import Reconciler
from meyrin.agent.slurm.rest import Rest
from meyrin.agent.slurm.transport import Gres, NotAccepted, Submission
from meyrin.domain.errors import Unreachable
from meyrin.wire.limits import ProjectLimits

pytestmark = pytest.mark.real
GPU = "gres/gpu:h100"


@pytest.fixture
def token(slurm, tmp_path):
    path = tmp_path / "token"
    path.write_text(slurm.token("beta", "mtb1"))
    path.chmod(0o600)
    return path


@pytest.fixture
def rest(slurm, token):
    config = SlurmConfig(
        transport="rest", rest_url=slurm.rest("beta"), rest_user="mtb1", rest_token_file=token
    )
    made = Rest(config, "root", time.time)
    yield made
    made.close()


def wanted(script, **changed):
    given = {
        "name": f"meyrin-{uuid.uuid4()}", "script": f"#!/bin/bash\n{script}\n",
        "partition": "gpu", "workdir": "/tmp", "stdout": "/dev/null", "account": "astro",
        "walltime_s": 120,
    }  # fmt: skip
    return Submission(**(given | changed))


def until(look, good, seconds=40):
    """Looks at a real cluster until it says what is awaited."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if good(found):
            return found
        time.sleep(0.3)
    raise AssertionError(found)


def test_a_job_from_end_to_end(rest):
    assert rest.health() == type(rest.health())(controller=True, accounting=True)
    job = wanted('test "$A" = "b c" && exit 3', gres=(Gres("gpu", "h100", 2),), nodes=1,
                 environment=(("A", "b c"), ("PATH", "/usr/bin:/bin")))  # fmt: skip
    number = rest.submit(job)
    (row,) = until(lambda: rest.queue([job.name]), lambda rows: rows and rows[0].state == "FAILED")
    assert (row.batch_job, row.exit_code, row.accelerators) == (number, 3, 2)
    (kept,) = until(
        lambda: rest.accounting([job.name], int(time.time()) - 600),
        lambda rows: rows and rows[0].state == "FAILED",
    )
    assert (kept.batch_job, kept.start_s, kept.end_s) == (number, row.start_s, row.end_s)
    old = rest.describe().version.startswith("22.")  # it says SUCCESS of a job that failed
    assert (kept.accelerators, kept.exit_code) == (2, None if old else 3)
    assert rest.accounting([job.name], 0, [number]) == [kept]


def test_several_jobs_at_once(rest):
    """By their names and by their numbers: not every release takes a list of these."""
    jobs = [wanted("true") for _ in range(3)]
    numbers = [rest.submit(job) for job in jobs]
    names = [job.name for job in jobs]

    def ended(*numbers):
        rows = rest.accounting(names, int(time.time()) - 600, numbers)
        return {row.batch_job for row in rows if row.state == "COMPLETED"}

    until(ended, lambda found: found == set(numbers))
    assert ended(*numbers) == set(numbers)


def test_a_refusal_and_an_end(rest):
    with pytest.raises(NotAccepted, match="not available"):
        rest.submit(wanted("true", gres=(Gres("gpu", None, 99),)))
    job = wanted("sleep 600")
    number = rest.submit(job)
    rest.cancel([number, "999999"])
    rows = until(lambda: rest.queue([job.name]), lambda rows: rows and rows[0].end_s)
    assert rows[0].state == "CANCELLED"
    rest.cancel([number])


def test_the_cluster_as_it_is(rest, slurm):
    facts = rest.describe()
    version = slurm.command("beta", "sinfo", "--version").split()[-1]
    assert (facts.cluster, facts.accounting, facts.version) == ("beta", True, version)
    assert {each.name for each in facts.partitions} == {"gpu", "short"}
    assert {each.account for each in facts.associations} >= {"astro", "bio", "climate"}


def test_a_partition_that_gives_whole_nodes(rest, slurm):
    by_command = CommandTransport(runner(60), conf=slurm.conf("beta"))
    ways = [by_command]
    if not by_command.describe().version.startswith("22."):  # slurmrestd tells it too
        ways.append(rest)

    def whole():
        return [{p.name: p.whole_node for p in each.describe().partitions} for each in ways]

    change = ("scontrol", "update", "partitionname=short")
    assert whole() == [{"gpu": False, "short": False}] * len(ways)
    slurm.command("beta", *change, "oversubscribe=exclusive")
    try:
        assert whole() == [{"gpu": False, "short": True}] * len(ways)
    finally:
        slurm.command("beta", *change, "oversubscribe=no")


def test_a_token_is_read_anew(rest, token):
    good = token.read_text()
    rest.queue()
    token.write_text("no.such.token")
    with pytest.raises(Unreachable) as caught:
        rest.queue()
    assert "no.such.token" not in str(caught.value)
    assert not rest.health().controller
    token.write_text(good)
    rest.queue()


# --- accounts and limits


def accounts(slurm, *, conf=None):
    path = os.environ.get("PATH", "/usr/bin:/bin")
    environment = {"PATH": path, "SLURM_CONF": str(conf or slurm.conf("beta"))}
    return CommandAccounts(runner(60), environment)


def keep(there, mode="apply"):
    config = LimitsConfig(mode=mode, parent="meyrin-t", prefix="t_", people={"ada": "mtb2"})
    return Reconciler(there, config, {}, "mtb1")


def project(name, *people, h100=3600):
    return ProjectLimits(project=name, people=list(people), left_s={"h100": h100})


def test_a_real_cluster_is_brought_into_step(slurm):
    there = accounts(slurm)
    wanted = [project("lab", "ada"), project("sea", h100=0)]
    looked = keep(there, "report").once(wanted)
    assert {line.outcome for line in looked.lines} == {"reported"}
    assert "t_lab" not in there.look()
    done = keep(there).once(wanted)
    assert {line.outcome for line in done.lines} == {"done"}, done.lines
    seen = there.look()
    assert (seen["t_lab"].parent, seen["t_lab"].users) == ("meyrin-t", {"mtb1", "mtb2"})
    assert (seen["t_lab"].limits_min, seen["t_lab"].closed) == ({GPU: 60}, False)
    assert seen["t_sea"].limits_min == {GPU: 0}
    assert keep(there).once(wanted).lines == ()
    others = {name: each for name, each in seen.items() if not name.startswith(("t_", "meyrin-t"))}
    keep(there).once([project("lab")])
    keep(there).once([project("lab")])
    seen = there.look()
    assert seen["t_lab"].users == {"mtb1"}
    assert seen["t_sea"].closed
    kept = {name: seen[name].users for name in others}
    assert kept == {name: each.users for name, each in others.items()}


def test_a_cluster_that_does_not_answer_is_not_touched(slurm, tmp_path):
    text = slurm.conf("beta").read_text()
    conf = tmp_path / "slurm.conf"
    conf.write_text(
        "\n".join(
            "AccountingStoragePort=1" if line.startswith("AccountingStoragePort") else line
            for line in text.splitlines()
        )
    )
    with pytest.raises(Unreachable):
        keep(accounts(slurm, conf=conf)).once([project("lab")])
