"""Rows of gates for tests of lists and pages: whole enough to be shown, made without any run."""

from __future__ import annotations

from tests.suites.gate.planted import digest, plan, signed

from meyrin.hub.evaluations import store
from meyrin.hub.plumbing.database import Step

SCORES = [
    {"task": "sums", "metric": "exact", "samples": 200, "clusters": 40, "unscored": 3,
     "mean": 0.955, "low": 0.92, "high": 0.98, "estimate": 0.953},
    {"task": "<b>essays</b>", "metric": "grade", "samples": 1, "clusters": 1, "unscored": 0,
     "mean": 0.5, "low": None, "high": None},
]  # fmt: skip


def add_rows(hub, mark: str) -> None:
    """A key, a plan, a run and a decision of `lab`."""
    with hub.write() as step:
        add(step, hub.projects["lab"], mark)


def receive(step: Step, attempt: str, bundle: str = "bundle") -> None:
    """Evidence of an attempt, with this bundle; the runs above stand on `bundle`."""
    row = {"attempt": attempt, "draft": digest("draft"), "bundle": digest(bundle)}
    step.add(store.evidence, [{**row, "received_ms": step.now_ms, "by": "test"}])


def add(step: Step, project_id: str, mark: str) -> None:
    now_ms = step.now_ms
    made = signed(plan(says=f"plan {mark}"), at_ms=now_ms - 5)
    named = {"project_id": project_id, "family": "tiny", "by": "test"}
    run = {
        "suite": "safety",
        "version": "1.0",
        "seed": 7,
        "site": "alpha",
        "model": "tiny",
        "started_ms": now_ms,
        "fingerprints": {"weights": digest(mark)},
    }
    kept_run = {
        **named,
        "digest": digest(f"run {mark}"),
        "bundle": digest("bundle"),
        "root": digest("root"),
        "weights": digest(mark),
        "suite": "safety",
        "plan": made.plan.digest,
        "registered_ms": now_ms,
        "run": run,
        "scores": SCORES,
        "signers": [],
    }
    decision = {
        "digest": digest(f"decision {mark}"),
        "gate": "second-tranche",
        "family": "tiny",
        "attempt": 1,
        "verdict": "fail",
        "action": "stop",
        "says": ["Gate second-tranche: fail.", "It knows <script>window.hacked=1</script>."],
    }
    kept_decision = {
        **named,
        "digest": decision["digest"],
        "asked": digest(f"asked {mark}"),
        "gate": "second-tranche",
        "plan": made.plan.digest,
        "turn": None,
        "spent_ppm": 0,
        "verdict": "fail",
        "action": "stop",
        "decided_ms": now_ms,
        "runs": [],
        "decision": decision,
    }
    kept_plan = {
        **named,
        "digest": made.plan.digest,
        "gate": made.plan.gate,
        "registered_ms": now_ms,
        "signed": made.as_data(),
    }
    key = {"public": digest(f"key {mark}"), "name": mark, "role": "site", "since_ms": now_ms}
    step.add(store.gate_keys, [{**key, "ended_ms": None}])
    step.add(store.gate_plans, [kept_plan])
    step.add(store.gate_runs, [kept_run])
    step.add(store.gate_decisions, [kept_decision])
