"""Who is looked at first. It never decides where a job goes.

    priority = age_weight * age_s - nice_weight * nice        (age_s: seconds since submission)

These are the age and nice terms of Slurm's multifactor plugin (slurm.schedmd.com,
priority_multifactor.html), in integers and without its cap on age, so that nobody starves. With
the default weights one step of nice is worth a minute of waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meyrin.engine.model import Policy, WaitingJob


def priority(job: WaitingJob, policy: Policy, now_s: int) -> int:
    """The job's priority at `now_s`; higher goes first."""
    return policy.age_weight * (now_s - job.submit_s) - policy.nice_weight * job.nice


def in_order(jobs: Iterable[WaitingJob], policy: Policy, now_s: int) -> list[WaitingJob]:
    """Highest priority first, then the lower job number: the same for any input order."""
    return sorted(jobs, key=lambda job: (-priority(job, policy, now_s), job.job))
