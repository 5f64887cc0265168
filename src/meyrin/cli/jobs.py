"""`meyrin jobs`, `show`, `explain`, `cancel`, `release`: looking at jobs and changing them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from meyrin.cli.exits import exit_code
from meyrin.cli.session import Session, asks_hub, lists
from meyrin.cli.table import columns, cut, table
from meyrin.cli.terminal import (
    BOLD,
    STATE_COLOUR,
    amount,
    clean,
    clock_time,
    colourful,
    data,
    data_json,
    is_terminal,
    moment,
    paint,
    say,
)
from meyrin.domain.errors import InvalidInput, MeyrinError
from meyrin.domain.states import AT_SITE, ENDED, JobState
from meyrin.domain.units import show_count, show_duration, show_energy, show_hours

if TYPE_CHECKING:
    from meyrin.client.api import Client
    from meyrin.wire.jobs import (
        AttemptView,
        CancelReply,
        CostView,
        ExplainView,
        JobDetail,
        JobList,
        JobView,
    )

WATCH_S = 2.0
WHY_WIDTH = 100  # of a reason in the list, also where nobody looks; `show` has all of it
_ANY = {"states": (), "project": None, "site": None, "after": ""}
CLEAR = "\033[H\033[2J"


@click.command(
    epilog="""\b
Examples:
  meyrin jobs                          yours, newest first
  meyrin jobs --state running --watch  what runs, redrawn until Ctrl-C
  meyrin jobs --all --project climate  everybody's in one project
"""
)
@click.option("--all", "everybody", is_flag=True, help="Everybody's that you may see.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([str(state) for state in JobState]),
    metavar="STATE",
    help=f"Only jobs in this state; repeat it for more: {', '.join(JobState)}.",
)
@click.option("--project", metavar="NAME", help="Only jobs of this project.")
@click.option("--site", metavar="NAME", help="Only jobs at this site.")
@click.option("--watch", is_flag=True, help="Redraw every 2 seconds until Ctrl-C.")
@lists
def jobs(session: Session, /, watch: bool, everybody: bool, limit: int, **which: Any) -> None:
    """List your jobs, newest first."""
    if watch and (session.json or not is_terminal(sys.stdout)):
        raise InvalidInput("--watch needs a terminal", hint="leave it out, or call again later")
    asked = {"mine": not everybody, "limit": limit, **which}
    with session.client() as hub:
        if watch:
            _watch(session, hub, asked)
            return
        page = hub.jobs(**asked)
    if session.json:
        data_json(page.model_dump(mode="json"))
    elif page.jobs:
        data(_jobs_table(page, session))
        if page.next:
            say(f"older ones: add --after {page.next}")
    else:
        say(_nothing(everybody or which != _ANY))


def _watch(session: Session, hub: Client, asked: dict[str, Any]) -> None:
    """Draw the table anew until Ctrl-C, which is the way out and no failure."""
    try:
        while True:
            page = hub.jobs(**asked)
            data(CLEAR + (_jobs_table(page, session) if page.jobs else _nothing(narrowed=True)))
            session.pause(WATCH_S)
    except KeyboardInterrupt:
        return


def _nothing(narrowed: bool) -> str:
    if narrowed:
        return "No such jobs. `meyrin jobs` lists yours."
    return "No jobs yet. Submit one: `meyrin submit SCRIPT`, or `meyrin run -- COMMAND`."


def _jobs_table(page: JobList, session: Session) -> str:
    heads = columns("JOB> NAME~ PROJECT~ STATE WHERE~ TIME> WHY~")
    now_ms = int(session.clock() * 1000)
    rows = [
        (job.label, job.name, job.project, job.shown, where(job), _ran(job, now_ms), why)
        for job in page.jobs
        for why in [cut(job.reason, WHY_WIDTH)]
    ]
    wanted = colourful(session.environ, sys.stdout)

    def colour(row: int, column: int, text: str) -> str:
        chosen = STATE_COLOUR.get(page.jobs[row].state, "")
        return paint(text, chosen, wanted and column == 3 and bool(chosen))

    return table(heads, rows, colour=colour)


def where(job: JobView) -> str:
    return f"{job.site}/{job.partition}" if job.site else "-"


_RAN = ENDED | {JobState.RUNNING}


def _ran(job: JobView, now_ms: int) -> str:
    if job.start_ms is None or job.state not in _RAN:
        return "-"  # not begun, or taken back to its site's queue
    return show_duration(max(0, (job.end_ms or now_ms) - job.start_ms) // 1000)


@click.command(
    epilog="""\b
Examples:
  meyrin show 17        a job, or the first element of an array
  meyrin show 17_3      one element of an array
Next: `meyrin logs 17`, `meyrin explain 17`, `meyrin fetch 17`.
"""
)
@click.argument("job")
@asks_hub
def show(session: Session, job: str) -> None:
    """Everything about one job: its states, attempts, cost and results."""
    with session.client() as hub:
        found = hub.job(job)
    if session.json:
        data_json(found.model_dump(mode="json"))
        return
    bold = colourful(session.environ, sys.stdout)
    data("\n".join(_shown(found, bold)))


def _shown(found: JobDetail, bold: bool) -> list[str]:
    from meyrin.client.results import counted  # noqa: PLC0415 - not for --help

    job = found.job
    lines = [paint(f"Job {job.label}: {clean(job.name)}", BOLD, bold)]
    facts = [
        ("state", f"{clean(job.shown)}{_ending(job)}"),
        ("why", clean(job.reason or _waits(found))),
        ("no word", clean(found.unheard)),
        ("where", where(job)),
        ("project", f"{job.project} ({clean(job.person)})"),
        ("wall time", show_duration(job.walltime_s) if job.walltime_s else "the partition's"),
        ("submitted", moment(job.submit_ms)),
        ("comment", clean(found.comment)),
        ("array", counted(found.array)),
        ("cost", _cost(found)),
        ("energy", _energy(found)),
        ("array cost", ", ".join(filter(None, map(_cost, found.array_costs)))),
        ("output", _output(found)),
        ("results", _results(found)),
    ]
    lines += [f"  {name:<10} {value}" for name, value in facts if value and value != "-"]
    lines += ["", paint("States", BOLD, bold)]
    events = [(moment(e.at_ms), e.state, e.detail) for e in found.events]
    lines.append(_indent(table(columns("WHEN STATE WHAT~"), events)))
    if found.attempts:
        lines += ["", paint("Attempts", BOLD, bold)]
        heads = columns("NO> WHERE~ SIZE~ STARTED ENDED HOW~")
        lines.append(_indent(table(heads, [_attempt(one) for one in found.attempts])))
    if found.files:
        lines += ["", paint("Results", BOLD, bold)]
        lines.append(_indent(table(columns("NAME~ SIZE>"), _files(found))))
    return lines


def _waits(found: JobDetail) -> str:
    """What it waits for at the site that has it, begun or not, as far as the site says."""
    there = found.job.state in AT_SITE and found.attempts
    return found.attempts[-1].why if there else ""


def _ending(job: JobView) -> str:
    if job.signal:
        return f", by signal {job.signal}"
    return f", exit code {job.exit_code}" if job.exit_code is not None else ""


def _cost(of: JobDetail | CostView) -> str:
    kind = f"{of.charged_type} hours"
    used = f"{show_hours(of.used_s)} {kind} ({of.used_s} s)" if of.used_s else ""
    held = f"{show_hours(of.held_s)} {kind} held" if of.held_s else ""
    return ", ".join(filter(None, (used, held)))


def _energy(found: JobDetail) -> str:
    """As the site recorded it; said to be unknown only where there was any use."""
    if found.energy_j is not None:
        return show_energy(found.energy_j)
    used = any(each.measured_by for each in found.attempts)
    return "unknown: its site records none" if used else ""


def _results(found: JobDetail) -> str:
    said = {"none": "", "pending": "on their way", "complete": show_count(len(found.files), "file")}
    return said.get(found.results, clean(found.results))


def _attempt(one: AttemptView) -> tuple[object, ...]:
    size = f"{show_count(one.cores_per_node, 'core')}, {one.memory_mb_per_node} MiB"
    if one.accelerators_per_node:
        size += f", {one.accelerators_per_node} {one.charged_type}"
    if one.nodes > 1:
        size = f"{show_count(one.nodes, 'node')} of {size}"
    how = " ".join(word for word in (one.end or "", one.why) if word) or "-"
    place = f"{one.site}/{one.partition}"
    return one.number, place, size, moment(one.start_ms), moment(one.end_ms), how


def _output(found: JobDetail) -> str:
    """Only what is missing: `logs` has the rest."""
    return ", ".join(
        f"{each.stream} was cut: the hub keeps its first {amount(each.size)}"
        for each in found.output
        if each.cut
    )


def _files(found: JobDetail) -> list[tuple[object, ...]]:
    return [(file.name, amount(file.size)) for file in found.files]


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


@click.command(
    epilog="""\b
Example:
  meyrin explain 17     why it waits, where else it could go, what would help
"""
)
@click.argument("job")
@asks_hub
def explain(session: Session, job: str) -> None:
    """Why a job waits or where it went, and what would help."""
    with session.client() as hub:
        found = hub.explain(job)
    if session.json:
        data_json(found.model_dump(mode="json"))
    else:
        data("\n".join(explained(found, session.now_s)))


def explained(found: ExplainView, now_s: int) -> list[str]:
    """An explanation in words: the sentence, the place, the other places, what helps."""
    lines = [clean(found.summary)]
    place = found.where
    if place and f"{place.site}/{place.partition}" not in found.summary:
        start = clock_time(place.expected_start_s, now_s)
        lines.append(f"  goes to {place.site}/{place.partition}, expected start {start}")
    went = found.state in {*AT_SITE, *ENDED, JobState.PLACED}  # the forecast is of that time
    for other in found.others:
        at_s = other.expected_start_s
        start = f"was {moment(at_s * 1000)}" if went else clock_time(at_s, now_s)
        lines.append(f"  or {other.site}/{other.partition}, expected start {start}")
    places: dict[str, list[str]] = {}  # a site's own no is the same words at each partition
    for refusal in found.refusals:
        place_name = "/".join(p for p in (refusal.site, refusal.partition) if p)
        places.setdefault(refusal.words, []).extend(filter(None, [place_name]))
    for words, names in places.items():
        lines.append(clean(f"  {', '.join(names) + ': ' if names else ''}{words}"))
    lines += [clean(f"  what helps: {way}") for way in found.helps]
    return lines


@click.command(
    epilog="""\b
Examples:
  meyrin cancel 17          a job, or every element of an array
  meyrin cancel 17_3 18     one element, and another job
"""
)
@click.argument("job_labels", metavar="JOB...", nargs=-1, required=True)
@asks_hub
def cancel(session: Session, job_labels: tuple[str, ...]) -> None:
    """End jobs: at once while they wait, through their site when they are there."""

    def end(hub: Client, label: str) -> dict[str, Any]:
        reply = hub.cancel(label)
        say(f"job {label}: {_cancelled(reply)}")
        return reply.model_dump(mode="json")

    _each(session, "cancelled", job_labels, end)


def _cancelled(reply: CancelReply) -> str:
    unreached = len(reply.unreached)
    counts = (
        (len(reply.ended), "ended"),
        (len(reply.asked) - unreached, "its site was asked to end it"),
        (
            unreached,
            f"its site is asked once it is heard again ({clean('; '.join(reply.unheard))})",
        ),
        (len(reply.already), "had ended already"),
    )
    several = len(reply.ended) + len(reply.asked) + len(reply.already) > 1
    said = [f"{n} {words}" if several else words for n, words in counts if n]
    return ", ".join(said) or "nothing to end"


@click.command(
    epilog="""\b
Example:
  meyrin submit --hold train.sh     kept, not placed
  meyrin release 17                 may be placed from now on
"""
)
@click.argument("job_labels", metavar="JOB...", nargs=-1, required=True)
@asks_hub
def release(session: Session, job_labels: tuple[str, ...]) -> None:
    """Let jobs go that were submitted with --hold."""

    def let_go(hub: Client, label: str) -> dict[str, Any]:
        released = hub.release(label)
        say(f"job {label}: released; `meyrin explain {label}` says where it goes")
        return {"released": released}

    _each(session, "released", job_labels, let_go)


def _each(session: Session, word: str, labels: tuple[str, ...], act: Any) -> None:
    """Do it for every job, past those where it fails, and say what `act` gave for each; the exit
    code is the first failure's. Several failures are each told once, as they come."""
    from meyrin.cli.main import report  # noqa: PLC0415 - main imports this module by name
    from meyrin.client.errors import as_body  # noqa: PLC0415

    done: dict[str, Any] = {}
    failures: list[MeyrinError] = []
    with session.client() as hub:
        for label in labels:
            try:
                done[label] = act(hub, label)
            except MeyrinError as error:
                if len(labels) == 1:
                    raise
                report(error, Session(environ=session.environ))
                failures.append(error)
    if session.json:
        data_json({word: done} if done else as_body(failures[0]))
    if failures:
        click.get_current_context().exit(exit_code(failures[0]))
