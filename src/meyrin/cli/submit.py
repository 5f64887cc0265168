"""`meyrin submit`: an sbatch script as it is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from meyrin.cli.exits import DONE, INTERRUPTED
from meyrin.cli.raw import RawCommand
from meyrin.cli.session import HUB_OPTION_NAMES, Session, hub_options, pass_session
from meyrin.cli.terminal import clean, data, data_json, is_terminal, say
from meyrin.domain.errors import InvalidInput, MeyrinError

if TYPE_CHECKING:
    from meyrin.client.api import Client
    from meyrin.client.sbatch import ClientOptions, Script, Submission
    from meyrin.wire.jobs import Accepted


@click.command(
    "submit",
    cls=RawCommand,
    options_metavar="[OPTIONS] SCRIPT [ARGUMENTS]...",
    epilog="""\b
Examples:
  meyrin submit train.sh                       prints: Submitted batch job 17
  meyrin submit --time=2:00:00 --gpus=1 train.sh --epochs 5
  meyrin submit --input data.csv --output-files 'model/*' train.sh
  meyrin submit --test-only train.sh           where and when it would start
  meyrin submit --wait train.sh                ends with the job's exit code
  echo hostname | meyrin submit --wrap "$(cat)"
Options stand before the script, as for sbatch; what follows it is the script's. Without SCRIPT,
or with `-`, the script is read from standard input. An option of sbatch that is not listed here
is refused by its name and line, with what to do instead.
Next: `meyrin logs -f JOB`, `meyrin explain JOB`, `meyrin fetch JOB`.
""",
)
@hub_options(hidden=True)
@pass_session
@click.pass_context
def command(context: click.Context, session: Session, argv: tuple[str, ...]) -> None:
    """Submit an sbatch script as it is.

    #SBATCH lines, SBATCH_ variables and options count with Slurm's own precedence.
    """
    from meyrin.cli.handin import act  # noqa: PLC0415

    argv = options_first(argv)
    session.json = "--json" in argv
    parsed = _read(session, argv)
    session.json = parsed.client.json
    _warn_of_late_options(argv, parsed)
    context.exit(act(session, parsed, lambda hub, accepted: _tell(hub, parsed.client, accepted)))


def options_first(argv: tuple[str, ...]) -> tuple[str, ...]:
    """`SCRIPT OPTIONS` as `OPTIONS SCRIPT`, where all that follows the script are options.

    sbatch would hand them to the script; one word among them that is no option of sbatch, or
    `--` before the script, and so do we.
    """
    from meyrin.client.sbatch.directives import command_settings  # noqa: PLC0415

    if len(argv) < 2 or argv[0].startswith("-") or not argv[1].startswith("-"):
        return argv
    try:
        _, words = command_settings(argv[1:])
    except InvalidInput:
        return argv
    if words or "--" in argv:
        return argv
    name = clean(argv[0])
    say(f"note: read as options of submit; for the script write: meyrin submit -- {name} …")
    return (*argv[1:], argv[0])


def _read(session: Session, argv: tuple[str, ...]) -> Submission:
    from meyrin.cli.handin import here  # noqa: PLC0415
    from meyrin.client.sbatch import (  # noqa: PLC0415
        check_options,
        parse,
        script_name,
        wants_wrap,
    )

    place = here(session)
    check_options(argv, session.environ, **place)
    script = None if wants_wrap(argv) else _script(session, script_name(argv))
    return parse(script, argv, session.environ, **place)


def _script(session: Session, name: str | None) -> Script:
    from meyrin.cli.handin import folder  # noqa: PLC0415
    from meyrin.client.sbatch import find_script, read_script  # noqa: PLC0415

    if name in {None, "-"}:
        if is_terminal(sys.stdin):
            say("reading the script from the terminal; end it with Ctrl-D")
        return read_script(None, sys.stdin.buffer)
    search = session.environ.get("PATH", "")
    return read_script(find_script(str(name), str(folder()), search))


def _warn_of_late_options(argv: tuple[str, ...], parsed: Submission) -> None:
    """Options after the script go to the script, as with sbatch; that is easily overlooked.

    One that names another hub is refused: the job would be made, and charged, at the wrong one.
    """
    from meyrin.client.sbatch.options import BY_NAME, OWN_BY_NAME  # noqa: PLC0415

    if "--" in argv:
        return
    known = HUB_OPTION_NAMES | {f"--{name}" for name in (*BY_NAME, *OWN_BY_NAME)}
    for word in parsed.request.arguments:
        name = word.partition("=")[0]
        if name == "--hub":
            raise InvalidInput(
                "--hub stands after the script",
                hint="write it first: meyrin submit --hub=URL SCRIPT; where it is the script's:"
                " meyrin submit -- SCRIPT --hub ...",
                field="--hub",
            )
        if name in known and not parsed.client.quiet:
            say(
                clean(
                    f"note: {name} stands after the script, so the script gets it; "
                    f"for submit itself write it before the script"
                )
            )


def _tell(hub: Client, asked: ClientOptions, accepted: Accepted) -> int:
    label = str(accepted.job)
    if not asked.json:
        if asked.parsable or not asked.quiet:
            data(label if asked.parsable else f"Submitted batch job {label}")
        if accepted.again and not asked.quiet:
            say(f"note: job {label} was submitted before with this key")
        if not (asked.quiet or asked.parsable or asked.wait):
            _say_where(hub, label)
    answer = {"label": label, **accepted.model_dump(mode="json")}
    status = DONE
    if asked.wait:
        status, ending = _wait(hub, label)
        answer |= ending
    if asked.json:
        data_json(answer)
    return status


def _say_where(hub: Client, label: str) -> None:
    """Where it went or why it waits; the job is safe, so no trouble here is worth an error."""
    try:
        say(f"job {label}: {clean(hub.explain(label).summary)}")
    except (MeyrinError, KeyboardInterrupt):
        say(f"next: `meyrin explain {label}`")


def _wait(hub: Client, label: str) -> tuple[int, dict[str, object]]:
    from meyrin.client.ways import way_back  # noqa: PLC0415

    try:
        with way_back(label):
            ended = hub.wait(label)
            status = hub.exit_status(ended)
    except KeyboardInterrupt:
        say(f"job {label} goes on; `meyrin logs -f {label}` comes back to it")
        return INTERRUPTED, {"state": "unknown", "exit_status": None}
    if ended.job.reason and status:
        say(clean(f"job {label} {ended.job.shown}: {ended.job.reason}"))
    state = "array" if ended.array else ended.job.state
    return status, {"state": state, "exit_status": status}
