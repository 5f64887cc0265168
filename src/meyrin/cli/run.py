"""`meyrin run`: a command as a job, with its output here and its exit code at the end.

Ctrl-C asks whether to cancel or detach. Where nobody can be asked, SIGINT cancels; SIGTERM
always does. Detaching leaves the job as it is and says how to come back.
"""

from __future__ import annotations

import sys
from itertools import takewhile
from typing import TYPE_CHECKING

import click

from meyrin.cli.raw import RawCommand
from meyrin.cli.session import Session, hub_options, pass_session
from meyrin.domain.errors import InvalidInput

if TYPE_CHECKING:
    from meyrin.client.api import Client
    from meyrin.client.sbatch import Submission
    from meyrin.wire.jobs import Accepted


@click.command(
    "run",
    cls=RawCommand,
    without=("array", "parsable"),  # one job, whose output is the command's own
    options_metavar="[RESOURCES] -- COMMAND [ARGUMENTS]...",
    epilog="""\b
Examples:
  meyrin run -- hostname
  meyrin run --gpus=1 --time=30 --input train.py -- python train.py --epochs 5
Standard input is not sent. The job's exit code is the command's; 128 + n for a signal n.
After detaching, or when this machine sleeps: `meyrin logs -f JOB`.
""",
)
@hub_options(hidden=True)
@pass_session
@click.pass_context
def command(context: click.Context, session: Session, argv: tuple[str, ...]) -> None:
    """Run a command as a job, stream its output, end with its exit code."""
    from meyrin.cli.handin import act  # noqa: PLC0415
    from meyrin.cli.streaming import Streaming  # noqa: PLC0415

    parsed = _read(session, argv)

    def stream(hub: Client, accepted: Accepted) -> int:
        quiet = parsed.client.quiet
        return Streaming(hub, str(accepted.job), session, sys.stdout.buffer, quiet=quiet).run()

    context.exit(act(session, parsed, stream))


def _read(session: Session, argv: tuple[str, ...]) -> Submission:
    from meyrin.cli.handin import here  # noqa: PLC0415
    from meyrin.client.sbatch import parse_command  # noqa: PLC0415

    session.json = "--json" in takewhile(lambda word: word != "--", argv)  # for what can't be read
    options, words = split_command(argv)
    session.json = "--json" in options
    parsed = parse_command(options, words, session.environ, **here(session))
    if parsed.client.parsable or (parsed.client.json and not _prints_data(parsed)):
        raise InvalidInput(
            "the output of run is the command's own", hint="use `meyrin submit` for data"
        )
    return parsed


def _prints_data(parsed: Submission) -> bool:
    return parsed.client.test_only or parsed.client.dry_run


def split_command(argv: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Options and command; `--` may be left out where the command is no option."""
    from meyrin.client.sbatch.directives import command_settings  # noqa: PLC0415

    _, words = command_settings(argv)
    options = list(argv[: len(argv) - len(words)])
    if options and options[-1] == "--":
        options.pop()
    return options, list(words)
