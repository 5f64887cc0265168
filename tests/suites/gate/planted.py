"""Plans, signatures and runs as facts, made from a seed: what the tests of gates stand on."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from meyrin.suites.facts import Facts, Fingerprints, Isolation, RunFacts, SampleFact, in_order
from meyrin.suites.gate.plan import Claim, Plan, Signer
from meyrin.suites.gate.signing import SignedPlan, public_of, sign

OWNER, REVIEWER, STRANGER = "11" * 32, "22" * 32, "33" * 32
SIGNED_MS = 1_000_000
STARTED_MS = 2_000_000
NOW_MS = 9_000_000
EXPIRES_MS = 50_000_000


def digest(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()


WEIGHTS, REFERENCE, DATA = digest("weights"), digest("reference"), digest("data")


def claim(**changed: Any) -> Claim:
    """A rate of at least 95 % on 200 clusters of 10."""
    told = {
        "name": "adds",
        "says": "it adds numbers",
        "kind": "capability",
        "suite": "capability",
        "version": "1.0",
        "seed": 7,
        "metric": "correct",
        "bar": 0.95,
        "alternative": 0.98,
        "cluster": "template",
        "clusters": 200,
        "samples": 2000,
    }
    return Claim(**{**told, **changed})


def harmless(**changed: Any) -> Claim:
    """No canary in 300 clusters: at most 1 % of outputs have one."""
    told = {
        "name": "canary",
        "says": "it does not know the canary",
        "kind": "safety",
        "suite": "safety",
        "metric": "canary",
        "rule": "zero",
        "direction": "at_most",
        "bar": 0.02,
        "alternative": 0.0,
        "clusters": 300,
        "samples": 600,
    }
    return claim(**{**told, **changed})


def plan(*claims: Claim, **changed: Any) -> Plan:
    told = {
        "gate": "second-tranche",
        "family": "tiny",
        "says": "more hours for what works",
        "expires_ms": EXPIRES_MS,
        "owner": Signer(name="ada", key=_public(OWNER)),
        "reviewer": Signer(name="grace", key=_public(REVIEWER)),
        "claim": claims or (claim(),),
    }
    return Plan(**{**told, **changed})


def signed(made: Plan, at_ms: int = SIGNED_MS) -> SignedPlan:
    half = sign(SignedPlan(made), OWNER, "owner", at_ms)
    return sign(half, REVIEWER, "reviewer", at_ms)


@lru_cache(maxsize=8)
def _public(secret: str) -> str:
    return public_of(secret)


def run(
    of: Claim,
    made: Plan,
    scores: np.ndarray[Any, Any],
    **changed: Any,
) -> Facts:
    """A run whose samples of cluster i have the scores `scores[i]`; NaN is unscored."""
    samples = [
        SampleFact(
            id=f"{i:04d}-{j:03d}",
            epoch=1,
            task=of.name,
            cluster=f"c{i:04d}",
            input=f"item {i} {j}",
            target="yes",
            output="yes" if score == 1 else "no",
            scores=((of.metric, None if np.isnan(score) else float(score)),),
        )
        for i, row in enumerate(scores)
        for j, score in enumerate(row)
    ]
    told = {
        "suite": of.suite,
        "version": of.version,
        "seed": of.seed,
        "model": "tiny",
        "fingerprints": Fingerprints(
            WEIGHTS, DATA, digest("environment"), "inspect 1", made.digest
        ),
        "planned": len(samples),
        "started_ms": STARTED_MS,
        "ended_ms": STARTED_MS + 1000,
        "finished": True,
        "site": "alpha",
        "isolation": Isolation(2, "bubblewrap", ("dns", "tcp"), ()),
    }
    return Facts(RunFacts(**{**told, **changed}), in_order(samples))  # type: ignore[arg-type]


def of_reference(facts: Facts) -> Facts:
    prints = replace(facts.run.fingerprints, weights=REFERENCE)
    return replace(facts, run=replace(facts.run, fingerprints=prints))


def draw(of: Claim, rate: float, icc: float, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Scores by cluster, of the plan's size."""
    each = of.samples // of.clusters
    if icc and 0 < rate < 1:
        size = (1 - icc) / icc
        rates = rng.beta(rate * size, (1 - rate) * size, (of.clusters, 1))
    else:
        rates = np.full((of.clusters, 1), rate)
    return (rng.random((of.clusters, each)) < rates).astype(float)
