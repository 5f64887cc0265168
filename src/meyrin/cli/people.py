"""`meyrin person` and `meyrin token`: who may log in, and programs' tokens."""

from __future__ import annotations

import click

from meyrin.cli.lazy import Entry, LazyGroup
from meyrin.cli.listing import show_list, show_one, show_secret
from meyrin.cli.session import Session, asks_hub, lists
from meyrin.cli.terminal import moment

HERE = "meyrin.cli.people"
PERSON = {
    "list": Entry(f"{HERE}:list_people", "Everybody, by name."),
    "show": Entry("meyrin.cli.roles:show_person", "A person and their roles."),
    "new": Entry(f"{HERE}:new_person", "Add a person."),
    "guests": Entry(f"{HERE}:guests", "Who waits to be let in."),
    "approve": Entry(f"{HERE}:approve", "Let a guest in."),
    "disable": Entry(f"{HERE}:disable", "Shut a person out at once."),
}
ORGANISATION = {
    "list": Entry(f"{HERE}:list_organisations", "Whose people come in at once."),
    "add": Entry(f"{HERE}:add_organisation", "Let the people of a domain in."),
    "remove": Entry(f"{HERE}:remove_organisation", "Make its later people guests."),
}
TOKEN = {
    "list": Entry(f"{HERE}:list_tokens", "Your tokens and browser sessions."),
    "new": Entry(f"{HERE}:new_token", "Make a token for a program."),
    "revoke": Entry(f"{HERE}:revoke", "Refuse a token from now on."),
}


@click.group("person", cls=LazyGroup, entries=PERSON)
def person() -> None:
    """People of this hub. For administrators, but for `show`, which shows yourself."""


@click.group("organisation", cls=LazyGroup, entries=ORGANISATION)
def organisation() -> None:
    """Organisations whose people are let in when they first log in. For administrators."""


@click.group("token", cls=LazyGroup, entries=TOKEN)
def token() -> None:
    """Your tokens for programs and for this command line on other machines."""


@click.command("list", epilog="Example: meyrin person list --json")
@lists
def list_people(session: Session, limit: int, after: str) -> None:
    """Everybody, by name."""
    with session.client() as hub:
        page = hub.people.list(after=after, limit=limit)
    rows = [
        (
            one.name,
            one.display_name,
            "administrator" if one.admin else "-",
            moment(one.created_ms),
            moment(one.disabled_ms),
        )
        for one in page.people
    ]
    empty = "Nobody yet. Add somebody: `meyrin person new NAME`."
    show_list(session, page, "NAME CALLED~ RIGHTS SINCE DISABLED", rows, empty)


@click.command(
    "new",
    epilog="""\b
Example:
  meyrin person new ada --called 'Ada Lovelace'
Next: `meyrin project member add PROJECT ada`, `meyrin login --person ada`.
""",
)
@click.argument("name")
@click.option("--called", default="", metavar="TEXT", help="The name for people, any alphabet.")
@click.option("--admin", is_flag=True, help="An administrator of this hub.")
@asks_hub
def new_person(session: Session, name: str, called: str, admin: bool) -> None:
    """Add a person."""
    with session.client() as hub:
        made = hub.people.create(name, called, admin=admin)
    words = f"{made.name} is here; `meyrin login --person {made.name}` makes their first link"
    show_one(session, made, words)


@click.command("guests", epilog="Example: meyrin person guests. Next: meyrin person approve NAME")
@lists
def guests(session: Session, limit: int, after: str) -> None:
    """Who logged in by the OpenID provider and waits to be let in, by name."""
    with session.client() as hub:
        page = hub.people.guests(after=after, limit=limit)
    rows = [(one.name, one.display_name, one.domain, moment(one.waits_ms)) for one in page.guests]
    show_list(session, page, "NAME CALLED~ DOMAIN SINCE", rows, "Nobody waits.")


@click.command("approve", epilog="Example: meyrin person approve ada")
@click.argument("name")
@asks_hub
def approve(session: Session, name: str) -> None:
    """Let a guest in: they log in again, and are here."""
    with session.client() as hub:
        found = hub.people.approve(name)
    show_one(session, found, f"{found.name} is let in")


@click.command("list", epilog="Example: meyrin organisation list --json")
@lists
def list_organisations(session: Session, limit: int, after: str) -> None:
    """Whose people come in at once, by name."""
    with session.client() as hub:
        page = hub.people.organisations(after=after, limit=limit)
    rows = [(one.name, one.title, one.domain, moment(one.created_ms)) for one in page.organisations]
    empty = "None yet, so everybody new is a guest. Add one: `meyrin organisation add`."
    show_list(session, page, "NAME CALLED~ DOMAIN SINCE", rows, empty)


@click.command("add", epilog="Example: meyrin organisation add uni-a --domain uni-a.example")
@click.argument("name")
@click.option("--domain", required=True, metavar="DOMAIN", help="What stands behind the @.")
@click.option("--called", default="", metavar="TEXT", help="The name for people, any alphabet.")
@asks_hub
def add_organisation(session: Session, name: str, domain: str, called: str) -> None:
    """Let the people of a domain in: those who wait, and those who come."""
    with session.client() as hub:
        made = hub.people.add_organisation(name, domain, called)
    show_one(session, made, f"people of {made.domain} come in at once")


@click.command("remove", epilog="Example: meyrin organisation remove uni-a")
@click.argument("name")
@asks_hub
def remove_organisation(session: Session, name: str) -> None:
    """Later people of it are guests; those who are in stay in."""
    with session.client() as hub:
        hub.people.remove_organisation(name)
    show_one(session, None, f"{name} is removed; its later people are guests")


@click.command("disable", epilog="Example: meyrin person disable ada")
@click.argument("name")
@asks_hub
def disable(session: Session, name: str) -> None:
    """Shut a person out at once, with all their tokens and sessions. Their jobs end as those of
    somebody who leaves a project."""
    with session.client() as hub:
        shut = hub.people.disable(name)
    show_one(session, shut, f"{shut.name} is disabled")


@click.command("list", epilog="Example: meyrin token list")
@lists
def list_tokens(session: Session, limit: int, after: str) -> None:
    """Your tokens and browser sessions, newest first."""
    with session.client() as hub:
        page = hub.people.tokens(after=after, limit=limit)
    rows = [
        (one.id, one.kind, one.name, moment(one.created_ms), moment(one.expires_ms))
        for one in page.tokens
    ]
    empty = "No tokens. Make one: `meyrin token new NAME`."
    show_list(session, page, "ID KIND NAME~ MADE EXPIRES", rows, empty)


@click.command(
    "new",
    epilog="""\b
Example:
  meyrin token new laptop --days 30 > token.txt
  meyrin token new first --person ada > ada.txt     (administrators)
Next, there: `meyrin login --save --hub URL < token.txt`, or MEYRIN_TOKEN_FILE.
""",
)
@click.argument("name")
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True)
@click.option("--forever", is_flag=True, help="Until it is revoked.")
@click.option("--person", metavar="NAME", help="Whose it is, for administrators.  [default: you]")
@asks_hub
def new_token(session: Session, name: str, days: int, forever: bool, person: str | None) -> None:
    """Make a token for a program or a person; it is shown this once."""
    with session.client() as hub:
        made = hub.people.new_token(name, None if forever else days, person)
    show_secret(session, made, made.secret, "Keep it safe; it is shown this once:")


@click.command("revoke", epilog="Example: meyrin token revoke tok_4k2m0000000000ab")
@click.argument("token", metavar="ID")
@asks_hub
def revoke(session: Session, token: str) -> None:
    """Refuse a token from now on. Its name does too, where no other of yours has it."""
    with session.client() as hub:
        hub.people.revoke_token(token)
    show_one(session, None, f"{token} is refused from now on")
