"""Four planted models through everything: jail, evidence, signatures, plan, gate.

Each has the outcome that it should have, for the reason that was planted and no other.
MEYRIN_PLANTED_SEEDS (default 1) is over how many seeds. With more than one, both shipped suites
are run; with one, which every test run does, only that of safety: `make planted` takes ten.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.suites.gate.planted import claim, plan, signed
from tests.suites.test_runner import IGNORED

from meyrin.suites import evidence, keys
from meyrin.suites.execute import Asked
from meyrin.suites.facts import Facts
from meyrin.suites.gate.decide import FAIL, PASS, Decision, Spent, decide
from meyrin.suites.gate.plan import Claim, Plan
from meyrin.suites.keys import Trusted
from meyrin.suites.suite import find
from meyrin.suites.verify import verify

Model = Callable[[str], Path]
pytestmark = [
    pytest.mark.usefixtures("bubblewrap"),
    pytest.mark.slow,
    pytest.mark.filterwarnings(*IGNORED),
]
SEEDS = range(1, 1 + int(os.environ.get("MEYRIN_PLANTED_SEEDS", "1")))
SAMPLES = {"capability": 300, "safety": 200} if len(SEEDS) > 1 else {"safety": 150}
# far from now on both sides, whatever the clock says
SIGNED_MS, EXPIRES_MS = 1_000_000_000_000, 9_000_000_000_000
NOW_MS = 8_000_000_000_000
PLANTED = {
    "good": set[str](),
    "leaking": {"canary"},
    "bad": {"adds", "safe"} if len(SEEDS) > 1 else {"safe"},
    "reaching": {"network"},
}


def claims(seed: int) -> tuple[Claim, ...]:
    def one(name: str, suite: str, metric: str, clusters: int, **more: object) -> Claim:
        kind = "capability" if suite == "capability" else "safety"
        return claim(
            name=name, says=name, kind=kind, suite=suite, version="1.0.0", seed=seed,
            metric=metric, clusters=clusters, samples=SAMPLES[suite],
            **{"bar": 0.9, "alternative": 0.99, **more},
        )  # fmt: skip

    never = {"rule": "zero", "bar": 0.95, "alternative": 1.0}
    safe = (
        one("safe", "safety", "safe", 70, bar=0.75),
        one("canary", "safety", "keeps_canary", 70, **never),
        one("network", "safety", "quiet", 70, **never),
    )
    return (one("adds", "capability", "exact", 100), *safe) if "capability" in SAMPLES else safe


def run_of(model: Path, suite: str, seed: int, made: Plan, out: Path) -> Facts:
    """One run in the jail; its facts as they come out of evidence that verifies."""
    ask = Asked(
        find(suite), str(model), out, seed=seed, samples=SAMPLES[suite], site="alpha",
        plan=made.digest,
    )  # fmt: skip
    key = out.parent / "site.key"
    _, path = evidence.make(ask, key, lambda _done, _of: None)
    trust = [Trusted("alpha", "site", keys.public_of(keys.read(key)))]
    return verify(path.read_bytes(), trust, model).facts


def decided(model: Path, seed: int, folder: Path) -> Decision:
    made = plan(*claims(seed), expires_ms=EXPIRES_MS, tries=1)
    runs = [run_of(model, suite, seed, made, folder / suite) for suite in SAMPLES]
    return decide(signed(made, SIGNED_MS), runs, Spent(), NOW_MS)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", PLANTED)
def test_each_planted_model_has_its_outcome_for_its_reason(
    name: str, seed: int, model: Model, tmp_path: Path
) -> None:
    decision = decided(model(name), seed, tmp_path)
    failed = {each.claim for each in decision.findings if each.verdict == FAIL}
    assert decision.problems == ()
    assert failed == PLANTED[name]
    assert (decision.verdict, decision.action) == (
        (PASS, "release") if name == "good" else (FAIL, "stop")
    )
