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
from meyrin.domain.errors import InvalidInput
from meyrin.domain.site import OwnerShare
from meyrin.domain.units import show_duration

if TYPE_CHECKING:
    from meyrin.wire.sites import OfferView, SiteDetail, SiteView

HERE = "meyrin.cli.site"
ENTRIES = {
    "list": Entry(f"{HERE}:list_sites", "Every site, by name."),
    "show": Entry(f"{HERE}:show", "One site: partitions and offers."),
    "queue": Entry("meyrin.cli.site_own:queue", "What waits and runs there, of everybody."),
    "drift": Entry("meyrin.cli.site_own:drift", "What its accounts and limits lack."),
    "enrol": Entry(f"{HERE}:enrol", "Add a site; prints its agent's token."),
    "drain": Entry(f"{HERE}:drain", "Send nothing new there."),
    "resume": Entry(f"{HERE}:resume", "Send new jobs there again."),
    "allow": Entry(f"{HERE}:allow", "Say which projects may use it."),
    "offer": Entry(f"{HERE}:offer", "Lend a partition, for its owners."),
    "end-offer": Entry(f"{HERE}:end_offer", "End an offer early."),
    "token": Entry(f"{HERE}:token", "A new token for the agent."),
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
    else:
        lines += ["", f"lends nothing: `meyrin site offer {site.name} PARTITION --owner NAME`"]
    return "\n".join(lines)


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
Example:
  meyrin site enrol alps --title 'Alps, Lugano' > agent.token
Next, at the site: `meyrin agent --config FILE`; then `meyrin site offer`.
""",
)
@click.argument("name")
@click.option("--title", default="", metavar="TEXT", help="The name for people, any alphabet.")
@asks_hub
def enrol(session: Session, name: str, title: str) -> None:
    """Add a site; prints its agent's token, which is shown this once."""
    with session.client() as hub:
        made = hub.sites.enrol(name, title)
    words = f"{name} is enrolled. Its agent's token, shown this once:"
    show_secret(session, made, made.agent_secret, words)


@click.command(
    "drain", epilog="Example: meyrin site drain alps --reason 'new cooling until Friday'"
)
@click.argument("name")
@click.option("--reason", required=True, metavar="TEXT", help="Why; users read it.")
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
Owners are whoever paid; the numbers are the weights of their parts.
""",
)
@click.argument("name")
@click.argument("partition")
@click.option("--owner", "owners", multiple=True, required=True, metavar="NAME[=WEIGHT]")
@click.option("--from", "start", metavar="DAY", help="YYYY-MM-DD, UTC; now, if left out.")
@click.option("--until", "end", metavar="DAY", help="YYYY-MM-DD, UTC; on and on, if left out.")
@asks_hub
def offer(
    session: Session,
    name: str,
    partition: str,
    owners: tuple[str, ...],
    start: str | None,
    end: str | None,
) -> None:
    """Lend a partition for its owners, for a time or on and on."""
    shares = [_share(word) for word in owners]
    start_s = None if start is None else parse_day(start, "--from")
    end_s = None if end is None else parse_day(end, "--until")
    with session.client() as hub:
        made = hub.sites.offer(name, partition, shares, start_s=start_s, end_s=end_s)
    show_one(session, made, f"{name} lends {partition}: offer {made.id}")


def _share(word: str) -> OwnerShare:
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
    """A new token for a site's agent; those before it are refused at once."""
    with session.client() as hub:
        if revoke:
            hub.sites.revoke_agent_token(name)
            show_one(session, None, f"the agent of {name} is refused from now on")
            return
        made = hub.sites.new_agent_token(name)
    say("The tokens before this one are refused now.")
    show_secret(session, made, made.agent_secret, "The agent's token, shown this once:")
