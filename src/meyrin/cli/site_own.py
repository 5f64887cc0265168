"""What a site tells of itself to its operators: its own queue, its own accounts and limits."""

from __future__ import annotations

import click

from meyrin.cli.listing import show_list
from meyrin.cli.session import Session, lists
from meyrin.cli.terminal import clean, moment, say
from meyrin.domain.units import show_duration


@click.command(
    "queue",
    epilog="""\b
Examples:
  meyrin site queue alps
  meyrin site queue alps --limit 500 --json > queue.json
USER and JOB are pseudonyms: the same one looks the same in every picture, and only the site
knows who it is. Sites share this for forecasts; `queue_every_s = 0` in an agent's settings
ends it.
""",
)
@click.argument("name")
@lists
def queue(session: Session, name: str, limit: int, after: str) -> None:
    """The site's whole queue as its agent told it last; for its operators."""
    with session.client() as hub:
        page = hub.sites.queue(name, after=after, limit=limit)
    rows = [
        (
            one.key[:8],
            one.user[:8],
            one.partition,
            one.state + (f" ({one.reason})" if one.reason and one.waits else ""),
            one.count,
            one.nodes,
            one.cores,
            one.accelerators,
            "-" if one.walltime_s is None else show_duration(one.walltime_s),
            moment(None if one.submit_s is None else one.submit_s * 1000),
            one.priority,
        )
        for one in page.jobs
    ]
    if page.at_ms is None:
        empty = f"{name} shares no snapshot of its queue."
    else:
        empty = f"Nothing waited or ran at {name} at {moment(page.at_ms)}."
    titles = (
        "JOB USER PARTITION STATE~ COUNT> NODES> CORES> ACCELERATORS> WALL_TIME> SUBMITTED "
        "PRIORITY>"
    )
    show_list(session, page, titles, rows, empty)
    if rows and not session.json:
        more = f"; {page.left_out} more were left out" if page.left_out else ""
        say(f"as {name} told at {moment(page.at_ms)}{more}")


@click.command(
    "drift",
    epilog="""\b
Examples:
  meyrin site drift alps
  meyrin site drift alps --json | jq '.lines[] | select(.outcome == "failed")'
OUTCOME: done (mended), reported (the site only looks), later (waits for another pass), failed.
A site keeps its limits in step when its agent's settings say [limits] mode = "report" or "apply".
""",
)
@click.argument("name")
@lists
def drift(session: Session, name: str, limit: int, after: str) -> None:
    """How a site's accounts and limits differ from projects and balances; for its operators."""
    with session.client() as hub:
        page = hub.sites.drift(name, after=after, limit=limit)
    rows = [
        (one.kind, one.account, one.user or "-", one.found or "-", one.wanted or "-",
         one.outcome, one.why or "-")
        for one in page.lines
    ]  # fmt: skip
    if page.at_ms is None:
        empty = f'{name} does not compare: its agent\'s settings say [limits] mode = "off".'
    else:
        empty = clean(page.words) or f"{name} was in step at {moment(page.at_ms)}."
    show_list(session, page, "KIND ACCOUNT USER FOUND~ WANTED~ OUTCOME WHY~", rows, empty)
    if rows and not session.json:
        say(f"as {name} saw it at {moment(page.at_ms)}, mode {page.mode}")
