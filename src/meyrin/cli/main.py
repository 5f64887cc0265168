"""The command `meyrin`: the table of its commands, and how each call ends.

Never loads a command's module before it is called; errors become words, a hint and an exit code
here and nowhere else. With `--json` an error is also one JSON object on standard output, in the
hub's own shape, so that a program always reads exactly one object.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from itertools import takewhile

import click

import meyrin
from meyrin.cli.exits import DONE, FAILED, INTERRUPTED, exit_code
from meyrin.cli.lazy import Entry, LazyGroup
from meyrin.cli.session import Session, hub_options
from meyrin.cli.terminal import BOLD, RED, clean, colourful, data_json, paint, ready_streams, say
from meyrin.domain.errors import InvalidInput, MeyrinError, Refused

WORK = "Your jobs"
START = "Start here"
PLAN = "Planning"
RUN_IT = "Administration"
TEST = "Testing models"
SERVE = "Processes"

COMMANDS = {
    "submit": Entry("meyrin.cli.submit:command", "Submit an sbatch script as it is.", WORK),
    "run": Entry("meyrin.cli.run:command", "Run a command and stream its output.", WORK),
    "jobs": Entry("meyrin.cli.jobs:jobs", "List your jobs, newest first.", WORK),
    "show": Entry("meyrin.cli.jobs:show", "Everything about one job.", WORK),
    "logs": Entry("meyrin.cli.logs:command", "A job's output; -f follows it.", WORK),
    "explain": Entry("meyrin.cli.jobs:explain", "Why a job waits, and what helps.", WORK),
    "cancel": Entry("meyrin.cli.jobs:cancel", "End jobs.", WORK),
    "release": Entry("meyrin.cli.jobs:release", "Let held jobs go.", WORK),
    "fetch": Entry("meyrin.cli.fetch:command", "Bring a job's results here.", WORK),
    "login": Entry("meyrin.cli.login:login", "Log in: a link for the pages, or a hub.", START),
    "whoami": Entry("meyrin.cli.login:whoami", "Who you are at which hub.", START),
    "completion": Entry("meyrin.cli.completion:command", "Completion for your shell.", START),
    "replay": Entry("meyrin.cli.replay:command", "A recorded workload through a cluster.", PLAN),
    "plan": Entry("meyrin.cli.plan:group", "Studies: what options would change.", PLAN),
    "facility": Entry("meyrin.cli.facility:group", "A hub's sites as a planner's file.", PLAN),
    "trace": Entry("meyrin.cli.trace:group", "Recorded workloads: what a log holds.", PLAN),
    "suite": Entry("meyrin.cli.suite:group", "Test a model, as a job or here.", TEST),
    "evidence": Entry("meyrin.cli.evidence:group", "Check what a test left behind.", TEST),
    "site": Entry("meyrin.cli.site:group", "Sites and what they lend.", RUN_IT),
    "call": Entry("meyrin.cli.call:group", "Ways to get hours, and which fits.", RUN_IT),
    "award": Entry("meyrin.cli.award:group", "Awards from elsewhere, in and out.", RUN_IT),
    "project": Entry("meyrin.cli.project:group", "Projects, members, grants.", RUN_IT),
    "gate": Entry("meyrin.cli.gate:group", "More hours on evidence: plans, verdicts.", RUN_IT),
    "ledger": Entry("meyrin.cli.ledger:group", "Entries, statements, verification.", RUN_IT),
    "person": Entry("meyrin.cli.people:person", "People of this hub.", RUN_IT),
    "role": Entry("meyrin.cli.roles:group", "Who may do what.", RUN_IT),
    "terms": Entry("meyrin.cli.terms:group", "What sites ask of you.", RUN_IT),
    "organisation": Entry("meyrin.cli.people:organisation", "Whose people come in.", RUN_IT),
    "audit": Entry("meyrin.cli.audit:group", "Who did what, and its proof.", RUN_IT),
    "store": Entry("meyrin.cli.store:group", "What the content store holds.", RUN_IT),
    "token": Entry("meyrin.cli.people:token", "Your tokens for programs.", RUN_IT),
    "up": Entry("meyrin.cli.up:command", "Start the hub, with a site on this machine.", SERVE),
    "agent": Entry("meyrin.cli.agent:command", "Run the agent of a site.", SERVE),
}

HELP = """Many clusters, each under its own rules, as one research computing facility.

\b
A first job, from nothing:
  meyrin up                                 (in another terminal)
  meyrin run --time=5 -- python3 -c 'print(6 * 7)'

\b
Exit codes: 0 done, 1 failed, 2 usage, 3 refused, 4 not allowed,
5 not found, 6 unreachable; run and submit --wait end with the job's own.
"""


@click.group(
    "meyrin",
    cls=LazyGroup,
    entries=COMMANDS,
    help=HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`meyrin COMMAND --help` shows examples.",
    subcommand_metavar="COMMAND ...",
)
@click.version_option(meyrin.__version__, message="meyrin %(version)s")
@hub_options(hidden=False)
def cli() -> None:
    pass


def main() -> None:
    """The entry point."""
    ready_streams()
    sys.exit(run(sys.argv[1:], Session()))


def run(argv: Sequence[str], session: Session) -> int:
    """One call of `meyrin ARGV`; returns the exit code."""
    try:
        ended = cli.main(list(argv), prog_name="meyrin", standalone_mode=False, obj=session)
    except MeyrinError as error:
        report(error, session)
        return exit_code(error)
    except click.ClickException as error:
        words = io.StringIO()
        error.show(words)
        say(words.getvalue().rstrip())
        if session.json or "--json" in takewhile(lambda word: word != "--", argv):
            _as_data(InvalidInput(error.format_message()))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        say("interrupted")
        return INTERRUPTED
    except OSError as error:
        return _outside(error)
    except ValueError as error:
        wrong = _of_the_wire(error)
        if wrong is None:
            raise
        report(wrong, session)
        return exit_code(wrong)
    return ended if isinstance(ended, int) else DONE


def _of_the_wire(error: ValueError) -> InvalidInput | None:
    """A value that no call may carry, as an error that names it; None for any other fault."""
    if isinstance(error, UnicodeEncodeError):
        shown = ascii(str(error.object)[:60])
        return InvalidInput(f"{shown} is not valid UTF-8", hint="type it anew")
    from pydantic import ValidationError  # noqa: PLC0415 - only on the way to an error

    if not isinstance(error, ValidationError):
        return None
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return InvalidInput(
        f"{field} can't be {str(first['input'])[:60]!r}", hint=first["msg"], field=field
    )


def _outside(error: OSError) -> int:
    """A file or stream that can't be used; nobody reading on is no fault worth words."""
    if not isinstance(error, BrokenPipeError):
        say(f"meyrin: {error.filename or 'a stream'}: {error.strerror or error}")
    try:
        sys.stdout.flush()
    except OSError:  # what is left there would change the exit code at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


def report(error: MeyrinError, session: Session) -> None:
    """What went wrong, each reason, the way out; and as data where data was asked for."""
    colour = colourful(session.environ, sys.stderr)
    say(f"{paint('meyrin:', RED, colour)} {_lines(error.message)}")
    shown = error.refusals if isinstance(error, Refused) else ()
    if len(shown) > 1:
        for refusal in shown[:10]:
            place = "/".join(part for part in (refusal.site, refusal.partition) if part)
            clash = _clash(refusal.asked, refusal.limit)
            say(clean(f"  {place or 'anywhere'}: {refusal.reason}{clash}"))
    if error.hint:
        say(f"{paint('hint:', BOLD, colour)} {_lines(error.hint)}")
    if session.json:
        _as_data(error)


def _as_data(error: MeyrinError) -> None:
    """One object; where it can't be written, the words and the error's exit code stand."""
    from meyrin.client.errors import as_body  # noqa: PLC0415

    try:
        data_json(as_body(error))
    except OSError as full:
        _outside(full)


def _clash(asked: object, limit: object) -> str:
    if asked is None and limit is None:
        return ""
    limit = "none" if limit == "" else limit
    return f" (asked {asked}, limit {limit})" if asked is not None else f" (limit {limit})"


def _lines(text: str) -> str:
    return "\n".join(clean(line) for line in text.splitlines())


if __name__ == "__main__":
    main()
