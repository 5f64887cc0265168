"""What a plan would have decided on runs that were made before it: a study, never a decision."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from meyrin.suites.facts import Facts
from meyrin.suites.gate.decide import Decision, Spent, decide
from meyrin.suites.gate.plan import Plan
from meyrin.suites.gate.signing import SignedPlan


def would_have(plan: Plan, runs: Sequence[Facts], now_ms: int) -> list[tuple[str, Decision]]:
    """By the digest of their weights, what each model would have got, in the order of their runs.

    Runs of a comparison's reference belong to every model. The level is spent as it would have
    been.
    """
    references = {claim.reference for claim in plan.claim if claim.reference}
    shared = [each for each in runs if each.run.fingerprints.weights in references]
    models: defaultdict[str, list[Facts]] = defaultdict(list)
    for each in sorted(runs, key=lambda facts: facts.run.started_ms):
        if each.run.fingerprints.weights not in references:
            models[each.run.fingerprints.weights].append(each)
    spent = Spent()
    made = []
    for weights, mine in models.items():
        decision = decide(SignedPlan(plan), [*mine, *shared], spent, now_ms, hypothetical=True)
        made.append((weights, decision))
        if decision.spent_ppm:
            spent = Spent(spent.attempts + 1, spent.ppm + decision.spent_ppm)
    return made
