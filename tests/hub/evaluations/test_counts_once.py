"""What a gate decides on counts once, and is not decided before it can be."""

from __future__ import annotations

from tests.hub.evaluations.test_gates import gate, model, weights
from tests.suites.gate.planted import REVIEWER

from meyrin.hub.calls import tranches
from meyrin.suites.gate.signing import public_of

__all__ = ["gate", "model", "weights"]


def test_the_same_evidence_with_a_run_beside_it_is_no_other_question(gate):
    made, decided = gate.passed()
    with gate.hub.write() as step:  # more hours behind the same gate
        end_s = step.now_s + 10**7
        parts = [
            tranches.Part(3600, step.now_s),
            tranches.Part(7200, step.now_s, "second-tranche", "tiny", public_of(REVIEWER)),
        ]
        gate.allocation = tranches.award(
            step, gate.hub.projects["lab"], "h100", parts, start_s=step.now_s, end_s=end_s,
            reason="renewed",
        ).id  # fmt: skip
    gate.work = gate.job()
    other = gate.bring(gate.packed(gate.facts(made, 0.1, seed=2, suite="another")))
    first = {"digest": decided["runs"][0]}
    no = gate.decide(made, first, other, status=422)["error"]
    assert f"no claim of the plan is about run {other['digest'][:12]}" in no["message"]
    assert gate.decide(made, first) == decided
    assert gate.tranche()["tranches"][1]["state"] == "waiting"


def test_a_run_of_a_clock_that_is_ahead_waits_until_it_is_past(gate):
    """Decided at once, it would be no evidence for ever."""
    made = gate.plan()
    gate.register(made)
    facts = gate.facts(made, 0.995)
    gate.hub.clock.now_ms = facts.run.ended_ms - 60_000
    run = gate.bring(gate.packed(facts))
    no = gate.decide(made, run, status=409)["error"]
    assert (no["code"], no["hint"]) == ("refused", "ask again in 60 seconds")
    gate.hub.clock.now_ms += 60_000
    assert gate.decide(made, run)["decision"]["verdict"] == "pass"
