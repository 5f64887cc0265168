"""`meyrin site`: the sites of the facility and what they lend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from meyrin.cli.lazy import Entry, LazyGroup
from meyrin.cli.listing import show_list, show_one, show_secret
from meyrin.cli.moments import parse_day
from meyrin.cli.session import Session, asks_hub, lists
from meyrin.cli.table import columns, table
from meyrin.cli.terminal import clean, data, data_json, moment, say
from meyrin.client.place import is_here
from meyrin.domain.errors import InvalidInput
from meyrin.domain.site import OwnerShare
from meyrin.domain.units import show_count, show_duration

if TYPE_CHECKING:
    from meyrin.wire.sites import AgentRefused, OfferView, SiteDetail, SiteView

HERE = "meyrin.cli.site"
ENROLMENT = "MEYRIN_ENROLMENT"  # a variable, for nobody else sees it, as in a list of processes
ENTRIES = {
    "list": Entry(f"{HERE}:list_sites", "Every site, by name."),
    "show": Entry(f"{HERE}:show", "One site: partitions and offers."),
    "enrol": Entry(f"{HERE}:enrol", "Let a site join; prints the command for it."),
    "queue": Entry("meyrin.cli.site_own:queue", "What waits and runs there, of everybody."),
    "drift": Entry("meyrin.cli.site_own:drift", "What its accounts and limits lack."),
    "drain": Entry(f"{HERE}:drain", "Send nothing new there."),
    "resume": Entry(f"{HERE}:resume", "Send new jobs there again."),
    "allow": Entry(f"{HERE}:allow", "Say which projects may use it."),
    "offer": Entry(f"{HERE}:offer", "Lend a partition, for its owners."),
    "shares": Entry("meyrin.cli.site_shares:shares", "Whose an offer is, and from when on."),
    "end-offer": Entry(f"{HERE}:end_offer", "End an offer early."),
    "credentials": Entry(f"{HERE}:credentials", "What its agent logs in with, and when it did."),
    "revoke": Entry(f"{HERE}:revoke", "Refuse its agent from now on."),
    "token": Entry(f"{HERE}:token", "A token for an agent set up by hand."),
}


@click.group("site", cls=LazyGroup, entries=ENTRIES)
def group() -> None:
    """Sites and what they lend."""


@click.command(
    "list",
    epilog="Examples: meyrin site list; meyrin site list --json. Next: meyrin site show NAME",
)
@lists
def list_sites(session: Session, limit: int, after: str) -> None:
    """Every site, by name."""
    with session.client() as hub:
        page = hub.sites.list(after=after, limit=limit)
    rows = [
        (
            one.name,
            one.title,
            _condition(one),
            one.batch_kind or "-",
            sum(part.nodes for part in one.partitions),
            sum(part.nodes * part.accelerators_per_node for part in one.partitions),
            moment(one.last_heard_ms),
        )
        for one in page.sites
    ]
    empty = (
        "No site has joined. `meyrin up` brings one on this machine; "
        "`meyrin site enrol NAME` adds another."
    )
    titles = "NAME TITLE~ STATE~ BATCH_SYSTEM NODES> ACCELERATORS> LAST_HEARD"
    show_list(session, page, titles, rows, empty)


def _condition(site: SiteView) -> str:
    if site.closed_ms is not None:
        return "closed"
    if site.drained is not None:
        return f"drained: {site.drained}"
    if site.not_now is not None:
        return f"takes nothing new: {site.not_now}"
    return "open" if site.last_heard_ms is not None else "waits for its agent"


@click.command("show", epilog="Example: meyrin site show alps")
@click.argument("name")
@asks_hub
def show(session: Session, name: str) -> None:
    """One site: what it has and what it lends."""
    with session.client() as hub:
        found = hub.sites.show(name)
    if session.json:
        data_json(found.model_dump(mode="json"))
    else:
        data(_words(found))


def _words(found: SiteDetail) -> str:
    site = found.site
    lines = [
        clean(f"{site.name}: {site.title}"),
        clean(f"  {_condition(site)}, last heard {moment(site.last_heard_ms)}"),
        *(clean(f"  {line}") for line in _said(found)),
    ]
    if not site.open_to_all:
        lines.append("  open to some projects only")
    parts = [
        (
            part.name,
            part.nodes,
            part.cores_per_node,
            part.memory_mb_per_node,
            f"{part.accelerators_per_node} {part.accelerator_type}"
            if part.accelerator_type
            else "-",
            show_duration(part.max_walltime_s) if part.max_walltime_s else "-",
        )
        for part in site.partitions
    ]
    if parts:
        titles = "PARTITION NODES> CORES> MIB> ACCELERATORS LONGEST>"
        lines += ["", table(columns(titles), parts)]
    if found.offers:
        lines += ["", table(columns("OFFER PARTITION FROM UNTIL OWNERS~"), _offers(found.offers))]
        absent = {one.partition for one in found.offers} - {part.name for part in site.partitions}
        if absent and site.last_heard_ms is not None:
            lines.append(clean(f"not there, and so gets no jobs: {', '.join(sorted(absent))}"))
    else:
        lines += ["", f"lends nothing: `meyrin site offer {site.name} PARTITION --owner NAME`"]
    return "\n".join(lines)


def _said(found: SiteDetail) -> list[str]:
    """What the agent says of itself and its site's rules."""
    about = found.about
    lines = []
    if about.version:
        speaks = " by ".join(word for word in (about.scheduler, about.transport) if word)
        lines.append(f"agent {about.version}" + (f", speaks to {speaks}" if speaks else ""))
    if found.credential_ms is not None:
        lines.append(f"credential of {moment(found.credential_ms)}")
    if about.news:
        lines.append(about.news)
    for short in about.shortages:
        takes = "fewer" if short.usable_nodes else "no new"
        lines.append(f"{short.partition} takes {takes} jobs: {short.why}")
    if about.trouble:
        lines.append(f"to be mended there: {about.trouble}")
    return lines + [f"rule: {rule}" for rule in about.rules]


def _offers(offers: list[OfferView]) -> list[tuple[object, ...]]:
    return [
        (
            one.id,
            one.partition,
            moment(one.start_s * 1000),
            "-" if one.end_s is None else moment(one.end_s * 1000),
            ", ".join(f"{share.owner}={share.weight}" for share in one.owners),
        )
        for one in offers
    ]


@click.command(
    "enrol",
    epilog="""\b
Examples:
  meyrin site enrol alps --title 'Alps, Lugano'
  meyrin site enrol alps --lend       what the site proposes is lent as it joins
  meyrin site enrol alps --again      another agent takes over
The operator runs the printed line on a login node, under any log-in. Its token is good
once, and for an hour (--valid). Next: `meyrin site show alps`.
""",
)
@click.argument("name")
@click.option("--title", default="", metavar="TEXT", help="The name for people, any alphabet.")
@click.option("--lend", is_flag=True, help="Lend what the site proposes, as soon as it joins.")
@click.option("--again", is_flag=True, help="Let another agent take over from the present one.")
@click.option("--valid", type=click.IntRange(1, 168), default=1, show_default=True,
              metavar="HOURS", help="How long the command is good.")  # fmt: skip
@click.option(
    "--credential", is_flag=True, help="Print a token for an agent that is set up by hand instead."
)
@asks_hub
def enrol(
    session: Session, name: str, title: str, lend: bool, again: bool, valid: int, credential: bool
) -> None:
    """Let a site join: prints the one command for its operator."""
    if credential:
        with session.client() as hub:
            made = hub.sites.enrol(name, title)
        words = f"{name} is enrolled. Its agent's token, shown this once:"
        show_secret(session, made, made.agent_secret, words)
        return
    from meyrin.wire.sites import NewEnrolment  # noqa: PLC0415 - not for --help

    wish = NewEnrolment(title=title, again=again, lend=lend or None, valid_s=valid * 3600)
    with session.client() as hub:
        given = hub.sites.enrolment(name, wish)
    if session.json:
        data_json(given.model_dump(mode="json"))
        return
    say(
        f"{name} may join until {moment(given.expires_ms)}. Its operator runs this on a login "
        "node, under any log-in; shown this once:"
    )
    data(f"{ENROLMENT}={given.secret} meyrin agent join {name} --hub {given.hub}")
    if is_here(given.hub):
        say(
            "This address is good on this machine only; `public_url` (MEYRIN_HUB_PUBLIC_URL) of "
            "the hub's settings gives the one that sites reach."
        )


@click.command(
    "credentials",
    epilog="Example: meyrin site credentials alps. Next: meyrin site revoke alps",
)
@click.argument("name")
@lists
def credentials(session: Session, name: str, limit: int, after: str) -> None:
    """What a site's agent logs in with, newest first: made, last used, still good or not."""
    with session.client() as hub:
        page = hub.sites.credentials(name, after=after, limit=limit)
    rows = [
        (
            one.id,
            "enrolment" if one.kind == "enrol" else one.kind,
            one.state,
            moment(one.created_ms),
            moment(one.used_ms),
            moment(one.expires_ms),
        )
        for one in page.credentials
    ]
    empty = f"{name} has none: `meyrin site enrol {name}` lets its agent join"
    show_list(session, page, "ID KIND STATE MADE LAST_USED GOOD_UNTIL", rows, empty)


@click.command("revoke", epilog="Example: meyrin site revoke alps")
@click.argument("name")
@asks_hub
def revoke(session: Session, name: str) -> None:
    """Refuse a site's agent, and every enrolment of it, from now on; its jobs go on there."""
    with session.client() as hub:
        said = hub.sites.revoke_agent_token(name)
    again = f"`meyrin site enrol {name} --again` lets one join"
    show_one(session, said, f"the agent of {name} is refused from now on{_untold(said)}; {again}")


def _untold(said: AgentRefused) -> str:
    """Of the jobs that it has."""
    if not said.jobs:
        return ""
    verb = "is" if said.jobs == 1 else "are"
    return (
        f"; {show_count(said.jobs, 'job')} {verb} there, of which no end is told, and whose hours "
        "stay on hold, until one joins again"
    )


@click.command(
    "drain", epilog="Example: meyrin site drain alps --reason 'new cooling until Friday'"
)
@click.argument("name")
@click.option("--reason", required=True, metavar="TEXT", help="Why; people read it.")
@asks_hub
def drain(session: Session, name: str, reason: str) -> None:
    """Send nothing new to a site; what runs there goes on."""
    with session.client() as hub:
        found = hub.sites.drain(name, reason)
    show_one(session, found, f"{name} is drained; `meyrin site resume {name}` undoes it")


@click.command("resume", epilog="Example: meyrin site resume alps")
@click.argument("name")
@asks_hub
def resume(session: Session, name: str) -> None:
    """Send new jobs to a drained site again."""
    with session.client() as hub:
        found = hub.sites.resume(name)
    show_one(session, found, f"{name} takes jobs again")


@click.command(
    "allow",
    epilog="""\b
Examples:
  meyrin site allow alps climate genome    these projects, and no others
  meyrin site allow alps --everyone
""",
)
@click.argument("name")
@click.argument("projects", metavar="[PROJECT]...", nargs=-1)
@click.option("--everyone", is_flag=True, help="Every project, now and later.")
@asks_hub
def allow(session: Session, name: str, projects: tuple[str, ...], everyone: bool) -> None:
    """Let only these projects use a site, or everyone; what runs there goes on."""
    if everyone == bool(projects):
        raise InvalidInput("who may?", hint="name projects, or give --everyone", field="PROJECT")
    with session.client() as hub:
        found = hub.sites.allow(name, None if everyone else projects)
    who = "everyone" if everyone else ", ".join(projects)
    show_one(session, found, f"{name} is open to {who}")


@click.command(
    "offer",
    epilog="""\b
Examples:
  meyrin site offer alps gpu --owner uni
  meyrin site offer alps gpu --owner uni=3 --owner state=1 --until 2027-01-01
  meyrin site offer alps gpu --owner uni --price-cents 190    who pays, pays 1.90 an hour
Owners are whoever paid; the numbers are the weights of their parts.
""",
)
@click.argument("name")
@click.argument("partition")
@click.option("--owner", "owners", multiple=True, required=True, metavar="NAME[=WEIGHT]")
@click.option("--from", "start", metavar="DAY", help="YYYY-MM-DD, UTC; now, if left out.")
@click.option("--until", "end", metavar="DAY", help="YYYY-MM-DD, UTC; on and on, if left out.")
@click.option(
    "--price-cents",
    type=click.IntRange(0, 10**9),
    metavar="N",
    help="Of an accelerator-hour (or core-hour), for who comes by the paid door.",
)
@asks_hub
def offer(
    session: Session,
    name: str,
    partition: str,
    owners: tuple[str, ...],
    start: str | None,
    end: str | None,
    price_cents: int | None,
) -> None:
    """Lend a partition for its owners, for a time or on and on."""
    shares = [share_of(word) for word in owners]
    start_s = None if start is None else parse_day(start, "--from")
    end_s = None if end is None else parse_day(end, "--until")
    with session.client() as hub:
        made = hub.sites.offer(
            name, partition, shares, start_s=start_s, end_s=end_s, price_cents=price_cents
        )
    show_one(session, made, f"{name} lends {partition}: offer {made.id}")


def share_of(word: str) -> OwnerShare:
    """`NAME` or `NAME=WEIGHT`; else InvalidInput."""
    owner, equals, weight = word.partition("=")
    if equals and not (weight.isascii() and weight.isdigit()):
        raise InvalidInput(
            f"--owner {word!r} has no weight", hint="NAME, or NAME=3", field="--owner", value=word
        )
    return OwnerShare(owner, int(weight) if equals else 1)


@click.command(
    "end-offer", epilog="Example: meyrin site end-offer alps off_4k2m0000000000ab --at 2027-01-01"
)
@click.argument("name")
@click.argument("offer_id", metavar="OFFER")
@click.option("--at", metavar="DAY", help="YYYY-MM-DD, UTC; now, if left out.")
@asks_hub
def end_offer(session: Session, name: str, offer_id: str, at: str | None) -> None:
    """Let an offer end earlier than agreed."""
    with session.client() as hub:
        hub.sites.end_offer(name, offer_id, None if at is None else parse_day(at, "--at"))
    show_one(session, None, f"offer {offer_id} ends {at or 'now'}")


@click.command("token", epilog="Examples: meyrin site token alps > agent.token; ... --revoke")
@click.argument("name")
@click.option("--revoke", is_flag=True, help="Only refuse the old ones; make no new one.")
@asks_hub
def token(session: Session, name: str, revoke: bool) -> None:
    """A token for an agent that is set up by hand; those before it are refused at once."""
    with session.client() as hub:
        if revoke:
            said = hub.sites.revoke_agent_token(name)
            show_one(session, said, f"the agent of {name} is refused from now on{_untold(said)}")
            return
        made = hub.sites.new_agent_token(name)
    say("The tokens before this one are refused now.")
    show_secret(session, made, made.agent_secret, "The agent's token, shown this once:")
