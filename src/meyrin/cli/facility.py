"""`meyrin facility`: a hub's sites as the file that a planner starts from."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from meyrin.cli.lazy import Entry, LazyGroup
from meyrin.cli.session import Session, asks_hub
from meyrin.cli.terminal import data, data_json, say
from meyrin.domain.errors import InvalidInput
from meyrin.domain.units import show_count

ENTRIES = {"export": Entry("meyrin.cli.facility:export", "Write a hub's sites as a facility file.")}


@click.group("facility", cls=LazyGroup, entries=ENTRIES)
def group() -> None:
    """What there is: sites, their accelerators, owners and prices, as a file for planners."""


@click.command(
    "export",
    epilog="""\b
Examples:
  meyrin facility export --country alps=CH --country jura=FR > facility.toml
  meyrin facility export --country alps=CH --out facility.toml
What a hub does not know (prices, carbon, weather) is written as unknown, with a
range and a source to replace.
""",
)
@click.option(
    "--country", "countries", multiple=True, metavar="SITE=CODE",
    help="Country of a site, as in FI; a hub does not know it.",
)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Instead of printing.")
@asks_hub
def export(session: Session, countries: tuple[str, ...], out: Path | None) -> None:
    """Write the hub's sites, as they are today, in the form that `meyrin plan` reads."""
    from meyrin.client.admin import every  # noqa: PLC0415 - not for --help
    from meyrin.plan.live import facility_toml  # noqa: PLC0415

    codes = dict(_pair(one) for one in countries)
    with session.client() as hub:
        names = [
            site.name
            for page in every(hub.sites.list, limit=500)
            for site in page.sites
            if site.closed_ms is None
        ]
        details = [hub.sites.show(name) for name in names]
        url = hub.url
    today = dt.datetime.fromtimestamp(session.now_s, dt.UTC).date()
    text = facility_toml(details, codes, url, today, session.now_s)
    if out is not None:
        out.write_text(text, encoding="utf-8")
        say(f"{out}: {show_count(len(details), 'site')}")
    if session.json:
        data_json({"sites": names, "facility": text})
    elif out is None:
        data(text.rstrip("\n"))


def _pair(written: str) -> tuple[str, str]:
    site, _, code = written.partition("=")
    if not site or len(code) != 2:
        raise InvalidInput(
            f"--country {written!r} can't be read", hint="write SITE=CODE, such as alps=CH",
            field="--country", value=written,
        )  # fmt: skip
    return site, code.upper()
