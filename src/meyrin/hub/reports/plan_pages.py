"""Pages of studies: the list, what a study brought, and its files.

The files are somebody's own, so a browser gets them in a sandbox: no script, no form, no origin,
nothing loaded from anywhere. Our own pages only name them and never show what is in them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from meyrin.hub.plans import service
from meyrin.hub.plumbing.authz import Access, Allow, Call
from meyrin.hub.plumbing.sending import file_response
from meyrin.hub.reports.pages import PageRoute, View, respond, with_query
from meyrin.wire.jobs import FileView

router = APIRouter(tags=["reports"], route_class=PageRoute)
Person = Annotated[Call, Depends(Allow(Access.PERSON))]
PAGE = 50
FORMS = ("csv", "png", "svg")  # of a figure: its numbers, and its picture twice
SANDBOX = {
    "Content-Security-Policy": "sandbox allow-downloads;"
    " default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}


@router.get("/plans", include_in_schema=False)
def plans(
    request: Request, call: Person, after: Annotated[str, Query(pattern="^[0-9]{0,17}$")] = ""
) -> Response:
    """Studies that one may read, newest first."""
    with call.read() as step:
        found, following = service.plans_page(step, call.actor, after, PAGE)
    values = {
        "plans": found,
        "after": after,
        "next": with_query("/plans", after=following) if following else "",
    }
    view = View("plans", "Studies", "plans", values)
    return respond(request, call.actor, step.now_ms, view)


@router.get("/plans/{plan}", include_in_schema=False)
def plan(request: Request, plan: str, call: Person) -> Response:
    """One study: its report, the numbers and pictures of its figures, its other files."""
    with call.read() as step:
        found, files = service.plan(step, call.actor, plan)
    figures, others = _sorted(files)
    values = {
        "plan": found,
        "page": service.PAGE,
        "figures": figures,
        "others": others,
    }
    view = View("plan", found.title, "plans", values)
    return respond(request, call.actor, step.now_ms, view)


def _sorted(files: Iterable[FileView]) -> tuple[dict[str, dict[str, FileView]], list[FileView]]:
    """The forms of each figure by its name, and the files that are of no figure."""
    known = {file.name: file for file in files if file.name != service.PAGE}
    figures: dict[str, dict[str, FileView]] = {}
    for name in known:
        path = PurePosixPath(name)
        if str(path.parent) == "figures" and path.suffix[1:] in FORMS:
            asked = {
                form: f"{'tables' if form == 'csv' else 'figures'}/{path.stem}.{form}"
                for form in FORMS
            }
            figures[path.stem] = {form: known[one] for form, one in asked.items() if one in known}
    used = {file.name for forms in figures.values() for file in forms.values()}
    return figures, [file for name, file in known.items() if name not in used]


@router.get("/plans/{plan}/files/{name:path}", include_in_schema=False)
def file(request: Request, plan: str, name: str, call: Person) -> Response:
    """A file of a study, as something foreign."""
    with call.read() as step:
        found = service.file(step, call.actor, plan, name)
    return file_response(request, found.sha256, found.size, SANDBOX, found.media_type)
