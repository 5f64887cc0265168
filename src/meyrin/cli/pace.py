"""`meyrin project pace` and `notices`: whether hours are used in time, and what to know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from meyrin.cli.listing import show_list, show_one
from meyrin.cli.session import Session, lists
from meyrin.cli.terminal import moment
from meyrin.domain.errors import InvalidInput
from meyrin.domain.units import show_hours

if TYPE_CHECKING:
    from meyrin.wire.allocations import PacedAllocation, PaceView


@click.command(
    "pace",
    epilog="""\b
Examples:
  meyrin project pace climate
  meyrin project pace --off                 everybody's that are off pace, for officers
Expected is counted in whole weeks; what jobs hold counts as used. The days between which the
hours run out hold about eight times of ten, if weeks to come are like those that were.
""",
)
@click.argument("project", required=False)
@click.option("--off", is_flag=True, help="Everybody's that are off pace, for officers.")
@lists
def pace(session: Session, project: str | None, *, off: bool, limit: int, after: str) -> None:
    """Whether too little or too much is used, and when the hours run out."""
    if off and project is not None:
        raise InvalidInput("one project, or --off?", hint="leave one of them out", field="--off")
    with session.client() as hub:
        if off:
            page = hub.allocations.off_pace(after=after, limit=limit)
        else:
            page = hub.allocations.pace(project, after=after, limit=limit)
    rows = [
        (
            one.allocation.id,
            one.allocation.project,
            one.allocation.charged_type,
            one.pace.verdict,
            show_hours(one.pace.used_s),
            show_hours(one.pace.expected_s),
            show_hours(one.pace.left_s),
            _day(one.allocation.end_s),
            _runs_out(one.pace),
        )
        for one in page.paces
    ]
    titles = "ALLOCATION PROJECT~ TYPE PACE USED_H> EXPECTED_H> LEFT_H> ENDS RUNS_OUT~"
    empty = "Every allocation is on pace." if off else "No allocation yet: `meyrin call ask`."
    show_list(session, page, titles, rows, empty)


def _runs_out(pace: PaceView) -> str:
    """The day on which the hours run out, and between which days."""
    if pace.ends_s is None or pace.earliest_s is None:
        return "-"
    latest = "never" if pace.latest_s is None else _day(pace.latest_s)
    return f"{_day(pace.ends_s)} ({_day(pace.earliest_s)} to {latest})"


def _day(at_s: int) -> str:
    return moment(at_s * 1000)[:10]


def pace_words(paced: Sequence[PacedAllocation]) -> list[str]:
    """What to say of those that are off pace."""
    return [
        f"{one.allocation.id}: {one.pace.words}"
        for one in paced
        if one.pace.verdict in {"slow", "fast"}
    ]


@click.command(
    "notices",
    epilog="""\b
Examples:
  meyrin project notices
  meyrin project notices --seen 17
""",
)
@click.option("--seen", type=click.IntRange(1), metavar="ID", help="Put one away.")
@lists
def notices(session: Session, seen: int | None, limit: int, after: str) -> None:
    """What to know about your hours: pace, and what will be taken back."""
    with session.client() as hub:
        if seen is not None:
            hub.allocations.put_away(seen)
            show_one(session, None, f"notice {seen} is put away")
            return
        page = hub.allocations.notices(after=after, limit=limit)
    rows = [(one.id, moment(one.created_ms), one.project, one.words) for one in page.notices]
    show_list(session, page, "ID> WHEN PROJECT~ NOTICE~", rows, "Nothing new.")
