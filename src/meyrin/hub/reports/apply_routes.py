"""Pages of asking for hours: the form, one's asks, the officer's queue, and the public clocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from meyrin.domain.errors import Conflict, InvalidInput, MeyrinError, NotFound, Refused
from meyrin.domain.units import HOUR_S
from meyrin.hub.calls import granting, proposals, public_clocks, unsent
from meyrin.hub.calls.modes.file import KINDS, PURPOSES
from meyrin.hub.plumbing import audit
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.http import STATUS
from meyrin.hub.reports import apply_form, leading, show
from meyrin.hub.reports.pages import SAFETY, PageRoute, Tried, View, part, respond, with_query
from meyrin.hub.sites import service as sites
from meyrin.hub.sites import terms as site_terms
from meyrin.hub.sites.terms_routes import accepted

router = APIRouter(tags=["reports"], route_class=PageRoute)
Anyone = Annotated[Call, Depends(Allow(Access.ANYONE))]
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
Officer = Annotated[Call, Depends(Allow(Access.OFFICER))]
Typed = Annotated[str, Form()]
After = Annotated[str, Query(max_length=64)]
Mark = Annotated[str, Form(max_length=64)]
BeganFrom = Annotated[str, Form(alias="from", max_length=64)]
PAGE = 50
_KEY = re.compile("[0-9a-f]{64}")


async def _said(request: Request) -> dict[str, str]:
    """The fields of the form as they were typed or chosen, from the body or the address."""
    return apply_form.said(
        await request.form() if request.method == "POST" else request.query_params
    )


Said = Annotated[dict[str, str], Depends(_said)]


@dataclass(frozen=True, slots=True)
class Writing:
    """Which ask a form writes: its key, this window's mark, and the mark it began from."""

    key: str
    mark: str
    began_from: str = ""


@router.get("/apply", include_in_schema=False)
def form(
    request: Request,
    call: Person,
    unsent_key: Annotated[str, Query(alias="unsent", max_length=200)] = "",
    mode: Annotated[str, Query(max_length=63)] = "",
    saved: bool = False,
    after: After = "",
) -> Response:
    """The form: three fields to type, the rest to choose. With `unsent`, as far as it was
    written."""
    with call.read() as step:
        sent = proposals.by_key(step, call.actor, unsent_key) if unsent_key else None
        if sent is not None:
            return RedirectResponse(f"/proposals/{sent}", 303, SAFETY)
        mark = step.entropy().hex()
        if not unsent_key:
            said = apply_form.DEFAULTS | {"mode": mode}
            fresh = Writing(step.entropy().hex(), mark)
            return _form(request, call, step, said, fresh, after=after)
        try:
            kept = unsent.one(step, call.actor, unsent_key)
        except NotFound as error:
            fresh = Writing(step.entropy().hex(), mark)
            return _form(request, call, step, dict(apply_form.DEFAULTS), fresh, error=error)
        writing = Writing(kept.key, mark, kept.mark)
        return _form(request, call, step, dict(kept.said), writing, kept=kept, saved=saved)


@router.post("/apply", include_in_schema=False)
def ask(
    request: Request,
    call: Person,
    said: Said,
    key: Annotated[str, Form(min_length=1, max_length=200)],
    mark: Mark = "",
    began_from: BeganFrom = "",
    terms: Annotated[list[str], Form(max_length=100)] = [],  # noqa: B006 - read only
) -> Response:
    """Send it: granted at once, kept for an officer, or the form again with what is wrong."""
    try:
        wanted = apply_form.wanted(key, said)
        with call.write() as step:
            made = proposals.ask(step, call.actor, wanted, request.app.state.modes)
            if made.submit_ms == step.now_ms:
                audit.note(step, call.actor.name, "proposal.ask", made.id, mode=made.mode,
                           state=made.state)  # fmt: skip
            unsent.discard(step, call.actor, key)
            for each in terms:
                site, _, version = each.partition(" ")
                accepted(step, call, site, version)
    except MeyrinError as error:
        with call.read() as step:
            writing = Writing(key, mark or step.entropy().hex(), began_from)
            return _form(request, call, step, said, writing, error=error)
    return RedirectResponse(f"/proposals/{made.id}", 303, SAFETY)


@router.post("/apply/keep", include_in_schema=False)
def keep(
    request: Request,
    call: Person,
    said: Said,
    key: Annotated[str, Form(min_length=1, max_length=200)],
    mark: Annotated[str, Form(min_length=1, max_length=64)],
    began_from: BeganFrom = "",
) -> Response:
    """Keep what was written so far. To htmx: one line that says so, or why not."""
    by_itself = "hx-request" in request.headers
    try:
        with call.write() as step:
            kept = unsent.keep(step, call.actor, key, said, mark, began_from)
    except MeyrinError as error:
        if by_itself:
            return part("saved", {"kept": None, "error": error}, STATUS[type(error)])
        with call.read() as step:
            writing = Writing(key, mark, began_from)
            return _form(request, call, step, said, writing, error=error)
    if by_itself:
        return part("saved", {"kept": kept, "error": None})
    return RedirectResponse(with_query("/apply", unsent=kept.key, saved="true"), 303, SAFETY)


@router.get("/apply/route", include_in_schema=False)
def leads_to(request: Request, call: Person, said: Said) -> Response:
    """One block: where what is written so far would lead."""
    with call.read() as step:
        return part("leading", _leading(request, call, step, said))


def _leading(request: Request, call: Call, step: Step, said: dict[str, str]) -> dict[str, Any]:
    """Where this would lead; or what is wrong, once there is a number of hours to judge."""
    if not said["amount_h"]:
        return {"leading": None, "wrong": None}
    try:
        wanted = apply_form.wanted("", said, titled=False)
        found = leading.lead(step, call.actor, wanted, request.app.state.modes)
    except MeyrinError as error:
        return {"leading": None, "wrong": error}
    return {"leading": found, "wrong": None}


@router.post("/apply/discard", include_in_schema=False)
def discard(call: Person, key: Annotated[str, Form(min_length=1, max_length=200)]) -> Response:
    """Forget an ask that was not sent."""
    with call.write() as step:
        unsent.discard(step, call.actor, key)
    return RedirectResponse("/apply", 303, SAFETY)


def _types(step: Step) -> dict[str, bool]:
    """The types that sites lend, and whether a site takes jobs for them now; those first."""
    lent: dict[str, bool] = {}
    for place in sites.partition_states(step, step.now_s):
        if place.offered:
            takes = not place.drained and place.silent_since_s is None
            of_type = place.partition.charged_type
            lent[of_type] = lent.get(of_type, False) or takes
    return dict(sorted(lent.items(), key=lambda each: (not each[1], each[0])))


def _form(
    request: Request,
    call: Call,
    step: Step,
    said: dict[str, str],
    writing: Writing,
    *,
    error: MeyrinError | None = None,
    kept: unsent.Unsent | None = None,
    saved: bool = False,
    after: str = "",
) -> Response:
    types, modes = _types(step), request.app.state.modes
    own, more = proposals.listed(step, call.actor, "", after, PAGE, everybody=False)
    unfinished, _ = unsent.listed(step, call.actor, "", unsent.MOST)
    view = View(
        "apply",
        "Ask for hours",
        "apply",
        {
            "said": said,
            "error": error,
            "types": [
                (name, name if takes else f"{name} (no site takes jobs for it now)")
                for name, takes in types.items()
            ],
            "told": [name for name in unsent.FIELDS if name != "title"],
            **_leading(request, call, step, said),
            "kinds": KINDS,
            "purposes": PURPOSES,
            "writing": writing,
            "kept": kept,
            "saved": saved,
            "unsent": [one for one in unfinished if one.key != writing.key],
            "modes": modes,
            "ways": [("", "the first that fits"), *((m.name, m.title) for m in modes)],
            "own": own,
            "more": more,
            "open_terms": [
                one
                for one in site_terms.listed(step, call.actor, "", PAGE)[0]
                if one.accepted_ms is None
            ],
        },
    )
    status = 200 if error is None else STATUS[type(error)]
    return respond(request, call.actor, step.now_ms, view, status)


@router.get("/proposals/{proposal}", include_in_schema=False)
def one(request: Request, proposal: str, call: Person) -> Response:
    """One ask: where it stands, by when, and what to do next."""
    with call.read() as step:
        found = proposals.one(step, call.actor, proposal)
    view = View(
        "proposal",
        found.title or found.project,
        "apply",
        {"ask": found, "hour_s": HOUR_S},
        blocks=("proposal",),
        say=f"{found.project}: {found.state}",
        live=found.state in (proposals.WAITING, proposals.GRANTED),
    )
    return respond(request, call.actor, step.now_ms, view)


@router.post("/proposals/{proposal}/withdraw", include_in_schema=False)
def withdraw(proposal: str, call: Person) -> Response:
    """Take one's own ask back while it waits. Again is fine."""
    with call.write() as step:
        made = proposals.withdraw(step, call.actor, proposal)
        audit.note_change(step, call.actor.name, "proposal.withdraw", made.id)
    return RedirectResponse(f"/proposals/{made.id}", 303, SAFETY)


@router.get("/officer", include_in_schema=False)
def officer(request: Request, call: Officer, after: After = "") -> Response:
    """What waits for an officer, with its clocks; the most urgent first."""
    return _queue(request, call, after)


def _queue(request: Request, call: Call, after: str, tried: Tried | None = None) -> Response:
    with call.read() as step:
        found, following = proposals.waiting(step, call.actor, after, PAGE)
    unsigned = granting.unsigned(request.app.state.modes)
    view = View(
        "officer", "Officer's queue", "apply",
        {"asks": found, "following": following, "unsigned": unsigned, "tried": tried},
        blocks=("officer",), say=f"{show.of_page(len(found), 'ask', after, following)} waiting",
        live=tried is None,
    )  # fmt: skip
    return respond(request, call.actor, step.now_ms, view, tried.status if tried else 200)


@router.post("/officer/{proposal}", include_in_schema=False)
def decide(
    request: Request,
    proposal: str,
    call: Officer,
    act: Annotated[str, Form()],
    reason: Typed = "",
    reviewer: Typed = "",
) -> Response:
    """Grant or refuse, with a reason; or the queue again with what is wrong."""
    key = reviewer.strip().lower()
    try:
        if act not in {"grant", "refuse"}:
            raise InvalidInput(f"{act!r} is no decision", hint="grant or refuse", field="act")
        if key and not _KEY.fullmatch(key):
            raise InvalidInput(
                f"the public key of the gates' reviewer can't be {show.typed(reviewer)}",
                hint="64 of the digits 0 to 9 and a to f; `meyrin gate key` prints one",
                field="reviewer",
            )
        with call.write() as step:
            made = proposals.decide(
                step,
                call.actor,
                proposal,
                grant=act == "grant",
                reason=reason,
                amount_s=None,
                modes=request.app.state.modes,
                reviewer=key,
            )
            audit.note_change(
                step, call.actor.name, "proposal.decide", made.id, grant=act, reason=reason
            )
    except (InvalidInput, Refused, Conflict) as error:
        return _queue(request, call, "", Tried(proposal, reason, error, reviewer))
    return RedirectResponse("/officer", 303, SAFETY)


@router.get("/clocks", include_in_schema=False)
def clocks(request: Request, call: Anyone) -> Response:
    """How long asks really took, for everybody."""
    found = request.app.state.clocks.look()
    titles = {mode.name: mode.title for mode in request.app.state.modes}
    view = View(
        "clocks", "How long it takes", "apply",
        {"modes": found.modes, "at_ms": found.at_ms, "titles": titles,
         "fewest": public_clocks.FEWEST},
        blocks=("clocks",),
    )  # fmt: skip
    return respond(request, call.actor, call.database.clock_ms(), view)
