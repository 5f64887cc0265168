"""`meyrin role`: who may do what, for one project, call or site, or for the facility."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from meyrin.cli.lazy import Entry, LazyGroup
from meyrin.cli.listing import show_list, show_one
from meyrin.cli.session import Session, asks_hub, lists
from meyrin.cli.table import columns, table
from meyrin.cli.terminal import clean, data, data_json, moment
from meyrin.domain.errors import InvalidInput

if TYPE_CHECKING:
    from meyrin.wire.roles import RoleName, RoleView

F = TypeVar("F", bound=Callable[..., Any])
HERE = "meyrin.cli.roles"
ENTRIES = {
    "list": Entry(f"{HERE}:list_roles", "Your roles, or everybody's."),
    "give": Entry(f"{HERE}:give", "Give a role."),
    "revoke": Entry(f"{HERE}:revoke", "Take a role away."),
}
# role: (what --option names its thing; none for the facility)
ROLES = {
    "member": "project",
    "lead": "project",
    "operator": "site",
    "reviewer": "call",
    "officer": "call",
    "programme-officer": "",
    "auditor": "",
    "administrator": "",
}
TITLES = "WHO ROLE FOR GIVEN BY"


@click.group("role", cls=LazyGroup, entries=ENTRIES)
def group() -> None:
    """Who may do what.

    \b
    role               for          is given by
    member, lead       a project    its leads
    operator           a site       its operators
    reviewer           a call       its officers, programme officers
    officer            a call       programme officers
    programme-officer  all calls    administrators
    auditor            the facility administrators
    administrator      the facility administrators

    Administrators give any role; no role comes with another. It counts, and ends, with the
    holder's next request.
    """


def rows_of(roles: list[RoleView]) -> list[tuple[str, str, str, str, str]]:
    return [
        (
            one.person or f"({one.organisation})",
            one.role,
            one.thing or "the facility",
            moment(one.given_ms),
            one.given_by or "-",
        )
        for one in roles
    ]


@click.command("list", epilog="Examples: meyrin role list; meyrin role list --of ada --json")
@click.option("--of", "person", default="", metavar="NAME", help="Of one person.")
@lists
def list_roles(session: Session, person: str, limit: int, after: str) -> None:
    """Your roles; everybody's, by name, for auditors and administrators.

    An organisation stands in brackets: everybody of it holds the role.
    """
    with session.client() as hub:
        page = hub.people.roles_of(person, after=after, limit=limit)
    empty = "No role yet. `meyrin call ask` makes you the lead of a project of your own."
    show_list(session, page, TITLES, rows_of(page.roles), empty)


def _about(role: str, project: str, call: str, site: str) -> str:
    """The thing that the role is for; InvalidInput when another kind was named."""
    named = {"project": project, "call": call, "site": site}
    wanted = ROLES[role]
    for kind, name in named.items():
        if bool(name) != (kind == wanted):
            way = f"add --{kind} NAME" if kind == wanted else f"leave out --{kind}"
            about = f"a {wanted}" if wanted else "the whole facility"
            raise InvalidInput(f"{role} is a role for {about}", hint=way, field=f"--{kind}")
    return named.get(wanted, "")


def _what_it_is_for(command: F) -> F:
    """The options by which `give` and `revoke` name a role's holder and thing."""
    for option in (
        click.option("--site", default="", metavar="NAME", help="For operator."),
        click.option(
            "--call", default="", metavar="NAME", help="For reviewer and officer: a mode."
        ),
        click.option("--project", default="", metavar="NAME", help="For member and lead."),
        click.option("--organisation", default="", metavar="NAME", help="Or everybody of it."),
    ):
        command = option(command)
    return command


@click.command(
    "give",
    epilog="""\b
Examples:
  meyrin role give officer --call starter --to ada
  meyrin role give operator --site alps --organisation uni-a
  meyrin role give auditor --to bob
Next: `meyrin role list --of ada`; `meyrin audit list` keeps who gave it.
""",
)
@click.argument("role", type=click.Choice(list(ROLES)))
@click.option("--to", "person", default="", metavar="PERSON", help="Who gets it.")
@_what_it_is_for
@asks_hub
def give(
    session: Session, role: str, person: str, organisation: str, project: str, call: str, site: str
) -> None:
    """Give a role to a person or an organisation.

    Organisations may be operator, reviewer or auditor: who decides or pays is named.
    """
    thing = _about(role, project, call, site)
    with session.client() as hub:
        made = hub.people.give_role(cast("RoleName", role), thing, person, organisation)
    who = person or f"everybody of {organisation}"
    show_one(session, made, f"{who} is {role} of {thing or 'the facility'}")


@click.command(
    "revoke",
    epilog="""\b
Examples:
  meyrin role revoke officer --call starter --from ada
  meyrin role revoke member --project climate --from bob      (bob leaves the project)
""",
)
@click.argument("role", type=click.Choice(list(ROLES)))
@click.option("--from", "person", default="", metavar="PERSON", help="Who loses it.")
@_what_it_is_for
@asks_hub
def revoke(
    session: Session, role: str, person: str, organisation: str, project: str, call: str, site: str
) -> None:
    """Take a role away; it ends with the holder's next request.

    A lead stays a member. The last administrator and a project's last lead keep theirs.
    """
    thing = _about(role, project, call, site)
    with session.client() as hub:
        hub.people.revoke_role(cast("RoleName", role), thing, person, organisation)
    who = person or f"everybody of {organisation}"
    show_one(session, None, f"{who} is no longer {role} of {thing or 'the facility'}")


@click.command("show", epilog="Examples: meyrin person show; meyrin person show ada --json")
@click.argument("name", required=False)
@asks_hub
def show_person(session: Session, name: str | None) -> None:
    """You and your roles; or somebody, for auditors and administrators."""
    with session.client() as hub:
        found = hub.people.show(name or hub.people.me().person.name)
    if session.json:
        data_json(found.model_dump(mode="json"))
        return
    who = found.person
    lines = [clean(f"{who.name}: {who.display_name}"), f"here since {moment(who.created_ms)}"]
    if who.organisation:
        lines.append(f"of {who.organisation}")
    if who.disabled_ms is not None:
        lines.append(f"disabled since {moment(who.disabled_ms)}")
    lines += ["", table(columns(TITLES), rows_of(found.roles)) if found.roles else "no role"]
    if found.more:
        lines.append(f"more: meyrin role list --of {who.name}")
    data("\n".join(lines))
