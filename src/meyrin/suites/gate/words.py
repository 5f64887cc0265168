"""A decision in sentences, for whoever gets no further hours and asks why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from meyrin.domain.units import show_count
from meyrin.suites.gate.plan import UNSCORED_BUDGET, Claim, Plan

if TYPE_CHECKING:
    from meyrin.suites.gate.decide import Decision, Finding
    from meyrin.suites.gate.evidence import Problem

ACTIONS = {
    "stop": "The next tranche is stopped.",
    "hold": "The next tranche stays where it is until there is a further decision.",
    "shrink": "The next tranche is released at {shrink} % of its size.",
    "release": "The next tranche is released.",
    "double": "The next tranche is released at double its size.",
}


def of_finding(claim: Claim, found: Finding, problems: Sequence[Problem], *, few: bool) -> str:
    """One claim: verdict, what was found, and why."""
    head = f"{found.verdict}: {claim.kind} claim {claim.name} ({claim.says})"
    if problems:
        return f"{head}. Not judged: " + "; ".join(each.says for each in problems) + "."
    if found.found is None:
        return f"{head}. There is nothing to judge."
    unit = _percent if claim.rule != "mean" else _plain
    parts = [f"{head}. Found {_seen(claim, found)}; the bar is {_side(claim)} {unit(claim.bar)}."]
    if found.unscored:
        parts.append(
            f"{show_count(found.unscored, 'sample')} without a score counted as {_worst(claim)}."
        )
    if few:
        parts.append(
            f"More than {UNSCORED_BUDGET * 100:g} % have no score, which is no evidence about a "
            "capability: mend the suite or the judge and run again."
        )
    elif found.level > 0:
        parts.append(
            f"The chance that the claim is untrue all the same is {found.doubt:.2g}, at most "
            f"{found.level:.2g} is allowed here ({found.method})."
        )
    else:
        parts.append("A stronger capability claim was not proved, so this one is not reached.")
    if found.verdict == "not enough evidence" and not few:
        parts.append(
            f"About {show_count(found.settle, 'sample')} of this kind would have settled it."
            if found.settle
            else "More samples of this kind would hardly settle it: it is too near to the bar."
        )
    return " ".join(parts)


def of_decision(plan: Plan, made: Decision) -> tuple[str, ...]:
    """The whole decision: verdict, each claim, the ledger of attempts, what follows."""
    would = "would have been " if made.hypothetical else ""
    head = f"Gate {plan.gate}, models {plan.family}, attempt {made.attempt}"
    lines = [f"{head}: {would}{made.verdict}."]
    lines += [f"Problem: {each.says}." for each in made.problems if not each.claim]
    lines += [each.says for each in made.findings]
    if made.hypothetical:
        return (*lines, "This is a study of past runs: it opens nothing and spends nothing.")
    if made.spent_ppm:
        after = made.before_ppm + made.spent_ppm
        lines.append(
            f"The attempt spends {made.spent_ppm / 10_000:g} % of the level of "
            f"{plan.level * 100:g} %; {after / 10_000:g} % are spent now."
        )
    else:
        lines.append("Nothing is spent of the level, because the claims could not be judged.")
    lines.append(ACTIONS[made.action].format(shrink=plan.tranche.shrink_percent))
    return tuple(lines)


def _seen(claim: Claim, found: Finding) -> str:
    """The plain count first, then the estimate that the interval is of: the two may differ."""
    span = ""
    unit = _percent if claim.rule != "mean" else _plain
    if found.low is not None and found.high is not None:
        span = f"90 % interval {unit(found.low)} to {unit(found.high)}"
    clusters = f"in {show_count(found.clusters, 'cluster')}"
    if found.ones is None or found.of is None:
        count = show_count(found.samples, "sample")
        return f"{unit(found.found or 0.0)} on {count} {clusters}" + (span and f" ({span})")
    share = found.ones / found.of
    seen = f"{found.ones:,} of {show_count(found.of, 'sample')} {clusters} ({unit(share)})"
    if found.estimate is None:
        return seen
    if claim.rule == "zero":
        up = claim.direction == "at_least"
        side = f"at least {unit(found.low or 0.0)}" if up else f"at most {unit(found.high or 0.0)}"
        return f"{seen}, so the rate of a typical cluster is {side} (95 % sure)"
    return f"{seen}; the rate of a typical cluster is about {unit(found.estimate)} ({span})"


def _side(claim: Claim) -> str:
    words = {"at_least": "at least", "at_most": "at most"}
    if claim.rule == "compare":
        words = {"at_least": "a difference above", "at_most": "a difference below"}
    return words[claim.direction]


def _worst(claim: Claim) -> str:
    return "failed" if claim.kind == "safety" else "wrong"


def _percent(value: float) -> str:
    return f"{value * 100:.4g} %"


def _plain(value: float) -> str:
    return f"{value:.4g}"
