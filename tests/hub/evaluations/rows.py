"""Rows of gates for tests of lists: whole enough to be shown, made without any run."""

from __future__ import annotations

from tests.suites.gate.planted import digest, plan, signed

from meyrin.hub.evaluations import store


def add_rows(hub, mark: str) -> None:
    """A key, a plan, a run and a decision of `lab`."""
    project_id, now_ms = hub.projects["lab"], hub.clock.now_ms
    made = signed(plan(says=f"plan {mark}"), at_ms=now_ms - 5)
    named = {"project_id": project_id, "family": "tiny", "by": "test"}
    run = {
        **named,
        "digest": digest(f"run {mark}"),
        "bundle": digest("bundle"),
        "root": digest("root"),
        "weights": digest("weights"),
        "suite": "safety",
        "plan": made.plan.digest,
        "registered_ms": now_ms,
        "run": {"model": "tiny"},
        "scores": [],
        "signers": [],
    }
    decision = {
        **named,
        "digest": digest(f"decision {mark}"),
        "asked": digest(f"asked {mark}"),
        "gate": "g",
        "plan": made.plan.digest,
        "turn": None,
        "spent_ppm": 0,
        "verdict": "fail",
        "action": "stop",
        "decided_ms": now_ms,
        "runs": [],
        "decision": {"digest": digest(f"decision {mark}")},
    }
    kept = {
        **named,
        "digest": made.plan.digest,
        "gate": made.plan.gate,
        "registered_ms": now_ms,
        "signed": made.as_data(),
    }
    key = {"public": digest(f"key {mark}"), "name": mark, "role": "site", "since_ms": now_ms}
    with hub.write() as step:
        step.add(store.gate_keys, [{**key, "ended_ms": None}])
        step.add(store.gate_plans, [kept])
        step.add(store.gate_runs, [run])
        step.add(store.gate_decisions, [decision])
