"""The site's own accounting beside what Meyrin counted, job by job, for a time.

It trusts neither: what the hub lists is asked of accounting, every run of it, and what accounting
has under Meyrin's names is looked for in the hub's list. Wall seconds are compared, and energy
where the site records it. Nothing is changed here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from meyrin.agent.slurm.ask import attempt_in, name_of
from meyrin.agent.slurm.judge import base, is_over
from meyrin.agent.slurm.sender import SKEW_S
from meyrin.agent.slurm.transport import AccountingRow, Transport
from meyrin.agent.trial import is_trial
from meyrin.domain.units import show_count
from meyrin.wire.agents import CountedList, CountedView

_DAY_MS = 86_400_000
_SLACK_S = 1
COPY_S = 60  # a copy that ended at once is shorter than this
_MANY = 2000


@dataclass(frozen=True, slots=True)
class Line:
    """One job on which there is something to say. `bad` where the two differ.

    None: that side has nothing of it.
    """

    job: str | None
    attempt: str
    batch_job: str
    site_s: int | None
    meyrin_s: int | None
    site_j: int | None
    meyrin_j: int | None
    what: str
    bad: bool = True


@dataclass(frozen=True, slots=True)
class Compared:
    """`attempts` were compared; the sums are over all of them. Of energy over those of which it
    is known, `energy_unknown` being how many others used time; None: of none is it known."""

    attempts: int
    site_s: int
    meyrin_s: int
    lines: tuple[Line, ...]
    site_j: int | None = None
    meyrin_j: int | None = None
    energy_unknown: int = 0

    @property
    def differ(self) -> int:
        return sum(line.bad for line in self.lines)


def compare(
    list_counted: Callable[[int, int, str], CountedList],
    transport: Transport,
    from_ms: int,
    until_ms: int,
    say: Callable[[str], None],
    live: Mapping[str, str] = MappingProxyType({}),
) -> Compared:
    """Both sides for what ended from `from_ms` until just before `until_ms`. `live`: the attempts
    whose end the agent has not told the hub yet, with their jobs."""
    counted = {
        one.attempt: one
        for one in _pages(list_counted, max(0, from_ms - _DAY_MS), until_ms + _DAY_MS)
    }
    say(f"asking accounting about {show_count(len(counted), 'attempt')}")
    rows: defaultdict[str, set[AccountingRow]] = defaultdict(set)
    for some in _parts(list(counted.values())):
        since_s = min(one.placed_ms for one in some) // 1000 - SKEW_S
        names = [name_of(one.attempt) for one in some]
        _sort(rows, transport.accounting(names, since_s, _ids(some)), some)
    _sort(rows, transport.accounting((), from_ms // 1000 - SKEW_S))
    return judged(counted, rows, from_ms, until_ms, live)


def judged(
    counted: Mapping[str, CountedView],
    rows: Mapping[str, Iterable[AccountingRow]],
    from_ms: int,
    until_ms: int,
    live: Mapping[str, str] = MappingProxyType({}),
) -> Compared:
    """Pure: what the two say, and where they differ."""
    lines: list[Line] = []
    attempts = site_sum_s = meyrin_sum_s = unknown = 0
    energies: list[tuple[int | None, int | None]] = []
    for attempt in sorted(counted.keys() | rows.keys()):
        ours = counted.get(attempt)
        own, copies = _told_apart(ours, rows.get(attempt, ()))
        if not _in_time(ours, own, from_ms, until_ms):
            continue
        if ours is None and is_trial(attempt):
            what = "the test job of a join, charged to nobody"  # the hub never heard of it
            lines.append(_uncounted(None, attempt, own, what))
            continue
        if ours is None and attempt in live:
            what = "not over for Meyrin yet: counted when it is"
            lines.append(_uncounted(live[attempt], attempt, own, what))
            continue
        line, site_s, meyrin_s = _line(attempt, ours, own)
        attempts, site_sum_s, meyrin_sum_s = (
            attempts + 1,
            site_sum_s + site_s,
            meyrin_sum_s + meyrin_s,
        )
        energy = _energy(ours, own)
        energies.append(energy)
        unknown += energy == (None, None) and bool(site_s or meyrin_s)
        if line is not None:
            lines.append(line)
        lines += [_copy(ours, attempt, row) for row in copies]
    site_j, meyrin_j = (_known_sum(each[side] for each in energies) for side in (0, 1))
    return Compared(attempts, site_sum_s, meyrin_sum_s, tuple(lines), site_j, meyrin_j, unknown)


def _known_sum(values: Iterable[int | None]) -> int | None:
    known = [each for each in values if each is not None]
    return sum(known) if known else None


def _energy(
    ours: CountedView | None, own: Sequence[AccountingRow]
) -> tuple[int | None, int | None]:
    """What the site recorded, of all runs or not at all, and what Meyrin has."""
    known = [row.energy_j for row in own if row.energy_j is not None]
    whole = bool(known) and len(known) == len(own)
    return (sum(known) if whole else None), (None if ours is None else ours.energy_j)


def _told_apart(
    ours: CountedView | None, rows: Iterable[AccountingRow]
) -> tuple[list[AccountingRow], list[AccountingRow]]:
    """The runs of the batch job that Meyrin knows, and further copies under the same name."""
    ran = sorted((row for row in rows if row.start_s is not None), key=lambda row: row.start_s or 0)
    if ours is None:
        return ran, []
    own = [row for row in ran if _is_own(ours, row)]
    own = own or [row for row in ran if _is_forgotten(ours, row)]
    return own, [row for row in ran if row not in own]


def _is_forgotten(ours: CountedView, row: AccountingRow) -> bool:
    """Whether this is all that is left of the run: a controller that was killed forgot that it
    ran, launched it anew and ended it before it began."""
    at_once = row.elapsed_s is not None and row.elapsed_s <= _SLACK_S
    same = row.batch_job == ours.batch_job and bool(ours.elapsed_s)
    return same and at_once and base(row.state) == "CANCELLED"


def _is_own(ours: CountedView, row: AccountingRow) -> bool:
    if row.batch_job != ours.batch_job or (ours.elapsed_s is None and is_over(row)):
        return False
    return ours.end_ms is None or (row.start_s or 0) <= ours.end_ms // 1000 + _SLACK_S


def _in_time(
    ours: CountedView | None, own: Sequence[AccountingRow], from_ms: int, until_ms: int
) -> bool:
    if ours is not None:
        return ours.end_ms is not None and from_ms <= ours.end_ms < until_ms
    ends = [row.end_s for row in own if row.end_s is not None]
    closed = bool(own) and len(ends) == len(own)
    return closed and from_ms <= max(ends) * 1000 < until_ms


def _line(
    attempt: str, ours: CountedView | None, own: Sequence[AccountingRow]
) -> tuple[Line | None, int, int]:
    """What there is to say, and the seconds of both."""
    site_s = sum(row.elapsed_s or 0 for row in own) if own else None
    site_j, meyrin_j = _energy(ours, own)
    meyrin_s = None if ours is None else ours.elapsed_s
    what = ""
    if ours is None:
        what = "not counted by Meyrin"
    elif any(not is_over(row) for row in own):
        what = "ended for Meyrin, open in accounting"
    elif site_s is None and ours.elapsed_s is not None:
        what = "not in accounting" if ours.elapsed_s else ""
    elif site_s != ours.elapsed_s:
        gone = all(_is_forgotten(ours, row) for row in own)
        what = "Slurm's controller forgot how long it ran" if gone else "seconds differ"
    elif site_j is not None and site_j != meyrin_j:
        what = "energy differs"
    batch_job = (ours.batch_job if ours is not None else own[0].batch_job) or "-"
    job = None if ours is None else ours.job
    line = Line(job, attempt, batch_job, site_s, meyrin_s, site_j, meyrin_j, what) if what else None
    return line, site_s or 0, meyrin_s or 0


def _uncounted(job: str | None, attempt: str, own: Sequence[AccountingRow], what: str) -> Line:
    """What Meyrin has not counted, rightly."""
    site_s = sum(row.elapsed_s or 0 for row in own)
    return Line(job, attempt, own[0].batch_job, site_s, None, None, None, what, bad=False)


def _copy(ours: CountedView | None, attempt: str, row: AccountingRow) -> Line:
    """A further launch of the same attempt: it ended at once, and is charged to nobody."""
    long = (row.elapsed_s or 0) >= COPY_S or row.elapsed_s is None
    what = "a further copy that did not end at once" if long else "a copy that ended at once"
    job = None if ours is None else ours.job
    energy = row.energy_j
    return Line(job, attempt, row.batch_job, row.elapsed_s, None, energy, None, what, bad=long)


def _sort(
    rows: defaultdict[str, set[AccountingRow]],
    said: Iterable[AccountingRow],
    some: Sequence[CountedView] = (),
) -> None:
    """By attempt."""
    ended = {
        (one.batch_job, one.end_ms // 1000): one.attempt
        for one in some
        if one.batch_job is not None and one.end_ms is not None
    }
    for row in said:
        attempt = attempt_in(row, ended)
        if attempt is not None:
            rows[attempt].add(row)


def _pages(
    list_counted: Callable[[int, int, str], CountedList], from_ms: int, until_ms: int
) -> Iterator[CountedView]:
    after = ""
    while True:
        page = list_counted(from_ms, until_ms, after)
        yield from page.counted
        after = page.next
        if not after:
            return


def _parts(items: Sequence[CountedView]) -> Iterator[Sequence[CountedView]]:
    return (items[i : i + _MANY] for i in range(0, len(items), _MANY))


def _ids(some: Sequence[CountedView]) -> list[str]:
    return sorted({one.batch_job for one in some if one.batch_job})
