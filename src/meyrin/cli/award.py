"""`meyrin award`: awards that were decided elsewhere come in, and all go out, as files."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from meyrin.cli.lazy import Entry, LazyGroup
from meyrin.cli.session import Session, asks_hub
from meyrin.cli.table import columns, table
from meyrin.cli.terminal import data, data_json, say
from meyrin.domain.errors import InvalidInput, NotFound
from meyrin.domain.units import show_count, show_hours

HERE = "meyrin.cli.award"
ENTRIES = {
    "import": Entry(f"{HERE}:import_", "Awards from a file, all or none."),
    "export": Entry(f"{HERE}:export", "Awards as CSV or JSON."),
}
PAGE = 500


@click.group("award", cls=LazyGroup, entries=ENTRIES)
def group() -> None:
    """Awards that were decided elsewhere, and all awards as files."""


@click.command(
    "import",
    epilog="""\b
Examples:
  meyrin award import awards.csv --dry-run
  meyrin award import a.csv --map award=Number --map amount_h=Hours --set owner=union
Columns: award (its name there), project, charged_type, amount_s (whole seconds of the type)
or amount_h (hours of it, exactly), start and end (2027-01-31 or 2027-01-31T10:00:00Z), reason;
may be left out: owner, offer_id, mode; title and lead make a project that is not there.
The same file again changes nothing. A row that is wrong stops all, and every one is named.
""",
)
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--dry-run", is_flag=True, help="Say what would be awarded; change nothing.")
@click.option("--map", "mapped", multiple=True, metavar="NAME=COLUMN",
              help="What the file calls a column; repeatable. The rest is left out.")  # fmt: skip
@click.option("--set", "fixed", multiple=True, metavar="NAME=VALUE",
              help="The same value for all rows; repeatable.")  # fmt: skip
@asks_hub
def import_(
    session: Session, file: Path, *, dry_run: bool, mapped: tuple[str, ...], fixed: tuple[str, ...]
) -> None:
    """Award what a CSV or JSON file says, all of it or nothing. For officers."""
    from meyrin.client.award_file import read_awards  # noqa: PLC0415 - not for --help

    name = "standard input" if str(file) == "-" else str(file)
    mapping, values = _pairs(mapped, "--map"), _pairs(fixed, "--set")
    rows = read_awards(_text(file), name, mapping, values)
    with session.client() as hub:
        done = hub.allocations.import_awards(rows, dry_run=dry_run)
    if session.json:
        data_json(done.model_dump(mode="json"))
        return
    shown = [
        (
            one.line,
            one.award,
            one.project + (" (new)" if one.new_project else ""),
            one.charged_type,
            show_hours(one.amount_s),
            one.state,
            one.allocation_id or "-",
        )
        for one in done.rows
    ]
    data(table(columns("LINE> AWARD~ PROJECT~ TYPE HOURS> STATE ALLOCATION"), shown))
    new = sum(one.state == "new" for one in done.rows)
    verb = "would make" if dry_run else "made"
    say(f"{verb} {show_count(new, 'award')}; {len(done.rows) - new} known before")


@click.command(
    "export",
    epilog="""\b
Examples:
  meyrin award export > awards.csv
  meyrin award export climate --json
What several shares gave is several rows. `meyrin award import` reads either form back; on the
hub that wrote it, it changes nothing.
""",
)
@click.argument("project", required=False)
@click.option("--csv", "as_csv", is_flag=True, help="CSV, as without any option.")
@click.option("--ended", is_flag=True, help="Those too that are over.")
@asks_hub
def export(session: Session, project: str | None, *, as_csv: bool, ended: bool) -> None:
    """All awards of your projects, or of one, as CSV or JSON; an officer's hold everybody's."""
    from meyrin.client.admin import every  # noqa: PLC0415 - not for --help
    from meyrin.client.award_file import as_columns, write_csv  # noqa: PLC0415

    if as_csv and session.json:
        raise InvalidInput("CSV or JSON?", hint="--csv or --json", field="--csv")
    with session.client() as hub:
        pages = every(hub.allocations.awards, project=project, ended=ended, limit=PAGE)
        rows = [one.row for page in pages for one in page.awards]
    if session.json:
        data_json({"awards": [as_columns(row) for row in rows]})
    else:
        data(write_csv(rows).removesuffix("\n"))


def _text(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is no text in UTF-8", hint="save it as UTF-8") from error
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {file}") from error


def _pairs(given: tuple[str, ...], option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not value or name in found:
            raise InvalidInput(f"{option}: {text!r} can't be read", hint="write NAME=VALUE, once",
                               field=option)  # fmt: skip
        found[name] = value
    return found
