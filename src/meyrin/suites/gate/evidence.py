"""From facts to what a claim is judged on; and every reason why facts can't be judged on.

A problem is a value with a stable code. Whatever has one never passes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from meyrin.domain.errors import MeyrinError
from meyrin.domain.units import show_count
from meyrin.suites.facts import Facts, SampleFact, canonical, check_comparable, in_order
from meyrin.suites.gate.plan import Claim, Plan
from meyrin.suites.gate.signing import SignedPlan

_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something never passes; `claim` is empty where it is about the whole plan."""

    code: str
    says: str
    claim: str = ""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One run as a decision cites it: enough to ask for it and to know it again."""

    claim: str
    role: str  # model or reference
    root: str
    digest: str
    suite: str
    version: str
    weights: str
    site: str
    started_ms: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a claim is judged on, of one cluster."""

    name: str
    size: int
    total: float
    wins: int = 0
    losses: int = 0


@dataclass(frozen=True, slots=True)
class Observed:
    """What a claim is judged on. Unscored samples are in `clusters` with the worst score."""

    clusters: tuple[Cluster, ...]
    unscored: int
    samples: int
    problems: tuple[Problem, ...]
    exhibits: tuple[Exhibit, ...]


def plan_problems(signed: SignedPlan, now_ms: int) -> list[Problem]:
    """What is wrong with the plan itself at this moment."""
    plan, since_ms = signed.plan, signed.since_ms
    found = []
    if since_ms is None:
        found.append(Problem("not_signed", "the plan is not signed by its owner and its reviewer"))
    elif since_ms > now_ms:
        found.append(Problem("signed_later", "the plan's signatures are of a later time than now"))
    if now_ms >= plan.expires_ms:
        found.append(Problem("expired", "the plan has expired; make a new one"))
    return found


def observe(claim: Claim, signed: SignedPlan, runs: Sequence[Facts], now_ms: int) -> Observed:
    """What these runs say about the claim, and what keeps them from saying it."""
    mine = [each for each in runs if _of_suite(claim, each) and not _is_reference(claim, each)]
    problems: list[Problem] = []
    if len(mine) != 1:
        return _nothing(claim, mine, runs)
    facts = mine[0]
    twice = [found for each in runs for found in _twice(claim, each)]
    if twice:
        return Observed((), claim.samples, 0, tuple(twice), ())
    problems += _run_problems(claim, signed, facts, now_ms)
    samples, more = _samples(claim, facts)
    problems += more
    exhibits = [exhibit(claim.name, "model", facts)]
    reference: dict[tuple[str, int], SampleFact] = {}
    if claim.rule == "compare":
        theirs = [each for each in runs if _of_suite(claim, each) and _is_reference(claim, each)]
        if len(theirs) != 1:
            words = (
                "no run of the reference" if not theirs else "more than one run of the reference"
            )
            problems.append(Problem("no_reference", f"there is {words}", claim.name))
        else:
            exhibits.append(exhibit(claim.name, "reference", theirs[0]))
            problems += _reference_problems(claim, facts, theirs[0], now_ms)
            kept, more = _samples(claim, theirs[0])
            problems += more
            reference = {(each.id, each.epoch): each for each in kept}
            if reference.keys() != {(each.id, each.epoch) for each in samples}:
                says = "model and reference were not asked the same samples"
                problems.append(Problem("not_paired", says, claim.name))
    clusters, unscored = _clusters(claim, samples, reference)
    there = len({each.cluster for each in samples})
    if there < claim.clusters:
        says = f"{show_count(there, 'cluster')} where the plan has {claim.clusters:,}"
        problems.append(Problem("few_clusters", says, claim.name))
    missing = claim.samples - len(samples)
    return Observed(
        clusters, unscored + max(missing, 0), len(samples), tuple(problems), tuple(exhibits)
    )


def plan_wide_problems(plan: Plan, exhibits: Iterable[Exhibit]) -> list[Problem]:
    """What can be seen only over all claims: they are about one model."""
    weights = {each.weights for each in exhibits if each.role == "model"}
    found = []
    if len(weights) > 1:
        found.append(Problem("several_models", "the runs are of more than one model"))
    if plan.model and weights and weights != {plan.model}:
        found.append(Problem("wrong_model", "the runs are not of the model that the plan names"))
    return found


def exhibit(claim: str, role: str, facts: Facts) -> Exhibit:
    """`digest` is of all that the run says of itself, and of its samples' root."""
    run, root = facts.run, facts.root
    return Exhibit(
        claim,
        role,
        root,
        hashlib.sha256(canonical({"root": root, **asdict(run)})).hexdigest(),
        run.suite,
        run.version,
        run.fingerprints.weights,
        run.site,
        run.started_ms,
    )


# --- inside


def _of_suite(claim: Claim, facts: Facts) -> bool:
    return facts.run.suite == claim.suite


def _is_reference(claim: Claim, facts: Facts) -> bool:
    return claim.rule == "compare" and facts.run.fingerprints.weights == claim.reference


def _nothing(claim: Claim, mine: Sequence[Facts], runs: Sequence[Facts]) -> Observed:
    if mine:
        says = f"there is more than one run of {claim.suite}: which one counts?"
        problem = Problem("several_runs", says, claim.name)
    else:
        says = f"there is no run of {claim.suite} among {len(runs)}"
        problem = Problem("no_run", says, claim.name)
    return Observed((), claim.samples, 0, (problem,), ())


def _run_problems(claim: Claim, signed: SignedPlan, facts: Facts, now_ms: int) -> list[Problem]:
    run, plan = facts.run, signed.plan
    since_ms = signed.since_ms
    checks = {
        "exploratory": (
            since_ms is None or run.started_ms <= since_ms,
            "the run began before the plan was signed, so it is exploratory for ever",
        ),
        "after_expiry": (run.started_ms >= plan.expires_ms, "the run began after the plan expired"),
        "wrong_plan": (
            run.fingerprints.plan != plan.digest,
            "the run was not made for this plan: its fingerprint names another one or none",
        ),
        **_both_problems(claim, facts, now_ms),
    }
    return [Problem(code, says, claim.name) for code, (wrong, says) in checks.items() if wrong]


def _reference_problems(claim: Claim, facts: Facts, reference: Facts, now_ms: int) -> list[Problem]:
    found = [
        Problem(code, f"the reference: {says}", claim.name)
        for code, (wrong, says) in _both_problems(claim, reference, now_ms).items()
        if wrong
    ]
    try:
        check_comparable(facts.run, reference.run, apart=("weights", "plan"))
    except MeyrinError as error:
        found.append(Problem("not_comparable", error.message, claim.name))
    return found


def _both_problems(claim: Claim, facts: Facts, now_ms: int) -> dict[str, tuple[bool, str]]:
    """What must hold of a model's run and of a reference's: code to (is wrong, words)."""
    run = facts.run
    prints = run.fingerprints
    return {
        "wrong_version": (
            run.version != claim.version,
            f"the suite's version is {run.version} and the plan has {claim.version}",
        ),
        "wrong_seed": (run.seed != claim.seed, f"the seed is {run.seed}, not {claim.seed}"),
        "wrong_data": (
            bool(claim.data) and prints.data != claim.data,
            "the run's data are not those that the plan names",
        ),
        "no_digest": (
            not (_HEX.fullmatch(prints.weights) and _HEX.fullmatch(prints.data)),
            "nobody measured the digest of the weights or of the data",
        ),
        "low_isolation": (
            run.isolation.level < claim.isolation or bool(run.isolation.broken),
            f"the run's isolation was measured as level {run.isolation.level}"
            + (f" with {', '.join(run.isolation.broken)} not kept" if run.isolation.broken else "")
            + f"; the plan asks for {claim.isolation}",
        ),
        "unfinished": (not run.finished, "the run did not finish"),
        "bad_times": (
            not 0 < run.started_ms <= run.ended_ms <= now_ms,
            "the run's times can't be: it ends before it begins, or later than now",
        ),
        "empty": (not facts.samples, "the run has no samples"),
    }


def _samples(claim: Claim, facts: Facts) -> tuple[list[SampleFact], list[Problem]]:
    """The samples that count, and what is wrong with them."""
    left_out = {each.id for each in claim.exclude}
    asked = [each for each in facts.samples if claim.task in {"", each.task}]
    samples = [each for each in asked if each.id not in left_out]
    problems = []
    if len(samples) > claim.samples:
        says = f"{show_count(len(samples), 'sample')} where the plan has {claim.samples:,}"
        problems.append(Problem("too_many_samples", says, claim.name))
    if facts.run.planned < len(facts.samples):
        planned = show_count(facts.run.planned, "sample")
        says = f"the run planned {planned} and has {len(facts.samples):,}"
        problems.append(Problem("too_many_samples", says, claim.name))
    if samples and not any(claim.metric in dict(each.scores) for each in samples):
        says = f"no sample has a score {claim.metric}"
        problems.append(Problem("no_metric", says, claim.name))
    off = [each for each in samples if not _in_range(claim, each.score(claim.metric))]
    if off:
        scores = show_count(len(off), "score")
        says = f"{scores} outside of what the plan says, as in sample {off[0].id}"
        problems.append(Problem("bad_score", says, claim.name))
    if any(not each.cluster for each in samples):
        problems.append(Problem("no_cluster", "samples without a cluster", claim.name))
    return samples, problems


def _twice(claim: Claim, facts: Facts) -> list[Problem]:
    """Samples that are there twice: then nobody can say what the facts are."""
    try:
        count = len(in_order(facts.samples))
    except MeyrinError as error:
        return [Problem("sample_twice", error.message, claim.name)]
    if count < len(facts.samples):
        return [Problem("sample_twice", "a sample is there twice", claim.name)]
    return []


def _in_range(claim: Claim, score: float | None) -> bool:
    if score is None:
        return True
    if claim.rule in {"rate", "zero"}:
        return score in {0.0, 1.0}
    return claim.lowest <= score <= claim.highest


def _clusters(
    claim: Claim, samples: Sequence[SampleFact], reference: Mapping[tuple[str, int], SampleFact]
) -> tuple[tuple[Cluster, ...], int]:
    """Sizes and totals by cluster. Unscored has the worst score for the claim, and so have
    samples that were planned and are missing, in clusters of the planned size."""
    up = claim.direction == "at_least"
    low, high = (0.0, 1.0) if claim.rule in {"rate", "zero"} else (claim.lowest, claim.highest)
    worst, best = (low, high) if up else (high, low)
    sums: dict[str, list[float]] = {}
    unscored = 0
    for sample in samples:
        score = sample.score(claim.metric)
        other = reference.get((sample.id, sample.epoch))
        theirs = other.score(claim.metric) if other is not None else None
        unscored += score is None or (claim.rule == "compare" and theirs is None)
        value = worst if score is None else score
        if claim.rule == "compare":
            value -= best if theirs is None else theirs
        row = sums.setdefault(sample.cluster, [0, 0.0, 0, 0])
        row[0] += 1
        row[1] += value
        row[2] += value > 0
        row[3] += value < 0
    missing, each = claim.samples - len(samples), max(1, claim.samples // claim.clusters)
    value = worst - best if claim.rule == "compare" else worst
    for start in range(0, missing if samples else 0, each):
        size = min(each, missing - start)
        name = f"(missing {start})"
        sums[name] = [size, value * size, size * (value > 0), size * (value < 0)]
    rows = sorted(sums.items())
    clusters = (
        Cluster(name, int(size), total, int(wins), int(losses))
        for name, (size, total, wins, losses) in rows
    )
    return tuple(clusters), unscored
