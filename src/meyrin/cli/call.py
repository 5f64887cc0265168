"""`meyrin call`: the ways to get hours, and which of them fits."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meyrin.cli.lazy import Entry, LazyGroup
from meyrin.cli.reading import FILE
from meyrin.cli.session import Session, asks_hub
from meyrin.cli.table import columns, table
from meyrin.cli.terminal import clean, data, data_json, is_terminal, moment, say
from meyrin.domain.errors import InvalidInput, Refused

if TYPE_CHECKING:
    from meyrin.domain.units import NodeShape
    from meyrin.hub.calls.modes.route import Fit

HERE = "meyrin.cli.call"
ENTRIES = {
    "ask": Entry("meyrin.cli.asks:ask", "Ask for hours."),
    "list": Entry("meyrin.cli.asks:list_asks", "Your asks and where they stand."),
    "unsent": Entry("meyrin.cli.unsent:unsent", "Asks that you have not sent yet."),
    "show": Entry("meyrin.cli.asks:show", "One ask with its clock."),
    "withdraw": Entry("meyrin.cli.asks:withdraw", "Take an ask back."),
    "decide": Entry("meyrin.cli.asks:decide", "Grant or refuse an ask, with a reason."),
    "clock": Entry("meyrin.cli.asks:clock", "Stop or start the clock of an ask."),
    "clocks": Entry("meyrin.cli.asks:clocks", "How long asks really took."),
    "modes": Entry(f"{HERE}:modes", "The modes: who, how much, by when."),
    "route": Entry(f"{HERE}:route", "Three questions lead to a mode and sites, with reasons."),
}
KIND_WORDS = ("startup", "sme", "industry", "academic", "public")
PURPOSE_WORDS = ("try", "benchmark", "develop", "train", "science")
UNIT_WORDS = ("accelerator", "node", "core")
_NODE = re.compile(r"(\d{1,6})c(?:(\d{1,4})g)?", re.ASCII)


class Question(click.Option):
    """Asked in a terminal where it was not said, beside the data; elsewhere it is missing."""

    def prompt_for_value(self, ctx: click.Context) -> Any:
        if not is_terminal(sys.stdin):
            raise click.MissingParameter(ctx=ctx, param=self)
        return click.prompt(
            str(self.prompt),
            type=self.type,
            value_proc=lambda said: self.process_value(ctx, said),
            err=True,
        )


@click.group("call", cls=LazyGroup, entries=ENTRIES)
def group() -> None:
    """Ask for hours, decide asks, and see how long it takes.

    The ways to get hours are modes: data, one TOML file each. `meyrin call modes` shows a hub's,
    or those of a folder, for which no hub is needed.
    """


@click.command(
    "modes",
    epilog="""\b
Examples:
  meyrin call modes
  meyrin call modes --modes examples/modes
""",
)
@click.option("--modes", "mode_files", type=FILE, metavar="DIR",
              help="Folder of mode files; without it a hub is asked.")  # fmt: skip
@asks_hub
def modes(session: Session, mode_files: Path | None) -> None:
    """The modes of a hub, or of a folder: who may ask, how much, for how long, and by when.

    A folder's files are checked on the way.
    """
    if mode_files is None:
        with session.client() as hub:
            told = hub.calls.modes()
        if session.json:
            data_json(told.model_dump(mode="json"))
            return
        rows = [
            _row(
                (one.name, one.who, one.months, one.steps),
                (one.least_h, one.most_h, one.unit),
                (one.promise, one.counts, one.cut_off),
                [(gate.name, gate.percent) for gate in one.gates],
            )
            for one in told.modes
        ]
    else:
        from meyrin.hub.calls.modes.file import read_modes  # noqa: PLC0415 - not for --help

        found = read_modes(mode_files)
        if session.json:
            data_json({"modes": [mode.model_dump(mode="json") for mode in found]})
            return
        rows = [
            _row(
                (mode.name, mode.who, mode.months, [step.kind for step in mode.step]),
                (mode.size.least_h, mode.size.most_h, mode.size.unit),
                (mode.clock.promise, mode.clock.counts, bool(mode.clock.cutoffs)),
                [(gate.name, gate.percent) for gate in mode.gate],
            )
            for mode in found
        ]
    data(table(columns("MODE WHO~ SIZE> UNIT MONTHS ANSWER STEPS~ GATES~"), rows))


def _row(
    mode: tuple[str, Sequence[str], Sequence[int], Sequence[str]],
    size: tuple[int, int, str],
    clock: tuple[int, str, bool],
    gates: Sequence[tuple[str, int]],
) -> tuple[str, ...]:
    name, who, months, steps = mode
    least_h, most_h, unit = size
    return (
        name,
        ", ".join(who),
        f"{least_h:,}-{most_h:,}",
        f"{unit}-h",
        ", ".join(map(str, months)),
        _promise(*clock),
        " > ".join(steps),
        ", ".join(f"{percent} % at {gate}" for gate, percent in gates) or "-",
    )


@click.command(
    "route",
    epilog="""\b
Examples:
  meyrin call route --kind academic --purpose try --amount 100 --months 3 --type core
  meyrin call route --modes examples/modes --kind sme --purpose train \\
      --amount 60000 --months 6
  meyrin call route --modes examples/modes --kind academic --purpose science \\
      --amount 150000 --unit node --months 12 --json
What is not said is asked, in a terminal.
""",
)
@click.option("--modes", "mode_files", type=FILE, metavar="DIR",
              help="Folder of mode files; without it a hub is asked, for sites too.")  # fmt: skip
@click.option("--type", "charged_type", metavar="TYPE",
              help="What the hours are of: h100, core, ...; needed for a hub.")  # fmt: skip
@click.option("--project", default="", help="Whose hours; sites may take some projects alone.")
@click.option("--kind", cls=Question, type=click.Choice(KIND_WORDS), prompt="Who asks",
              help="Who asks.")  # fmt: skip
@click.option("--purpose", cls=Question, type=click.Choice(PURPOSE_WORDS), prompt="What for",
              help="What for.")  # fmt: skip
@click.option("--amount", cls=Question, type=click.IntRange(1, 10**10), prompt="How many hours",
              metavar="HOURS", help="How many hours.")  # fmt: skip
@click.option("--months", cls=Question, type=click.IntRange(1, 60), prompt="For how many months",
              metavar="N", help="For how many months.")  # fmt: skip
@click.option("--unit", type=click.Choice(UNIT_WORDS), default="accelerator", show_default=True,
              help="What the hours are of.")  # fmt: skip
@click.option("--node", metavar="SHAPE", help="The nodes meant, such as 32c4g: 32 cores, 4 GPUs.")
@asks_hub
def route(
    session: Session,
    /,
    mode_files: Path | None,
    charged_type: str | None,
    project: str,
    kind: Any,
    purpose: Any,
    amount: int,
    months: int,
    unit: str,
    node: str | None,
) -> None:
    """Which mode fits an ask, by when it is answered, and where its hours can be used; why the
    others do not fit.

    Ends with exit code 3 when none fits. Hours of nodes and of accelerators convert exactly once
    it is said which nodes are meant (--node).
    """
    from meyrin.domain.units import Unit  # noqa: PLC0415 - not for --help
    from meyrin.hub.calls.modes.file import read_modes  # noqa: PLC0415
    from meyrin.hub.calls.modes.route import Answers  # noqa: PLC0415
    from meyrin.hub.calls.modes.route import route as routed  # noqa: PLC0415

    if mode_files is None:
        if charged_type is None or node is not None:
            raise InvalidInput(
                "a hub is asked for one --type, and knows its nodes itself",
                hint="add --type TYPE (`meyrin site list` has them), or --modes DIR for mode files",
                field="--type",
            )
        said = (kind, purpose, amount, months, charged_type)
        _from_hub(session, said, unit=unit, project=project)
        return
    if charged_type is not None:
        raise InvalidInput("--type is for a hub, --modes for files", hint="use --node",
                           field="--type")  # fmt: skip
    answers = Answers(kind, purpose, amount, Unit(unit), months, _shape(node))
    fits = routed(read_modes(mode_files), answers, session.now_s)
    if session.json:
        data_json({"modes": [_as_data(fit) for fit in fits]})
    else:
        _tell(fits)
    if not fits[0].fits:
        raise _none_fits(fits[0].mode.name, fits[0].objections[0].words)


def _from_hub(
    session: Session, said: tuple[str, str, int, int, str], *, unit: str, project: str
) -> None:
    with session.client() as hub:
        found = hub.calls.route(*said, unit=unit, project=project)
    if session.json:
        data_json(found.model_dump(mode="json"))
    else:
        for each in found.modes:
            words = "; ".join(one.words for one in each.objections)
            if each.fits:
                by = "at once or in order" if each.due_s is None else moment(each.due_s * 1000)
                data(f"{each.mode}: answered by {by}" + (", to be paid for" if each.pays else ""))
            else:
                say(clean(f"not {each.mode}: {words}"))
        for place in found.places:
            data(f"at {place.site}/{place.partition}: {place.free:,} free now")
        for other in found.not_there:
            say(clean(f"not at {other.place}: {other.why}"))
    first = found.modes[0]
    if not first.fits:
        raise _none_fits(first.mode, first.objections[0].words)


def _none_fits(name: str, words: str) -> Refused:
    return Refused(
        f"no mode fits; the nearest is {name}: {words}",
        hint="change that answer, or ask for less, more, shorter or longer",
    )


def _tell(fits: tuple[Fit, ...]) -> None:
    from meyrin.hub.calls.modes.clock import shown  # noqa: PLC0415

    for fit in fits:
        if fit.fits and fit.promise is not None and fit.promise.due_s is not None:
            zone = fit.mode.clock.time_zone
            line = f"{fit.mode.name}: answered by {shown(fit.promise.due_s, zone)}"
            if fit.promise.cutoff_s is not None:
                assumed = " (date assumed)" if fit.mode.clock.assumed else ""
                line += f", cut-off {shown(fit.promise.cutoff_s, zone)}{assumed}"
            data(line + (", to be paid for" if fit.pays else ""))
        else:
            say(f"not {fit.mode.name}: " + "; ".join(each.words for each in fit.objections))


def _as_data(fit: Fit) -> dict[str, Any]:
    return {
        "mode": fit.mode.name,
        "fits": fit.fits,
        "due_s": fit.promise.due_s if fit.promise else None,
        "cutoff_s": fit.promise.cutoff_s if fit.promise else None,
        "cutoff_assumed": fit.mode.clock.assumed,
        "pays": fit.pays,
        "objections": [asdict(each) for each in fit.objections],
    }


def _promise(promise: int, counts: str, cut_off: bool) -> str:
    words = counts.replace("-", " ")
    if promise == 1:
        words = words.removesuffix("s")
    return f"{promise} {words}" + (" after cut-off" if cut_off else "")


def _shape(written: str | None) -> NodeShape | None:
    from meyrin.domain.units import NodeShape  # noqa: PLC0415

    if written is None:
        return None
    found = _NODE.fullmatch(written)
    if found is None or not int(found[1]):
        raise InvalidInput(
            f"--node can't be {written!r}",
            hint="write cores and GPUs of a node, such as 32c4g, or 128c without GPUs",
            field="node",
            value=written,
        )
    return NodeShape(int(found[1]), 1, int(found[2] or 0))
