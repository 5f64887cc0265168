"""Asks for hours: led to a mode, decided by its rule at once or by an officer with a reason.

Every ask carries its clock: submitted, eligible, reviewed, decided, provisioned, first job. What
waits is first in, first out where its mode says so; the clock may be stopped, with a reason that
is kept, and the promise moves by the mode's own rule (`hub.calls.modes.clock`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from meyrin.domain.errors import Conflict, InvalidInput, NotAllowed, NotFound, Refused
from meyrin.domain.ids import new_id
from meyrin.domain.ledger import check_amount, check_reason
from meyrin.domain.units import HOUR_S, NodeShape, Unit, convert
from meyrin.hub.calls import granting
from meyrin.hub.calls import proposals_store as store
from meyrin.hub.calls.modes import clock
from meyrin.hub.calls.modes.file import Mode
from meyrin.hub.calls.modes.route import Answers, Fit, route
from meyrin.hub.identity import service as identity
from meyrin.hub.identity.labels import check_label
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import cut
from meyrin.hub.sites import service as sites
from meyrin.wire.calls import ProposalView, StopView

WAITING, GRANTED, REFUSED, WITHDRAWN = "waiting", "granted", "refused", "withdrawn"
STATES = (WAITING, GRANTED, REFUSED, WITHDRAWN)
RULE = "rule"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a person asks for. `charged_type` names the accelerator, or `core`.

    `project` is one that they lead, or a new one that they then lead; `mode` is chosen for them
    when left out.
    """

    key: str
    project: str
    title: str
    kind: str
    purpose: str
    amount_h: int
    unit: Unit
    months: int
    charged_type: str
    mode: str | None = None


# --- asking

_ASKED = ("project", "title", "kind", "purpose", "amount_h", "unit", "months", "charged_type")


def ask(step: Step, actor: Actor, wanted: Ask, modes: Sequence[Mode]) -> ProposalView:
    """Keep an ask; a mode of rules grants it in this step. The same key is the same ask.

    Raises Refused when no mode fits, or the rule's grant was given before; InvalidInput and
    NotAllowed for a project that is not theirs to ask for.
    """
    person_id = _person(actor)
    known = store.by_key(step, person_id, wanted.key)
    if known is not None:
        return _again(step, known, wanted)
    if wanted.title:
        check_label("title", wanted.title)
    node = _node(step, wanted.charged_type)
    fit = _fit(modes, wanted, node, step.now_s)
    project_id = _project(step, actor, wanted)
    amount_s = _amount_s(wanted, node)
    promise = fit.promise
    assert promise is not None
    by_rule = all(each.kind == RULE for each in fit.mode.step)
    row = {
        "id": new_id("proposal", step.entropy),
        "person_id": person_id,
        "key": wanted.key,
        "project": wanted.project,
        "title": wanted.title,
        "mode": fit.mode.name,
        "kind": wanted.kind,
        "purpose": wanted.purpose,
        "amount_h": wanted.amount_h,
        "unit": str(wanted.unit),
        "months": wanted.months,
        "charged_type": wanted.charged_type,
        "amount_s": amount_s,
        "state": WAITING,
        "reason": "",
        "decided_by": "",
        "allocation_id": None,
        "submit_ms": step.now_ms,
        "eligible_ms": step.now_ms,  # the mode's own questions were answered above
        "from_s": promise.from_s,
        "due_s": promise.due_s,
        "turn_person": f"{fit.mode.name} {wanted.charged_type} {person_id}" if by_rule else None,
        "turn_project": f"{fit.mode.name} {wanted.charged_type} {project_id}" if by_rule else None,
    }
    if not step.add_new(store.proposals, [row]):
        again = store.by_key(step, person_id, wanted.key)
        if again is not None:
            return _again(step, again, wanted)
        raise Refused(
            f"{fit.mode.title} was granted to you or to {wanted.project} before",
            hint="it is given once per person and project: "
            + _another(fits(step, replace(wanted, mode=None), modes)),
        )
    if by_rule:
        _grant(step, row, project_id, ("by rule", f"{fit.mode.title}: within its limits"), fit.mode)
    return one(step, actor, str(row["id"]))


def _another(found: Sequence[Fit]) -> str:
    """The way out for whoever had what a rule gives once."""
    for fit in found:
        if fit.fits and any(each.kind != RULE for each in fit.mode.step):
            return f"ask in {fit.mode.title} (mode {fit.mode.name}), which fits this ask too"
    return "no other mode fits this ask, so change it: more, fewer, shorter or longer"


def _again(step: Step, row: sa.Row[Any], wanted: Ask) -> ProposalView:
    """The ask that has this key already, if the same was asked."""
    found = _whole(step, [row])[0]
    for name in _ASKED:
        before, now = str(getattr(found, name)), str(getattr(wanted, name))
        if before != now:
            raise Conflict(
                f"{found.id} was sent with this key, and its {name} is {before!r}, not {now!r}",
                hint="send another ask with a key of its own",
            )
    return found


def fits(step: Step, wanted: Ask, modes: Sequence[Mode]) -> tuple[Fit, ...]:
    """Every mode's answer to an ask that is not sent, those that fit first; or of its mode alone.
    NotFound when no site lends its type, InvalidInput for a mode that there is not."""
    return _fits(modes, wanted, _node(step, wanted.charged_type), step.now_s)


def _fits(modes: Sequence[Mode], wanted: Ask, node: NodeShape, now_s: int) -> tuple[Fit, ...]:
    answers = Answers(
        wanted.kind,  # type: ignore[arg-type] # checked on the wire
        wanted.purpose,  # type: ignore[arg-type]
        wanted.amount_h,
        wanted.unit,
        wanted.months,
        node,
    )
    found = route(modes, answers, now_s)
    if wanted.mode is not None:
        found = tuple(fit for fit in found if fit.mode.name == wanted.mode)
        if not found:
            names = ", ".join(mode.name for mode in modes)
            raise InvalidInput(
                f"there is no mode {wanted.mode!r}", hint=f"modes are {names}", field="mode"
            )
    return found


def _fit(modes: Sequence[Mode], wanted: Ask, node: NodeShape, now_s: int) -> Fit:
    first = _fits(modes, wanted, node, now_s)[0]
    if not first.fits:
        none = "this does not fit" if wanted.mode is not None else "no mode fits; the nearest is"
        raise Refused(
            f"{none} {first.mode.name}: {first.objections[0].words}",
            hint=f"{first.mode.name} allows {first.objections[0].field}: "
            f"{first.objections[0].allowed}",
        )
    return first


def _node(step: Step, charged_type: str) -> NodeShape:
    """The shape of the nodes that have this type; NotFound when no site lends any."""
    shapes: set[NodeShape] = set()
    for place in sites.partition_states(step, step.now_s):
        if place.partition.charged_type == charged_type:
            shapes.add(place.partition.node)
    if not shapes:
        raise NotFound(
            f"no site has {charged_type!r}", hint="see `meyrin site list` for what there is"
        )
    return min(shapes, key=lambda shape: (shape.accelerators, shape.cores, shape.memory_mb))


def charged_s(step: Step, charged_type: str, amount_s: int, unit: Unit) -> int:
    """Seconds of `unit` as seconds of a type, exactly, by the nodes that have it."""
    return convert(amount_s, unit, Unit.ACCELERATOR, _node(step, charged_type))


def _amount_s(wanted: Ask, node: NodeShape) -> int:
    amount_s = convert(wanted.amount_h * HOUR_S, wanted.unit, Unit.ACCELERATOR, node)
    check_amount(amount_s)
    return amount_s


def _project(step: Step, actor: Actor, wanted: Ask) -> str:
    """The project of the ask: one that they lead, or a new one."""
    try:
        found = identity.project_by_name(step, actor, wanted.project)
    except NotFound:
        made = identity.new_project(step, wanted.project, wanted.title, lead=_person(actor))
        return made.id
    if not actor.leads(found.id):
        raise NotAllowed(
            f"only a lead of {wanted.project} asks for it",
            hint="ask its lead, or choose a new name",
        )
    return found.id


# --- deciding


def decide(
    step: Step,
    actor: Actor,
    proposal_id: str,
    *,
    grant: bool,
    reason: str,
    amount_s: int | None,
    modes: Sequence[Mode],
    reviewer: str = "",
) -> ProposalView:
    """Grant or refuse what waits, with a reason. For officers. The same decision again is fine.

    `reviewer` is whose signature the mode's gates need, where its file leaves that open: without
    one InvalidInput. Raises Refused when an older ask of a first-in mode waits with its clock
    running, Conflict when it was decided otherwise or its mode is gone, NotAllowed for one's own
    ask, InvalidInput for more than was asked.
    """
    check_reason(reason)
    row = _row(step, proposal_id)
    _decided_by(actor, row)
    if row.state != WAITING:
        if (row.state == GRANTED) == grant and row.state in (GRANTED, REFUSED):
            return one(step, actor, proposal_id)
        raise Conflict(f"{proposal_id} is {row.state} already", hint="ask anew for another answer")
    ranked = any(mode.name == row.mode and mode.order == "ranked" for mode in modes)
    older = None if ranked else store.ahead(step, row)
    if older is not None:
        raise Refused(
            f"{older.id} of {older.project} was first",
            hint=f"decide {older.id} first, or stop its clock with a reason",
        )
    if row.person_id == actor.person:
        raise NotAllowed(
            "nobody decides their own ask",
            hint="another officer decides it; where there is none, `meyrin project grant` gives"
            " hours with a reason",
        )
    if not grant:
        store.change_waiting(step, row.id, state=REFUSED, reason=reason, decided_by=actor.name,
                     reviewed_ms=step.now_ms, decided_ms=step.now_ms)  # fmt: skip
        store.begin_again(step, row.id)
        return one(step, actor, proposal_id)
    values = dict(row._mapping)  # noqa: SLF001 - the row as a mapping is its public face
    if amount_s is not None:
        check_amount(amount_s)
        if amount_s > row.amount_s:
            raise InvalidInput(
                f"{amount_s // HOUR_S:,} h is more than the {row.amount_s // HOUR_S:,} h asked for",
                hint="grant at most what was asked",
                field="amount_s",
            )
        values["amount_s"] = amount_s
    project = identity.project_named(step, row.project)
    mode = granting.mode_of(modes, row.mode)
    _grant(step, values, project.id, (actor.name, reason), mode, reviewer)
    return one(step, actor, proposal_id)


def _grant(
    step: Step,
    row: dict[str, Any],
    project_id: str,
    said: tuple[str, str],
    mode: Mode,
    reviewer: str = "",
) -> None:
    """Award what was asked, as its mode says; `said` is who decided and why."""
    who, reason = said
    made = granting.grant(
        step,
        mode,
        (project_id, row["project"]),
        row["charged_type"],
        row["amount_s"],
        months=row["months"],
        kind=row["kind"],
        reason=f"{row['mode']} {row['id']}: {reason}"[:200],
        reviewer=reviewer,
    )
    store.change_waiting(
        step,
        row["id"],
        state=GRANTED,
        reason=reason,
        decided_by=who,
        amount_s=row["amount_s"],
        allocation_id=made.id,
        reviewed_ms=step.now_ms,
        decided_ms=step.now_ms,
        provisioned_ms=step.now_ms,  # the hub admits jobs against it from now on
    )
    store.begin_again(step, row["id"])


def withdraw(step: Step, actor: Actor, proposal_id: str) -> ProposalView:
    """Take one's own ask back while it waits. Again is fine."""
    found = one(step, actor, proposal_id)
    if _row(step, proposal_id).person_id != actor.person:
        raise NotAllowed(
            "only whoever asked takes an ask back", hint="an officer refuses it, with a reason"
        )
    if found.state == WITHDRAWN:
        return found
    if not store.change_waiting(step, proposal_id, state=WITHDRAWN, decided_ms=step.now_ms):
        raise Conflict(f"{proposal_id} is {found.state} already", hint="it can't be taken back")
    return one(step, actor, proposal_id)


def stop_clock(step: Step, actor: Actor, proposal_id: str, reason: str) -> ProposalView:
    """The applicant has to do something first: until then nothing is promised."""
    check_reason(reason)
    row = _row(step, proposal_id)
    _decided_by(actor, row)
    _still_waits(row)
    if row.due_s is not None:
        stop = {"proposal_id": row.id, "start_ms": step.now_ms, "end_ms": None, "reason": reason}
        step.add(store.clock_stops, [stop])
        store.change_waiting(step, row.id, due_s=None)
    return one(step, actor, proposal_id)


def start_clock(step: Step, actor: Actor, proposal_id: str, modes: Sequence[Mode]) -> ProposalView:
    """Go on; the promise moves as the mode's clock says."""
    row = _row(step, proposal_id)
    _decided_by(actor, row)
    _still_waits(row)
    if row.due_s is None:
        store.begin_again(step, row.id)
        mode = granting.mode_of(modes, row.mode)
        stops = _stops(step, [row.id])[row.id]
        promise = clock.due(mode.clock, row.submit_ms // 1000, stops)
        store.change_waiting(step, row.id, due_s=promise.due_s if promise else row.from_s)
    return one(step, actor, proposal_id)


# --- looking


def one(step: Step, actor: Actor, proposal_id: str) -> ProposalView:
    """NotFound also when it is somebody else's: the two can't be told apart."""
    row = store.one(step, proposal_id)
    if row is None or not _sees(actor, row):
        raise _nothing(proposal_id)
    return _whole(step, [row])[0]


def by_key(step: Step, actor: Actor, key: str) -> str | None:
    """The id of one's own ask by that key, once it was sent."""
    row = store.by_key(step, _person(actor), key)
    return None if row is None else str(row.id)


def listed(
    step: Step, actor: Actor, state: str, after: str, limit: int, *, everybody: bool
) -> tuple[list[ProposalView], str]:
    """One page: one's own, newest first, or everybody's of the calls whose officer or reviewer one
    is, by id. Three queries."""
    if state and state not in STATES:
        raise InvalidInput(f"{state!r} is no state", hint=", ".join(STATES), field="state")
    if everybody:
        found = store.everybodys(step, state, after, limit, actor.calls_read)
    else:
        found = store.own(step, _person(actor), state, after, limit)
    rows, following = cut(found, limit, "place")
    return _whole(step, rows), following


def waiting(step: Step, actor: Actor, after: str, limit: int) -> tuple[list[ProposalView], str]:
    """One page of what waits in the calls whose officer or reviewer one is, the most urgent
    first. Three queries."""
    rows, following = cut(store.waiting(step, after, limit, actor.calls_read), limit, "place")
    return _whole(step, rows), following


def note_first_jobs(step: Step, first: dict[str, int]) -> None:
    """When the first job of each allocation began. A periodic step."""
    store.note_first_jobs(step, first)


def without_first_job(step: Step) -> list[str]:
    """Allocations of granted asks of which no job has begun yet."""
    return store.without_first_job(step, 500)


# --- inside


def _whole(step: Step, rows: Sequence[sa.Row[Any]]) -> list[ProposalView]:
    names = identity.people_names(step, {row.person_id for row in rows})
    stops = _stops(step, [row.id for row in rows])
    told = set(ProposalView.model_fields) - {"person", "stops"}
    return [
        ProposalView(
            person=names.get(row.person_id, ""),
            stops=stops[row.id],
            **{name: getattr(row, name) for name in told},
        )
        for row in rows
    ]


def _stops(step: Step, proposal_ids: Collection[str]) -> defaultdict[str, list[StopView]]:
    found: defaultdict[str, list[StopView]] = defaultdict(list)
    for row in store.stops_of(step, proposal_ids) if proposal_ids else ():
        end_s = None if row.end_ms is None else row.end_ms // 1000
        stop = StopView(start_s=row.start_ms // 1000, end_s=end_s, reason=row.reason)
        found[row.proposal_id].append(stop)
    return found


def _row(step: Step, proposal_id: str) -> sa.Row[Any]:
    row = store.one(step, proposal_id)
    if row is None:
        raise _nothing(proposal_id)
    return row


def _still_waits(row: sa.Row[Any]) -> None:
    if row.state != WAITING:
        raise Conflict(f"{row.id} is {row.state} already", hint="its clock has stopped for good")


def _decided_by(actor: Actor, row: sa.Row[Any]) -> None:
    """Whoever may not even see an ask is told that there is none."""
    if not _sees(actor, row):
        raise _nothing(row.id)
    if not actor.decides(row.mode):
        raise NotAllowed(
            f"this needs an officer of {row.mode}", hint="`meyrin role list` shows your roles"
        )


def _sees(actor: Actor, row: sa.Row[Any]) -> bool:
    return bool(actor.reads_asks(row.mode) or row.person_id == actor.person)


def _nothing(proposal_id: str) -> NotFound:
    return NotFound(f"there is no proposal {proposal_id!r} that you may see")


def _person(actor: Actor) -> str:
    assert actor.person is not None, "the route asked for a person"
    return actor.person
