"""Ends of jobs in a Slurm whose controller is killed: what is its own doing, by its own word."""

from __future__ import annotations

from contextlib import suppress

from tests.components import Slurm

from meyrin.agent.slurm.judge import FORGOTTEN, UNSEEN
from meyrin.wire.jobs import JobDetail

CLUSTERS = ("alpha", "beta")


def tend(slurm: Slurm, *, resume: bool) -> None:
    """What the sites' operators do. A requeued job would wait for two minutes; the test does not.
    One whose launch failed, as its controller was killed in it, is held until somebody releases it.
    And a controller that was killed gives an id twice: Slurm then drains the node where the first
    still runs, until somebody sees that it has ended and lets it work again (`resume`)."""
    for cluster in CLUSTERS:
        with suppress(AssertionError):
            text = slurm.command(cluster, "squeue", "-h", "-t", "PD", "-o", "%i %r")
            for line in text.splitlines():
                number, _, reason = line.partition(" ")
                if reason == "BeginTime":
                    slurm.command(cluster, "scontrol", "update", f"JobId={number}", "StartTime=now")
                if reason.replace("_", " ") == "launch failed requeued held":  # waits for somebody
                    slurm.command(cluster, "scontrol", "release", number)
            text = slurm.command(cluster, "sinfo", "-h", "-R", "-o", "%n|%E") if resume else ""
            for line in text.splitlines():
                node, _, reason = line.partition("|")
                if reason == "Duplicate jobid":
                    update = ("scontrol", "update", f"NodeName={node}", "State=RESUME")
                    slurm.command(cluster, *update)


def heal(slurm: Slurm) -> None:
    """After the kills, the sites' operators let every node work again that Slurm took out."""
    for cluster in CLUSTERS:
        for line in slurm.command(cluster, "sinfo", "-h", "-R", "-o", "%n|%E").splitlines():
            node, _, reason = line.partition("|")
            print(f"{cluster}: {node} works again after: {reason}")
            with suppress(AssertionError):  # it works again by itself
                slurm.command(cluster, "scontrol", "update", f"NodeName={node}", "State=RESUME")


def show(slurm: Slurm) -> None:
    """What Slurm itself says of its jobs and nodes, for whoever reads why a test failed."""
    for cluster in CLUSTERS:
        print(slurm.command(cluster, "scontrol", "-o", "show", "job"))
        print(slurm.command(cluster, "scontrol", "-o", "show", "node"))


def check_ended_by_slurm(found: JobDetail, slurm: Slurm, *, ran: bool) -> None:
    """A controller that was killed gives the id of a job that runs to another: Slurm ends that
    one by itself before it has run. Then it is told as what Slurm's accounting calls it, beside
    what it forgot that it had queued. Or it forgot the job while it ran, and its person gave it
    up: then accounting has no end of it. Or the launch was lost with a daemon that was killed:
    Slurm takes it for running until its wall time is over."""
    (attempt,) = found.attempts
    said = endings(slurm, attempt.site, attempt.attempt)
    if found.job.reason == "wall time was over":
        assert (found.job.state, ran) == ("failed", False), found
        assert {each.partition("|")[0] for each in said} == {"TIMEOUT"}, (found, said)
        return
    assert found.job.state == "cancelled", found
    if attempt.why == UNSEEN:
        assert not {each for each in said if each.startswith("COMPLETED")}, (found, said)
        return
    assert found.job.reason.startswith("Slurm: CANCELLED"), found
    words = {each.partition("|")[0].partition(" ")[0] for each in said}
    assert words - {"PENDING"} == {"CANCELLED"}, said


def endings(slurm: Slurm, cluster: str, attempt: str) -> set[str]:
    """State and exit code of all that accounting has of an attempt."""
    text = slurm.command(
        cluster, "sacct", "-aXDnP", "-S", "2020-01-01", "-o", "JobName,State,ExitCode"
    )
    name = f"meyrin-{attempt}"
    return {line.partition("|")[2] for line in text.splitlines() if line.startswith(f"{name}|")}


def check_requeued(found: JobDetail, slurm: Slurm) -> None:
    """It came back and ran to its end. Or Slurm lost that: a controller that is killed in the
    second of a requeue forgets the requeue, its launch before, its script, or the whole job. Then
    Slurm's own word must be that no run came to a good end: the first was ended, and what it began
    anew as the first run once more was held by the fence."""
    (attempt,) = found.attempts
    if found.job.state == "completed":
        assert "preempted" in [event.state for event in found.events], found.events
        return
    if found.job.state == "cancelled":  # forgotten, until its person gave it up
        assert attempt.why in {"", UNSEEN}, attempt
        said = endings(slurm, attempt.site, attempt.attempt)
        assert not {each for each in said if each.startswith("COMPLETED")}, (said, found)
        return
    assert found.job.state == "failed", found
    assert found.job.reason in {FORGOTTEN, "ended by signal 15"}, found
    # 1:0 is Slurm's own where it has lost the script of what it queued again
    lost = {"REQUEUED|0:0", "PENDING|0:0", "FAILED|75:0", "FAILED|0:15", "FAILED|1:0"}
    name = f"meyrin-{attempt.attempt}"
    said = endings(slurm, attempt.site, attempt.attempt)
    assert said <= lost, (found, said)
    text = slurm.command(attempt.site, "squeue", "-h", "-t", "all", "-o", "%j|%T")
    listed = {line.partition("|")[2] for line in text.splitlines() if line.startswith(f"{name}|")}
    assert listed <= {"FAILED"}, (found, listed)
