"""Gates at the hub: keys that count, plans as they were received, evidence that verifies,
decisions, and what they do to the next tranche. Nothing is taken on a client's word.

The hub's own time of receipt makes a plan count, so no date on a signature can make it older. A
run is taken only from a bundle that its site signed with a key that an administrator named, for an
attempt of this hub, and that the hub has countersigned.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from meyrin.domain.errors import (
    Conflict,
    Failed,
    InvalidInput,
    MeyrinError,
    NotAllowed,
    NotFound,
    Refused,
)
from meyrin.domain.tranche import Action
from meyrin.domain.units import show_count
from meyrin.hub.calls import tranches
from meyrin.hub.evaluations import receipts, store, trust
from meyrin.hub.identity import service as identity
from meyrin.hub.jobs import files
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.blobs import Blobs
from meyrin.hub.plumbing.database import Database, Step
from meyrin.hub.plumbing.paging import cut
from meyrin.hub.plumbing.settings import HubSettings
from meyrin.suites.facts import Facts
from meyrin.suites.gate.decide import Decision, Spent
from meyrin.suites.gate.signing import SignedPlan, signed_from_data
from meyrin.wire.jobs import FileView

if TYPE_CHECKING:
    from meyrin.suites.verify import Verified

MOST_RUNS = 20
_BEGINNING = re.compile("[0-9a-f]{8,63}")  # of a digest, as lists show it


@dataclass(frozen=True, slots=True)
class KeptPlan:
    """A plan with the name of its project, and what its tries have spent."""

    signed: SignedPlan
    project: str
    registered_ms: int


@dataclass(frozen=True, slots=True)
class KeptRun:
    digest: str
    project: str
    family: str
    root: str
    bundle: str
    registered_ms: int
    run: dict[str, Any]
    scores: list[dict[str, Any]]
    signers: list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class KeptDecision:
    project: str
    decided_ms: int
    runs: list[str]
    decision: dict[str, Any]


# --- plans


def register_plan(step: Step, actor: Actor, project: str, told: dict[str, Any]) -> KeptPlan:
    """Keep a signed plan; it counts from now on. Again: the one that is here."""
    owner = identity.project_by_name(step, actor, project)
    signed = replace(signed_from_data(told), registered_ms=0)
    made = signed.plan
    since_ms = signed.since_ms
    if since_ms is None:
        raise Refused(
            f"plan {made.digest[:12]} is not signed by owner and reviewer",
            hint="`meyrin gate plan sign FILE --key KEY --as owner|reviewer`",
        )
    if since_ms > step.now_ms or made.expires_ms <= step.now_ms:
        raise Refused(
            "the plan was signed in the future, or has expired",
            hint="mind the clock of whoever signed, or make a new plan",
        )
    row = {
        "project_id": owner.id,
        "digest": made.digest,
        "gate": made.gate,
        "family": made.family,
        "registered_ms": step.now_ms,
        "by": actor.key,
        "signed": signed.as_data(),
    }
    before = store.found(step, store.gate_plans, owner.id, made.digest)
    if before is None:
        step.add_new(store.gate_plans, [row])  # nothing, where it came twice at once
        audit.note(step, actor.name, "plan.register", made.digest, project=owner.name)
        before = store.found(step, store.gate_plans, owner.id, made.digest)
        assert before is not None, "it was just added"
    return _plan(before, owner.name)


def plan(step: Step, actor: Actor, project: str, digest: str) -> KeptPlan:
    owner = identity.project_by_name(step, actor, project)
    return _plan(_found(step, store.gate_plans, owner.id, digest, "plan"), owner.name)


def plans(
    step: Step, actor: Actor, project: str | None, family: str, after: str, limit: int
) -> tuple[list[KeptPlan], str]:
    rows, names, following = _listed(step, actor, store.gate_plans, project, family, after, limit)
    return [_plan(row, names[row.project_id]) for row in rows], following


def spent(step: Step, actor: Actor, project: str, gate: str, family: str) -> Spent:
    """What was spent of the level at this gate by these models."""
    owner = identity.project_by_name(step, actor, project)
    return Spent(*store.spent(step, owner.id, gate, family))


# --- runs


def receive(
    database: Database,
    blobs: Blobs,
    settings: HubSettings,
    site_id: str,
    attempt: str,
    brought: Sequence[FileView],
) -> tuple[list[FileView], str]:
    """The results of an attempt, its evidence countersigned and its run kept; and why not, where
    one of that is not so. What is no run of a suite is left as it is, without a word."""
    evidence = [file for file in brought if file.name == receipts.FILE]
    if not evidence or not receipts.is_of_a_run(database, site_id, attempt, evidence):
        return list(brought), ""
    try:
        raw = receipts.content(blobs, evidence[0].sha256)
        kept, raw = receipts.countersigned(database, blobs, settings, site_id, raw, attempt)
    except MeyrinError as error:
        return list(brought), f"{receipts.FILE} is not countersigned: {error.message}"
    left = [kept if file.name == receipts.FILE else file for file in brought]
    try:
        found = _verified(database, raw)
        with database.read() as step:
            row = receipts.check(step, found, step.now_ms)
            receipts.refuse_own_suites(step, [raw])
        _keep_run(database, found, kept, row.project_id, by=site_id, name=found.facts.run.site)
    except Refused:  # a suite that came with its job may call itself anything: not by itself
        return left, ""
    except MeyrinError as error:
        return left, f"{receipts.FILE} is countersigned, but its run is not kept: {error.message}"
    return left, ""


def register_run(
    database: Database,
    blobs: Blobs,
    settings: HubSettings,
    actor: Actor,
    project: str,
    bundle: str,
) -> KeptRun:
    """Keep the run of an uploaded bundle that verifies, that its site signed and a hub received.

    What the site signed for an attempt of this hub, and nobody has countersigned yet, this hub
    receives now.
    """
    with database.read() as step:
        owner = identity.project_by_name(step, actor, project)
        files.check_brought(step, actor.key, [FileView(name="evidence.zip", sha256=bundle, size=0)])
    raw = receipts.content(blobs, bundle)
    found, kept = _received(database, blobs, settings, actor.key, raw)
    with database.read() as step:
        attempt = receipts.check(step, found, step.now_ms)
    if attempt.project_id != owner.id:
        raise NotAllowed(
            f"the job behind this evidence is not of project {owner.name}",
            hint="give --project as the job had it",
        )
    made = _keep_run(database, found, kept, owner.id, by=actor.key, name=actor.name)
    return _run(made, owner.name)


def _keep_run(
    database: Database, found: Verified, kept: FileView, project_id: str, *, by: str, name: str
) -> sa.Row[Any]:
    """The run of evidence that was received, among those of its project; once."""
    from meyrin.suites.gate.evidence import exhibit  # noqa: PLC0415 - numpy, below
    from meyrin.suites.gate.scores import scores  # noqa: PLC0415

    facts, run = found.facts, found.facts.run
    shown = exhibit("", "model", facts)
    row = {
        "project_id": project_id,
        "digest": shown.digest,
        "bundle": kept.sha256,
        "root": shown.root,
        "weights": run.fingerprints.weights[:200],
        "suite": run.suite[:200],
        "plan": run.fingerprints.plan,
        "by": by,
        "run": asdict(run),
        "scores": [asdict(each) for each in scores(facts)],
        "signers": [
            {"name": each.name, "role": each.role, "public": each.public} for each in found.signers
        ],
    }
    with database.write() as step:
        of_plan = run.fingerprints.plan or ""
        planned = store.found(step, store.gate_plans, project_id, of_plan)
        family = planned.family if planned is not None else run.model[:100]
        before = store.found(step, store.gate_runs, project_id, shown.digest)
        if before is None:
            new = {**row, "family": family, "registered_ms": step.now_ms}
            step.add_new(store.gate_runs, [new])  # nothing, where it came twice at once
            project = identity.project(step, project_id).name
            audit.note(step, name, "run.register", shown.digest, project=project)
            before = store.found(step, store.gate_runs, project_id, shown.digest)
    assert before is not None, "it was just added"
    return before


def run(step: Step, actor: Actor, project: str, digest: str) -> KeptRun:
    owner = identity.project_by_name(step, actor, project)
    return _run(_found(step, store.gate_runs, owner.id, digest, "run"), owner.name)


def runs(
    step: Step, actor: Actor, project: str | None, family: str, after: str, limit: int
) -> tuple[list[KeptRun], str]:
    rows, names, following = _listed(step, actor, store.gate_runs, project, family, after, limit)
    return [_run(row, names[row.project_id]) for row in rows], following


# --- decisions


def decide(
    database: Database, blobs: Blobs, actor: Actor, project: str, plan: str, runs: Sequence[str]
) -> KeptDecision:
    """Decide on these runs by this plan, once, and let the next tranche follow.

    The same question again gets the same answer. Raises Refused when the level is spent or a run
    ended later than now, InvalidInput for a run that no claim is about, and Conflict when another
    decision came between.
    """
    from meyrin.suites.gate.decide import decide as decided  # noqa: PLC0415 - numpy and scipy

    wanted = sorted(set(runs))
    if len(wanted) > MOST_RUNS:
        raise InvalidInput(f"a decision stands on at most {MOST_RUNS} runs", field="runs")
    asked = hashlib.sha256("\n".join([plan, *wanted]).encode()).hexdigest()
    with database.read() as step:
        owner = identity.project_by_name(step, actor, project)
        before = store.found(step, store.gate_decisions, owner.id, asked, "asked")
        if before is not None:
            return _decision(before, owner.name)
        kept = _plan(_found(step, store.gate_plans, owner.id, plan, "plan"), owner.name)
        rows = {row.digest: row for row in store.runs_of(step, owner.id, wanted)}
        for digest in wanted:
            if digest not in rows:
                raise NotFound(
                    f"there is no run {digest[:12]} in {owner.name}",
                    hint="`meyrin gate evidence FILE` brings one",
                )
        _refuse_revoked(step, rows.values())
        made_by = kept.signed.plan
        before_us = Spent(*store.spent(step, owner.id, made_by.gate, made_by.family))
        now_ms = step.now_ms
    contents = [receipts.content(blobs, rows[digest].bundle) for digest in wanted]
    facts = [_facts(raw) for raw in contents]
    _refuse_to_come(facts, now_ms)
    with database.read() as step:
        receipts.refuse_own_suites(step, contents)
    made = decided(kept.signed, facts, before_us, now_ms)
    _refuse_spent(made)
    _refuse_beside(made, wanted)
    with database.write() as step:
        return _keep(step, actor, owner, made, kept.signed, asked, wanted)


def decisions(
    step: Step, actor: Actor, project: str | None, family: str, after: str, limit: int
) -> tuple[list[KeptDecision], str]:
    rows, names, following = _listed(
        step, actor, store.gate_decisions, project, family, after, limit
    )
    return [_decision(row, names[row.project_id]) for row in rows], following


def decision(step: Step, actor: Actor, project: str, digest: str) -> KeptDecision:
    owner = identity.project_by_name(step, actor, project)
    row = _found(step, store.gate_decisions, owner.id, digest, "decision")
    return _decision(row, owner.name)


# --- inside


def _refuse_spent(made: Decision) -> None:
    for problem in made.problems:
        if problem.code == "level_spent":
            raise Refused(problem.says, hint="a new gate, on items that nobody has seen")


def _refuse_to_come(facts: Sequence[Facts], now_ms: int) -> None:
    """A site's clock may be ahead of ours: what waits a moment is not decided upon for ever."""
    ended_ms = max((each.run.ended_ms for each in facts), default=0)
    if ended_ms > now_ms:
        raise Refused(
            "a run ended later than now by its site's clock, which is ahead of this hub's",
            hint=f"ask again in {show_count(-(-(ended_ms - now_ms) // 1000), 'second')}",
        )


def _refuse_beside(made: Decision, wanted: Sequence[str]) -> None:
    """The same evidence with something beside it would be another question, and count again."""
    used = {each.digest for each in made.exhibits}
    beside = [digest for digest in wanted if digest not in used]
    if beside and not made.problems:
        raise InvalidInput(
            f"no claim of the plan is about run {beside[0][:12]}",
            hint="name only the runs that the plan asks for",
            field="runs",
            value=beside[0],
        )


def _keep(
    step: Step,
    actor: Actor,
    owner: identity.Project,
    made: Decision,
    signed: SignedPlan,
    asked: str,
    wanted: list[str],
) -> KeptDecision:
    spent_now = store.spent(step, owner.id, made.gate, made.family)
    if spent_now != (made.attempt - 1, made.before_ppm):
        before = store.found(step, store.gate_decisions, owner.id, asked, "asked")
        if before is not None:
            return _decision(before, owner.name)
        raise Conflict("another try was decided meanwhile", hint="ask again")
    row = {
        "project_id": owner.id,
        "digest": made.digest,
        "asked": asked,
        "gate": made.gate,
        "family": made.family,
        "plan": made.plan,
        "turn": made.attempt if made.spent_ppm else None,
        "spent_ppm": made.spent_ppm,
        "verdict": made.verdict,
        "action": made.action,
        "decided_ms": made.decided_ms,
        "by": actor.key,
        "runs": wanted,
        "decision": made.as_data(),
    }
    try:
        step.add(store.gate_decisions, [row])
    except sa.exc.IntegrityError as error:
        raise Conflict("another try was decided meanwhile", hint="ask again") from error
    audit.note(
        step, actor.name, "gate.decide", made.digest, project=owner.name, verdict=made.verdict
    )
    plan = signed.plan
    tranches.apply(
        step,
        tranches.Ruling(
            decision=made.digest,
            project_id=owner.id,
            gate=plan.gate,
            family=plan.family,
            reviewer=plan.reviewer.key,
            action=Action(made.action),
            shrink_percent=plan.tranche.shrink_percent,
            reason=f"gate {plan.gate}: {made.verdict} (decision {made.digest[:12]})",
        ),
    )
    return KeptDecision(owner.name, made.decided_ms, wanted, made.as_data())


def _received(
    database: Database, blobs: Blobs, settings: HubSettings, by: str, raw: bytes
) -> tuple[Verified, FileView]:
    """The attempt's evidence with both signatures, and what it says."""
    try:
        kept, raw = receipts.countersigned(database, blobs, settings, by, raw)
        return _verified(database, raw), kept
    except Conflict:
        raise
    except Failed as error:
        raise InvalidInput(error.message, hint=error.hint, field="bundle") from error


def _verified(database: Database, raw: bytes) -> Verified:
    from meyrin.suites.verify import verify  # noqa: PLC0415

    with database.read() as step:
        known = trust.known(step)
    return verify(raw, known, hub=True)


def _refuse_revoked(step: Step, rows: Iterable[sa.Row[Any]]) -> None:
    """A run whose site's or hub's key was revoked since it was registered counts no more."""
    revoked = {each.public for each in trust.known(step) if each.revoked_ms is not None}
    for row in rows:
        if any(each["public"] in revoked for each in row.signers):
            raise Refused(
                f"run {row.digest[:12]} was signed with a key that has been revoked",
                hint="run the suite again: its evidence is signed with another key",
            )


def _facts(raw: bytes) -> Facts:
    """The facts of a bundle that was verified when it was registered."""
    from meyrin.suites import bundle, facts  # noqa: PLC0415 - not for a listing

    return facts.parse(bundle.unzipped(raw)[bundle.FACTS])


def _found(step: Step, table: sa.Table, project_id: str, digest: str, noun: str) -> sa.Row[Any]:
    """The one of this digest, or whose digest alone begins so."""
    row = store.found(step, table, project_id, digest)
    if row is None and _BEGINNING.fullmatch(digest):
        rows = store.beginning(step, table, project_id, digest)
        if len(rows) > 1:
            raise InvalidInput(f"several digests begin with {digest}", hint="write more of it")
        row = rows[0] if rows else None
    if row is None:
        raise NotFound(f"there is no {noun} {digest[:64]} in this project")
    return row


def _listed(
    step: Step,
    actor: Actor,
    table: sa.Table,
    project: str | None,
    family: str,
    after: str,
    limit: int,
) -> tuple[list[sa.Row[Any]], dict[str, str], str]:
    """Rows, names of their projects, and where the next page begins. Three queries at most."""
    if after and not (after.isascii() and after.isdigit() and len(after) < 19):
        raise InvalidInput(f"{after!r} is no place in this list", field="after")
    ids = None if actor.admin else sorted(actor.projects)
    if project:
        ids = [identity.project_by_name(step, actor, project).id]
    key = int(after) if after else None
    rows, following = cut(store.listed(step, table, ids, family, key, limit), limit, "id")
    return rows, identity.project_names(step, {row.project_id for row in rows}), following


def _plan(row: sa.Row[Any], project: str) -> KeptPlan:
    signed = replace(signed_from_data(row.signed), registered_ms=row.registered_ms)
    return KeptPlan(signed, project, row.registered_ms)


def _run(row: sa.Row[Any], project: str) -> KeptRun:
    return KeptRun(
        row.digest,
        project,
        row.family,
        row.root,
        row.bundle,
        row.registered_ms,
        row.run,
        row.scores,
        row.signers,
    )


def _decision(row: sa.Row[Any], project: str) -> KeptDecision:
    return KeptDecision(project, row.decided_ms, row.runs, row.decision)
