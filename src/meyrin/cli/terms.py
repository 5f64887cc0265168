"""`meyrin terms`: what sites ask of people before their jobs go there."""

from __future__ import annotations

from pathlib import Path

import click

from meyrin.cli.lazy import Entry, LazyGroup
from meyrin.cli.listing import show_list, show_one
from meyrin.cli.session import Session, asks_hub, lists
from meyrin.cli.terminal import clean, data, data_json, moment, say
from meyrin.domain.errors import InvalidInput

HERE = "meyrin.cli.terms"
ENTRIES = {
    "list": Entry(f"{HERE}:list_terms", "Sites with terms, and which you accepted."),
    "show": Entry(f"{HERE}:show", "The terms of a site."),
    "accept": Entry(f"{HERE}:accept", "Accept the terms of a site."),
    "set": Entry(f"{HERE}:put", "Put a version in force (operators)."),
    "end": Entry(f"{HERE}:end", "Ask for no terms any more (operators)."),
    "accepted": Entry(f"{HERE}:accepted", "Who accepted which version (operators)."),
}


@click.group("terms", cls=LazyGroup, entries=ENTRIES)
def group() -> None:
    """Terms of sites. Your jobs go to a site with terms once you accepted the version in force."""


@click.command("list", epilog="Example: meyrin terms list. Next: meyrin terms show SITE")
@lists
def list_terms(session: Session, limit: int, after: str) -> None:
    """Sites that have terms, and when you accepted the version in force."""
    with session.client() as hub:
        page = hub.sites.all_terms(after=after, limit=limit)
    rows = [
        (one.site, one.version, moment(one.set_ms), moment(one.accepted_ms)) for one in page.terms
    ]
    show_list(session, page, "SITE VERSION SINCE ACCEPTED", rows, "No site asks for anything.")


@click.command("show", epilog="Example: meyrin terms show alps. Next: meyrin terms accept alps")
@click.argument("site")
@asks_hub
def show(session: Session, site: str) -> None:
    """The words of the version in force at a site."""
    with session.client() as hub:
        found = hub.sites.terms_of(site)
    if session.json:
        data_json(found.model_dump(mode="json"))
        return
    say(f"{site}, version {found.version}, since {moment(found.set_ms)}, SHA-256 {found.digest}")
    for part in filter(None, (found.text, found.url)):
        data("\n".join(clean(line) for line in part.splitlines()))
    if found.accepted_ms is None:
        say(f"you have not accepted them: `meyrin terms accept {site}`")
    else:
        say(f"you accepted them {moment(found.accepted_ms)}")


@click.command("accept", epilog="Example: meyrin terms accept alps")
@click.argument("site")
@click.option("--version", default="", metavar="WORD", help="The one that you read.")
@asks_hub
def accept(session: Session, site: str, version: str) -> None:
    """Accept the terms of a site, once for each version; your jobs may go there from now on.

    Without --version the one in force now, whose words `meyrin terms show SITE` prints.
    """
    with session.client() as hub:
        made = hub.sites.accept_terms(site, version or hub.sites.terms_of(site).version)
    show_one(session, made, f"accepted: {site}, version {made.version}, SHA-256 {made.digest}")


@click.command(
    "set",
    epilog="""\b
Examples:
  meyrin terms set alps --version 2026-11 --file terms.txt
  meyrin terms set alps --version 2 --url https://alps.example/terms
""",
)
@click.argument("site")
@click.option("--version", required=True, metavar="WORD", help="A new word for new words.")
@click.option("--file", "path", type=click.Path(path_type=Path), help="Their text.")
@click.option("--url", default="", metavar="URL", help="Where they stand, https://...")
@asks_hub
def put(session: Session, site: str, version: str, path: Path | None, url: str) -> None:
    """Put a version of a site's terms in force. For its operators.

    Everybody is asked for it before their next job goes there; what is there goes on. The words
    of a version never change.
    """
    try:
        text = path.read_text(encoding="utf-8") if path else ""
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} can't be read as text", field="--file") from error
    with session.client() as hub:
        made = hub.sites.set_terms(site, version, text, url)
    show_one(session, made, f"{site} asks for version {made.version}, SHA-256 {made.digest}")


@click.command("end", epilog="Example: meyrin terms end alps")
@click.argument("site")
@asks_hub
def end(session: Session, site: str) -> None:
    """Ask for no terms any more. For the site's operators; who accepted what is kept."""
    with session.client() as hub:
        hub.sites.end_terms(site)
    show_one(session, None, f"{site} asks for no terms")


@click.command("accepted", epilog="Example: meyrin terms accepted alps --json")
@click.argument("site")
@lists
def accepted(session: Session, site: str, limit: int, after: str) -> None:
    """Who accepted which version, newest first. For the site's operators."""
    with session.client() as hub:
        page = hub.sites.terms_accepted(site, after=after, limit=limit)
    rows = [(one.person, one.version, moment(one.at_ms), one.digest[:12]) for one in page.accepted]
    show_list(session, page, "WHO VERSION WHEN SHA-256", rows, "Nobody yet.")
