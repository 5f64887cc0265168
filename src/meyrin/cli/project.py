"""`meyrin project`: projects, who is in them, and what they were granted."""

from __future__ import annotations

import uuid

import click

from meyrin.cli.bodies import read_body, typed_s
from meyrin.cli.lazy import Entry, LazyGroup
from meyrin.cli.listing import show_list, show_one
from meyrin.cli.moments import parse_day
from meyrin.cli.pace import pace_words
from meyrin.cli.session import Session, asks_hub, lists
from meyrin.cli.table import columns, table
from meyrin.cli.terminal import clean, data, data_json, moment, say
from meyrin.cli.tranches import next_words, parse_tranche, pause_words, tranche_table
from meyrin.domain.units import show_hours

HERE = "meyrin.cli.project"
ALLOCATIONS = "meyrin.cli.allocations"
PACE = "meyrin.cli.pace"
IDLE = "meyrin.cli.idle"
ENTRIES = {
    "list": Entry(f"{HERE}:list_projects", "The projects that you may see."),
    "create": Entry(f"{HERE}:create", "A new project."),
    "show": Entry(f"{HERE}:show", "One project: members, allocations."),
    "grant": Entry(f"{HERE}:grant", "Award hours to a project."),
    "extend": Entry(f"{ALLOCATIONS}:extend", "More time or hours for an allocation."),
    "transfer": Entry(f"{ALLOCATIONS}:transfer", "Move hours to another allocation."),
    "pause": Entry(f"{ALLOCATIONS}:pause", "Let no new job take from an allocation."),
    "resume": Entry(f"{ALLOCATIONS}:resume", "End a pause."),
    "changes": Entry(f"{ALLOCATIONS}:changes", "What was asked for and done, and why."),
    "pace": Entry(f"{PACE}:pace", "Whether too little or too much is used."),
    "notices": Entry(f"{PACE}:notices", "What to know about your hours."),
    "reclaim": Entry(f"{IDLE}:reclaim", "Idle hours that go back by rule."),
    "answer": Entry(f"{IDLE}:answer", "Say why idle hours shall stay."),
    "decide": Entry(f"{ALLOCATIONS}:decide", "Answer what a lead asked for."),
    "member": Entry(f"{HERE}:member", "Add or remove members."),
    "leave": Entry(f"{HERE}:leave", "Leave a project."),
    "departures": Entry(f"{HERE}:departures", "Who left, and how far the sites are."),
}
MEMBER = {
    "add": Entry(f"{HERE}:add_member", "Put a person into a project, or change their role."),
    "remove": Entry(f"{HERE}:remove_member", "Take a person out of a project."),
}
PAGE = 500


@click.group("project", cls=LazyGroup, entries=ENTRIES)
def group() -> None:
    """Projects, their members, and what they were granted."""


@click.command("list", epilog="Examples: meyrin project list; meyrin project list --json")
@lists
def list_projects(session: Session, limit: int, after: str) -> None:
    """The projects that you may see, by name."""
    with session.client() as hub:
        page = hub.projects.list(after=after, limit=limit)
    rows = [
        (one.name, one.title, one.role or "-", moment(one.created_ms), moment(one.closed_ms))
        for one in page.projects
    ]
    empty = "You are in no project. Ask a lead to add you, or an administrator to make one."
    show_list(session, page, "NAME TITLE~ ROLE SINCE CLOSED", rows, empty)


@click.command(
    "create",
    epilog="""\b
Example:
  meyrin project create climate --title 'Climate of the Alps' --lead ada
Next: `meyrin project grant climate --hours 1000 --type h100 --until 2027-01-01 --reason ...`
""",
)
@click.argument("name")
@click.option("--title", default="", metavar="TEXT", help="The name for people, any alphabet.")
@click.option("--lead", metavar="PERSON", help="Its first lead; you, if left out.")
@asks_hub
def create(session: Session, name: str, title: str, lead: str | None) -> None:
    """A new project. For administrators."""
    with session.client() as hub:
        made = hub.projects.create(name, title, lead)
    grant = f"meyrin project grant {made.name} --hours N --type TYPE --until DAY --reason WHY"
    show_one(session, made, f"project {made.name} is here; hours for it: `{grant}`")


@click.command("show", epilog="Example: meyrin project show climate")
@click.argument("name")
@asks_hub
def show(session: Session, name: str) -> None:
    """One project: its members, its allocations and what is left of them, tranche by tranche."""
    from meyrin.client.admin import every  # noqa: PLC0415 - not for --help

    with session.client() as hub:
        found = hub.projects.show(name)
        pages = every(hub.projects.members, name=name, limit=PAGE)
        members = [one for page in pages for one in page.members]
        paces = every(hub.allocations.pace, project=name, limit=PAGE)
        paced = [one for page in paces for one in page.paces]
    granted = [one.allocation for one in paced]
    if session.json:
        answer = {
            "project": found.model_dump(mode="json"),
            "members": [one.model_dump(mode="json") for one in members],
            "allocations": [one.model_dump(mode="json") for one in granted],
            "paces": {one.allocation.id: one.pace.model_dump(mode="json") for one in paced},
        }
        data_json(answer)
        return
    people = [(one.name, one.display_name, one.role) for one in members]
    rows = [
        (
            one.id,
            one.charged_type,
            show_hours(one.balance.granted_s),
            show_hours(one.balance.free_s),
            show_hours(one.balance.held_s),
            show_hours(one.balance.used_s),
            moment(one.end_s * 1000),
            one.rule,
            pace.verdict,
        )
        for one, pace in ((each.allocation, each.pace) for each in paced)
    ]
    titles = "ALLOCATION TYPE GRANTED_H> FREE_H> HELD_H> USED_H> UNTIL RULE~ PACE"
    empty = f"no allocation yet: `meyrin project grant {name}`"
    lines = [clean(f"{found.name}: {found.title}"), "", table(columns("NAME CALLED~ ROLE"), people)]
    lines += ["", table(columns(titles), rows) if rows else empty]
    parts = tranche_table(granted)
    data("\n".join([*lines, "", parts] if parts else lines))
    for words in [*next_words(granted), *pause_words(granted), *pace_words(paced)]:
        say(clean(words))


@click.command(
    "grant",
    epilog="""\b
Examples:
  meyrin project grant climate --hours 1000 --type h100 --until 2027-01-01 --reason 'call 2026-2'
  meyrin project grant climate --seconds 3600 --type core --until 2027-01-01 --reason test
  meyrin project grant climate --hours 100 --type h100 --until 2027-12-01 --reason staged \\
      --tranche hours=900,from=2027-03-01,gate=second,family=tiny,reviewer=PUBLIC-KEY
Hours are of one accelerator of that type, or of one core for the type `core`. With --tranche,
--hours is the first part, usable at once; each --tranche is a later one.
""",
)
@click.argument("project")
@click.option("--hours", type=click.IntRange(1), help="Accelerator-hours.")
@click.option("--seconds", type=click.IntRange(1), help="Accelerator-seconds instead.")
@click.option("--type", "charged_type", required=True, metavar="TYPE", help="h100, core, ...")
@click.option("--until", required=True, metavar="DAY", help="YYYY-MM-DD, UTC: the day it ends.")
@click.option("--from", "start", metavar="DAY", help="YYYY-MM-DD, UTC; now, if left out.")
@click.option("--reason", required=True, metavar="TEXT", help="Kept in the ledger.")
@click.option("--owner", default="facility", show_default=True, help="Out of whose share.")
@click.option("--offer", "offer_id", default="", metavar="ID", help="Out of which offer.")
@click.option(
    "--tranche", "later", multiple=True, metavar="KEY=VALUE,...", help="A later part; repeatable."
)
@click.option(
    "--door",
    type=click.Choice(["entitled", "paid"]),
    default="entitled",
    show_default=True,
    help="Whether its holder pays; paid jobs go behind entitled ones.",
)
@click.option("--key", metavar="TEXT", help="Names this award: sent twice, it is made once.")
@asks_hub
def grant(
    session: Session,
    /,
    key: str | None,
    hours: int | None,
    seconds: int | None,
    until: str,
    start: str | None,
    later: tuple[str, ...],
    **said: str,
) -> None:
    """Award hours to a project. For programme officers."""
    first_s = typed_s(hours, seconds, needed=True)
    from meyrin.wire.ledger import NewAward  # noqa: PLC0415

    parts = [parse_tranche(text) for text in later]
    award = read_body(
        NewAward,
        key=key or uuid.uuid4().hex,
        amount_s=first_s + sum(int(str(part["amount_s"])) for part in parts),
        tranches=[{"amount_s": first_s}, *parts] if parts else [],
        end_s=parse_day(until, "--until"),
        start_s=None if start is None else parse_day(start, "--from"),
        **said,
    )
    with session.client() as hub:
        made = hub.ledger.award(award)
    words = f"{show_hours(made.balance.granted_s)} {made.charged_type} hours: {made.id}"
    if made.promised_s:
        words += f"; {show_hours(made.promised_s)} more are promised in tranches"
    show_one(session, made, f"{said['project']} was granted {words}")


@click.group("member", cls=LazyGroup, entries=MEMBER)
def member() -> None:
    """Who is in a project. For its leads."""


@click.command("add", epilog="Example: meyrin project member add climate ada --role lead")
@click.argument("project")
@click.argument("person")
@click.option("--role", type=click.Choice(["member", "lead"]), default="member", show_default=True)
@asks_hub
def add_member(session: Session, project: str, person: str, role: str) -> None:
    """Put a person into a project, or change their role there."""
    with session.client() as hub:
        made = hub.projects.add_member(project, person, "lead" if role == "lead" else "member")
    show_one(session, made, f"{person} is a {made.role} of {project}")


@click.command("remove", epilog="Example: meyrin project member remove climate ada")
@click.argument("project")
@click.argument("person")
@asks_hub
def remove_member(session: Session, project: str, person: str) -> None:
    """Take a person out of a project.

    Their rights end now. What waits of theirs is cancelled, what runs is ended within minutes,
    and each site is told: `meyrin project departures PROJECT` shows what it confirmed.
    """
    with session.client() as hub:
        hub.projects.remove_member(project, person)
    show_one(session, None, f"{person} is no longer in {project}")


@click.command("leave", epilog="Example: meyrin project leave climate")
@click.argument("project")
@asks_hub
def leave(session: Session, project: str) -> None:
    """Leave a project: your jobs in it end, as for somebody who is removed."""
    with session.client() as hub:
        hub.projects.leave(project)
    show_one(session, None, f"you are no longer in {project}")


@click.command("departures", epilog="Example: meyrin project departures climate --json")
@click.argument("project")
@lists
def departures(session: Session, project: str, limit: int, after: str) -> None:
    """Who left a project, newest first, and for each site when that was confirmed. For leads.

    "not confirmed yet" is said of a site until its agent has answered and no job of theirs is
    left there.
    """
    with session.client() as hub:
        page = hub.projects.departures(project, after=after, limit=limit)
    rows = [
        (
            one.person,
            moment(one.at_ms),
            one.by,
            "came back" if one.returned_ms else str(one.jobs),
            each.site,
            _revoked(each.state, each.at_ms),
            each.words,
        )
        for one in page.departures
        for each in one.sites
    ]
    show_list(session, page, "WHO LEFT BY JOBS> SITE STATE WORDS~", rows, "Nobody left.")


def _revoked(state: str, at_ms: int | None) -> str:
    if state == "revoked":
        return f"revoked at {moment(at_ms)}"
    return "not kept by its agent" if state == "unkept" else "not confirmed yet"
