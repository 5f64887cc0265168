"""A script, a command line and the environment become one request.

Precedence is sbatch's: command line over SBATCH_ variables over #SBATCH lines; within one source
the later occurrence wins. Every value is read, also one that is overridden, and nothing is
dropped: what can't be honoured is a BadDirective with option, value, line and source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from meyrin.client.sbatch.directives import (
    Found,
    command_settings,
    environment_settings,
    foreign_line,
    script_settings,
)
from meyrin.client.sbatch.environment import exported
from meyrin.client.sbatch.resources import settle_gpus
from meyrin.client.sbatch.script import Script
from meyrin.client.sbatch.values import SCRIPT, Circumstances, Draft, misread, no_option
from meyrin.domain.errors import InvalidInput
from meyrin.domain.job import MAX_NAME, JobRequest, Resources

DEFAULT_OUTPUT = "slurm-%j.out"
DEFAULT_ARRAY_OUTPUT = "slurm-%A_%a.out"
RUN_SCRIPT = '#!/bin/sh\nexec "$@"\n'


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """What concerns the submitting command only. `inputs` are PATH or PATH=NAME as typed."""

    wait: bool = False
    parsable: bool = False
    test_only: bool = False
    quiet: bool = False
    verbose: bool = False
    inputs: tuple[str, ...] = ()
    idempotency_key: str | None = None
    json: bool = False
    dry_run: bool = False
    ignore_pbs: bool = False


@dataclass(frozen=True, slots=True)
class Submission:
    """The request, what the command itself was asked, and words for standard error."""

    request: JobRequest
    client: ClientOptions
    notes: tuple[str, ...] = ()


def script_name(argv: Sequence[str]) -> str | None:
    """The script that a command line names; None means --wrap or standard input."""
    rest = command_settings(argv)[1]
    return rest[0] if rest else None


def check_options(
    argv: Sequence[str], environ: Mapping[str, str], *, cwd: str, host: str, now_s: int
) -> None:
    """Refuse what a command line alone shows to be wrong, before anybody looks for the script:
    an option without its value takes the script's name for it."""
    _apply(Draft(Circumstances(environ, cwd, host, now_s)), command_settings(argv)[0])


def wants_wrap(argv: Sequence[str]) -> bool:
    """Whether the command line brings its command in --wrap and so needs no script."""
    return any(option.name == "wrap" for option, _ in command_settings(argv)[0])


def parse(
    script: Script | None,
    argv: Sequence[str],
    environ: Mapping[str, str],
    *,
    cwd: str,
    host: str,
    now_s: int,
) -> Submission:
    """What `sbatch ARGV` would submit. `argv` holds options, script name and its arguments.

    `script` is None where `wants_wrap` says so.
    """
    found, rest = command_settings(argv)
    draft = Draft(Circumstances(environ, cwd, host, now_s))
    if script is not None:
        _apply(draft, script_settings(script.text))
        draft.notes += script.notes
    _apply(draft, environment_settings(environ))
    _apply(draft, found)
    if draft.wrap is not None:
        if rest or script is not None:
            raise misread(
                draft.given["wrap"], "stands instead of a script", "leave out the one or the other"
            )
        return _to_a_file(_submission(draft, f"#!/bin/sh\n{draft.wrap}\n", "wrap", ()))
    if script is None:
        raise InvalidInput("no script is given", hint="name a script, or use --wrap=COMMAND")
    line = foreign_line(script.text)
    if line is not None and not draft.client.get("ignore_pbs"):
        word = script.text.split("\n")[line - 1].split()[0]
        hint = "write it as #SBATCH, or pass over such lines with --ignore-pbs"
        raise no_option(word, f"options in {word} lines can't be honoured", hint, SCRIPT, line)
    return _to_a_file(_submission(draft, script.text, script.name, tuple(rest[1:])))


def _to_a_file(found: Submission) -> Submission:
    """A script's output goes where sbatch(1) puts it, when nobody said otherwise."""
    request = found.request
    if request.stdout is not None:
        return found
    name = DEFAULT_ARRAY_OUTPUT if request.array else DEFAULT_OUTPUT
    return replace(found, request=replace(request, stdout=name))


def parse_command(
    argv: Sequence[str],
    command: Sequence[str],
    environ: Mapping[str, str],
    *,
    cwd: str,
    host: str,
    now_s: int,
) -> Submission:
    """The request of `meyrin run ARGV -- COMMAND …`: the same options, the exact command."""
    found, rest = command_settings(argv)
    if rest:
        raise InvalidInput(
            f"{rest[0]!r} is no option", hint="write the command after --: meyrin run -- COMMAND"
        )
    if not command or not command[0]:
        raise InvalidInput("no command is given", hint="write it after --: meyrin run -- COMMAND")
    command_settings(["--", *command])  # refuses what can't be sent
    draft = Draft(Circumstances(environ, cwd, host, now_s))
    _apply(draft, environment_settings(environ))
    _apply(draft, found)
    if draft.wrap is not None:
        raise misread(draft.given["wrap"], "a command follows already", "leave it out")
    name = "".join(char for char in command[0].rsplit("/", 1)[-1] if char.isprintable())
    if draft.request.get("array") is not None:
        raise InvalidInput(
            "run streams one job, not an array", hint="use `meyrin submit --array`", field="array"
        )
    return _submission(draft, RUN_SCRIPT, name[:MAX_NAME] or "run", tuple(command))


def _apply(draft: Draft, found: Iterable[Found]) -> None:
    """Read the settings of one source into the draft, in order."""
    for option, setting in found:
        if option.read is None:
            if setting.value is None or setting.value not in option.harmless:
                raise misread(setting, f"can't be honoured: {option.why}", option.way_out)
            continue
        if setting.value is not None and "\0" in setting.value:
            raise misread(setting, "a NUL byte", "remove it")
        try:
            option.read(draft, setting)
        except InvalidInput as error:
            raise misread(setting, error.message, error.hint) from error
        draft.given[setting.name] = setting


def _submission(draft: Draft, text: str, name: str, arguments: tuple[str, ...]) -> Submission:
    settle_gpus(draft)
    begin_s, deadline_s = draft.request.get("begin_s", 0), draft.request.get("deadline_s")
    if deadline_s is not None and deadline_s <= begin_s:
        raise misread(draft.given["deadline"], "comes before --begin", "write a later deadline")
    travels, about_export = exported(draft.export, draft.around.environ)
    if draft.resources.get("cores_per_task") == 1:  # said, which the number alone does not tell
        travels = tuple(sorted((*travels, ("SLURM_CPUS_PER_TASK", "1"))))
    request = JobRequest(
        script=text,
        arguments=arguments,
        resources=Resources(**draft.resources),
        environment=travels,
        submit_dir=draft.around.cwd,
        submit_host=draft.around.host,
        **{"name": name, **draft.request},
    )
    notes = (*draft.notes, *about_export)
    return Submission(request, ClientOptions(**draft.client), notes)
