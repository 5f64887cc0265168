"""The site's own rules: asked for every attempt, at the site. Its no wins."""

from __future__ import annotations

from meyrin.agent.config import Rules
from meyrin.wire.agents import Work


def objection(rules: Rules, work: Work) -> str:
    """Why the site does not run this; empty when it does."""
    if rules.drained:
        return rules.drained
    if rules.allowed_projects is not None and work.project not in rules.allowed_projects:
        return f"project {work.project} may not run here"
    if rules.max_walltime_s is not None and work.walltime_s > rules.max_walltime_s:
        return f"asks {work.walltime_s} s of wall time, the site allows {rules.max_walltime_s}"
    accelerators = work.nodes * work.accelerators
    if rules.max_accelerators is not None and accelerators > rules.max_accelerators:
        return f"asks {accelerators} accelerators, the site allows {rules.max_accelerators} a job"
    return ""
