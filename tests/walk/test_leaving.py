"""Who leaves a project is out of it at a real Slurm site too: hub, agent, cluster as they are."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.components import Slurm
from tests.walk.facility import facility, request, wait_for
from tests.walk.slurm_site import site

from meyrin import Client
from meyrin.agent.slurm.transport import own_name
from meyrin.domain.job import Resources

LIMITS = """
[limits]
mode = "apply"
parent = "meyrin-w"
prefix = "w_"
people = { bob = "mtb2" }
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_who_leaves_a_project_is_out_of_it_at_the_site_too(
    slurm: Slurm, tmp_path: Path, folder: Path
) -> None:
    """Within ten minutes: their running job ends in Slurm, others' go on, and Slurm's accounting
    lets them take from the project's account no longer. The agent is root here: it may mend."""
    with facility(tmp_path, f"sqlite:///{tmp_path / 'hub.sqlite'}") as place:
        place.hub.environ["MEYRIN_HUB_LEAVER_GRACE_S"] = "2"
        place.hub.start()
        place.grant(10_000_000, charged_type="h100")
        agent = site(place, slurm, "beta", folder)
        agent.process.preexec, agent.process.python = None, sys.executable
        with (agent.folder / "agent.toml").open("a") as file:
            file.write(LIMITS)
        agent.start()
        place.joined("beta")
        with place.hub.client() as boss:
            boss.people.create("bob")
            boss.projects.add_member("home", "bob")
            secret = boss.people.new_token("t", person="bob").secret
            one = Resources(
                cores_per_task=1, memory_mb=100, accelerators=1, accelerators_per="node"
            )
            long = request(place.mark, "exec sleep 900\n", walltime_s=900, resources=one)
            with Client(place.hub.url, secret) as bob:
                theirs = bob.submit(replace(long, project="home"), "a-key-of-bob").job
            ours = boss.submit(long, "a-key-of-ours").job
            for job in (theirs, ours):
                wait_for(lambda job=job: boss.job(job).job.state == "running", f"{job} to run")
            agent.kill()
            agent.start()  # limits are kept every five minutes, and at a start
            others = {own_name()}  # the agent's own user hands in for everybody
            wait_for(
                lambda: members(slurm) == {*others, "mtb2"} or f"{members(slurm)}",
                "the agent's user and bob in the account", 40,
            )  # fmt: skip
            assert len(in_queue(slurm)) == 2
            boss.projects.remove_member("home", "bob")
            wait_for(lambda: boss.job(theirs).job.state == "cancelled", "bob's job to end", 600)
            wait_for(lambda: len(in_queue(slurm)) == 1, "it to end in Slurm")
            agent.kill()
            agent.start()  # it tells of who left every two minutes, and at a start
            (gone,) = boss.projects.departures("home").departures

            def confirmed() -> bool:
                (now,) = boss.projects.departures("home").departures
                return [each.state for each in now.sites if each.site == "beta"] == ["revoked"]

            wait_for(confirmed, "the site to confirm it", 600)
            assert members(slurm) == others
            assert time.time() * 1000 - gone.at_ms < 600_000
            assert boss.job(ours).job.state == "running"
            boss.cancel(ours)
            wait_for(lambda: not in_queue(slurm), "the other job to end")


def members(slurm: Slurm) -> set[str]:
    """Who may take from the project's account, as Slurm's accounting says."""
    text = slurm.command(
        "beta", "sacctmgr", "-nP", "show", "assoc", "account=w_home", "format=user"
    )
    return set(text.split())


def in_queue(slurm: Slurm) -> list[str]:
    return slurm.command("beta", "squeue", "-h", "-t", "R,PD", "-o", "%i").split()
