"""What a suite that is installed here draws for the claims of a plan.

A plan may ask for what no run of its suite can have: a version or a score that there is not, more
samples or clusters than the suite draws. Said while the plan is written, that costs nothing. It
draws items, so it runs the suite's own code here, as `meyrin suite show` does.
"""

from __future__ import annotations

from collections.abc import Iterator

from meyrin.domain.errors import MeyrinError
from meyrin.domain.units import show_count
from meyrin.suites.gate.plan import Claim, Plan
from meyrin.suites.suite import Suite, find


def misfits(plan: Plan) -> list[str]:
    """Why no run of the suites that are installed here could pass this plan; empty where none is
    installed, or only the run itself can tell."""
    found = []
    for claim in plan.claim:
        try:
            suite = find(claim.suite)
        except MeyrinError:
            continue
        found += [f"claim {claim.name}: {why}" for why in _of_claim(claim, suite)]
    return found


def run_words(plan: Plan) -> list[str]:
    """The runs that the plan asks for, as they are typed: one for each suite."""
    wanted: dict[str, set[str]] = {}
    for claim in plan.claim:
        samples = "" if claim.task else f" --samples {claim.samples + len(claim.exclude)}"
        wanted.setdefault(claim.suite, set()).add(f"--seed {claim.seed}{samples}")
    return [
        f"meyrin suite run {suite} --model MODEL {max(options, key=len)} --plan {plan.digest}"
        for suite, options in wanted.items()
    ]


def _of_claim(claim: Claim, suite: Suite) -> Iterator[str]:
    if suite.version != claim.version:
        yield f"{suite.name} is {suite.version} here, and the plan has {claim.version}"
        return
    tasks = [task for task in suite.tasks if claim.task in {"", task.name}]
    if not tasks:
        yield f"{suite.name} has no task {claim.task}; it has {_names(t.name for t in suite.tasks)}"
        return
    if any(task.inspect for task in tasks):
        return  # only Inspect knows what it draws and scores
    scores = {name for task in tasks for name in task.judged}
    if claim.metric not in scores:
        yield f"{suite.name} has no score {claim.metric}; it has {_names(scores)}"
    yield from _too_few(claim, suite)


def _too_few(claim: Claim, suite: Suite) -> Iterator[str]:
    asked = claim.samples + len(claim.exclude)
    counts = {claim.task: asked} if claim.task else suite.counts(asked)
    drawn = [item for t in suite.tasks if t.name in counts
             for item in suite.draw(t, claim.seed, counts[t.name])]  # fmt: skip
    left_out = {each.id for each in claim.exclude}
    for gone in sorted(left_out - {item.id for item in drawn}):
        yield f"{suite.name} draws no sample {gone} that could be left out"
    kept = [item for item in drawn if item.id not in left_out]
    clusters = len({item.cluster for item in kept})
    if len(kept) < claim.samples or clusters < claim.clusters:
        yield (
            f"of {claim.samples:,} samples, {suite.name} draws {show_count(len(kept), 'sample')} "
            f"in {show_count(clusters, 'cluster')} with seed {claim.seed}, and the plan has "
            f"{show_count(claim.clusters, 'cluster')}"
        )


def _names(names: Iterator[str] | set[str]) -> str:
    return ", ".join(sorted(names))
