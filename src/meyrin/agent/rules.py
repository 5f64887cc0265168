"""The site's own rules, as questions and answers. Asked for every attempt; the site's no wins.

Two kinds of no: `objection` is to this job and stays; `closed` is the site's, for now, and the job
may be offered again. What a program of the site's own says is in `veto.py`.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from meyrin.agent import quiet
from meyrin.agent.config import AgentConfig, Rules
from meyrin.domain.units import show_count, show_duration
from meyrin.wire.agents import Work


def accelerators_of(work: Work) -> int:
    return work.nodes * work.accelerators


def objection(rules: Rules, work: Work) -> str:
    """Why the site does not run this, today or later; empty when it may."""
    if rules.allowed_projects is not None and work.project not in rules.allowed_projects:
        return f"project {work.project} may not run here"
    if rules.partitions_shown is not None and work.partition not in rules.partitions_shown:
        return f"partition {work.partition} is not for this facility"
    if rules.max_walltime_s is not None and work.walltime_s > rules.max_walltime_s:
        return f"asks {work.walltime_s} s of wall time, the site allows {rules.max_walltime_s}"
    accelerators = accelerators_of(work)
    if rules.max_accelerators is not None and accelerators > rules.max_accelerators:
        asks = f"asks {show_count(accelerators, 'accelerator')}"
        return f"{asks}, the site allows {rules.max_accelerators} a job"
    at_once = rules.max_accelerators_at_once
    if at_once is not None and accelerators > at_once:
        asks = f"asks {show_count(accelerators, 'accelerator')}"
        return f"{asks}, the site allows {at_once} at once"
    return ""


def closed(rules: Rules, now_s: int) -> str:
    """Why no new job starts here now; empty when they may."""
    if rules.drained:
        return rules.drained
    end = quiet.over_at_s(rules.quiet_hours, rules.time_zone, now_s)
    if end is not None and quiet.never_over(rules.quiet_hours):
        return "quiet hours that never end, by the site's settings"
    if end is not None:
        there = datetime.fromtimestamp(end, UTC).astimezone(ZoneInfo(rules.time_zone))
        return f"quiet hours until {there:%a %H:%M} ({rules.time_zone})"
    return ""


def mark(config: AgentConfig, asked_anew: int = 0) -> str:
    """Another word whenever what decides here is other: the rules, the accounts that the veto is
    shown, the veto's own program; and when the operator says so (`asked_anew`)."""
    slurm = config.slurm
    facts = [config.rules.model_dump_json(), slurm.accounts, slurm.default_account, asked_anew]
    known = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    if config.rules.veto is not None:
        try:
            known.update(config.rules.veto.read_bytes())
        except OSError:
            known.update(b"gone")
    return known.hexdigest()[:16]


def in_words(config: AgentConfig) -> tuple[str, ...]:
    """The rules as the hub's pages show them: what holds, not how the site finds out."""
    rules = config.rules
    said = []
    if rules.drained:
        said.append(f"no new jobs: {rules.drained}")
    if rules.allowed_projects is not None:
        said.append("projects: " + (", ".join(rules.allowed_projects) or "none"))
    if rules.max_walltime_s is not None:
        said.append(f"wall time up to {show_duration(rules.max_walltime_s)}")
    for limit, noun, words in (
        (rules.max_accelerators, "accelerator", "a job"),
        (rules.max_jobs_at_once, "job", "at once"),
        (rules.max_accelerators_at_once, "accelerator", "at once"),
    ):
        if limit is not None:
            said.append(f"at most {show_count(limit, noun)} {words}")
    if rules.quiet_hours:
        said.append(f"quiet hours: {'; '.join(rules.quiet_hours)} ({rules.time_zone})")
    if rules.veto is not None:
        said.append("each job is shown to a program of the site's own, which may say no")
    if config.slurm.accounts:
        said.append(f"projects with an account of their own: {len(config.slurm.accounts)}")
    return tuple(word[:500] for word in said)
