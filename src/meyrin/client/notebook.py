"""For notebooks and small programs: `meyrin.submit("train.sh", time="10:00", gpus=1)`.

The hub is found as the command line finds it. Options are sbatch's long names, less those that
concern the command line alone.
"""

from __future__ import annotations

import codecs
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any, TextIO

from meyrin.client.api import Client
from meyrin.client.cut import cut_words
from meyrin.client.follow import Change, Output, Stream
from meyrin.client.inputs import input_files
from meyrin.client.results import counted
from meyrin.client.sbatch import Script, Submission, parse, parse_command, read_script
from meyrin.client.sbatch.directives import command_settings
from meyrin.client.streams import follow_both
from meyrin.client.ways import way_back
from meyrin.domain.errors import InvalidInput
from meyrin.domain.job import JobRequest
from meyrin.wire.jobs import Accepted, ExplainView, JobDetail

_NOTHING_IS_PRINTED = "leave it out: nothing is printed"
_OF_THE_COMMAND = {
    "dry-run": "`meyrin submit --dry-run` shows the request; meyrin.forecast says where it goes",
    "json": _NOTHING_IS_PRINTED,
    "parsable": _NOTHING_IS_PRINTED,
    "quiet": _NOTHING_IS_PRINTED,
    "test-only": "call meyrin.forecast with the same script and options",
    "verbose": _NOTHING_IS_PRINTED,
    "wait": "leave it out: `job.wait()` waits for what submit gives, and run waits in any case",
}


@dataclass(frozen=True, slots=True)
class Job:
    """A submitted job; every look asks the hub anew."""

    client: Client
    label: str
    elements: int = 1

    def __repr__(self) -> str:
        return f"<meyrin job {self.label}: {self.state}>"

    @property
    def state(self) -> str:
        """Its state; where elements of an array differ, how many are in which."""
        found = self.client.job(self.label)
        if not found.array:
            return found.job.shown
        return counted(found.array) if len(found.array) > 1 else next(iter(found.array))

    def detail(self) -> JobDetail:
        return self.client.job(self.label)

    def element(self, index: int) -> Job:
        """The element of this array whose SLURM_ARRAY_TASK_ID is `index`."""
        return Job(self.client, f"{self.label}_{index}")

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the end and return the exit code that a shell would see.

        Raises TimeoutError when the end has not come after `timeout_s`; the job goes on.
        """
        with way_back(self.label):
            return self.client.exit_status(self.client.wait(self.label, timeout_s))

    def follow(self, stream: Stream = "stdout") -> Iterator[Output | Change]:
        return self._come_back(self.client.follow(self._one(), stream))

    def output(self, stream: Stream = "stdout") -> str:
        label = self._one()
        with way_back(label):
            return self.client.output(label, stream).decode(errors="replace")

    def _come_back(self, events: Iterator[Output | Change]) -> Iterator[Output | Change]:
        with way_back(self.label):
            yield from events

    def _one(self) -> str:
        """The label; InvalidInput for an array, whose elements have an output each."""
        if self.elements > 1:
            raise InvalidInput(
                f"job {self.label} is an array, and each of its {self.elements} elements has its "
                "own output",
                hint="ask one by its index, such as job.element(0).output()",
            )
        return self.label

    def explain(self) -> ExplainView:
        return self.client.explain(self.label)

    def cancel(self) -> None:
        self.client.cancel(self.label)

    def fetch(self, into: str | Path, names: Sequence[str] = ()) -> list[Path]:
        """Bring its results into a folder, those of an array into one for each element."""
        with way_back(self.label):
            return self.client.fetch(self.label, into, names)


def submit(
    script: str | Path, *arguments: str, client: Client | None = None, **options: Any
) -> Job:
    """Submit a script: a path, or the text itself when it starts with `#!`.

    `time="10:00"` is `--time=10:00`, `hold=True` is `--hold`, a list repeats the option. What the
    command line alone knows, such as `--wait` or `--test-only`, is refused.
    """
    return _hand_in(_submission(script, arguments, options), client)


def forecast(
    script: str | Path, *arguments: str, client: Client | None = None, **options: Any
) -> ExplainView:
    """Where and when this script would start, and why; nothing is kept."""
    parsed = _submission(script, arguments, options)
    return (client or Client.from_environment()).forecast(parsed.request)


def run(command: Sequence[str], *, client: Client | None = None, **options: Any) -> int:
    """Run a command as a job, print what it prints as it comes, and return its exit code."""
    if isinstance(command, str):
        raise InvalidInput("a command is a list of words", hint='write ["python", "train.py"]')
    parsed = parse_command(_options(options), _words(command), os.environ, **_here())
    job = _hand_in(parsed, client)
    sinks: dict[Stream, TextIO] = {"stdout": sys.stdout, "stderr": sys.stderr}
    decoders = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in sinks}
    with way_back(job.label):
        for told in follow_both(job.client, job.label):
            stream, event = told.stream, told.event
            if isinstance(event, Output):
                sinks[stream].write(decoders[stream].decode(event.data))
                sinks[stream].flush()
            elif event.ended:
                sinks[stream].write(decoders[stream].decode(b"", final=True))
                if event.cut_bytes is not None:
                    words = cut_words(job.label, stream, event.cut_bytes)
                    print(words, file=sys.stderr)  # noqa: T201
    return job.wait()


def send_inputs(client: Client, request: JobRequest, typed: Sequence[str], cwd: Path) -> JobRequest:
    """The request with its inputs, after the hub has them."""
    files = tuple(client.upload(path, name) for path, name in input_files(typed, cwd))
    return replace(request, inputs=(*request.inputs, *files))


def _submission(
    script: str | Path, arguments: Sequence[str], options: dict[str, Any]
) -> Submission:
    if not isinstance(script, str | os.PathLike):
        raise InvalidInput(
            f"a script can't be {script!r:.60}",
            hint="give its path, or its text, which starts with #!",
            field="script",
        )
    inline = isinstance(script, str) and script.startswith("#!")
    source = str(script).encode() if inline else Path(script)
    read = read_script(source)
    argv = [*_options(options), "--", "script" if inline else str(script), *_words(arguments)]
    parsed = parse(_named(read, inline), argv, os.environ, **_here())
    if parsed.client.test_only:
        raise _of_the_command("test-only", "the script says --test-only, and so submits nothing")
    return parsed


def _hand_in(parsed: Submission, client: Client | None) -> Job:
    hub = client or Client.from_environment()
    request = send_inputs(hub, parsed.request, parsed.client.inputs, Path.cwd())
    accepted: Accepted = hub.submit(request, parsed.client.idempotency_key)
    return Job(hub, str(accepted.job), accepted.elements)


def _named(script: Script, inline: bool) -> Script:
    return replace(script, name="notebook") if inline else script


def _here() -> dict[str, Any]:
    return {"cwd": str(Path.cwd()), "host": socket.gethostname(), "now_s": int(time.time())}


def _words(words: Sequence[str | os.PathLike[str]]) -> list[str]:
    """A command's words, paths among them as text; raises InvalidInput for what is no text."""
    for word in words:
        if not isinstance(word, str | os.PathLike):
            raise InvalidInput(f"{word!r} is no word of a command", hint=f'write it as "{word}"')
    return [os.fspath(word) for word in words]


def _options(options: dict[str, Any]) -> list[str]:
    """Options as a command line has them; raises InvalidInput for those of the command alone."""
    argv = []
    for name, value in options.items():
        option = "--" + name.rstrip("_").replace("_", "-")
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if one is True:
                argv.append(option)
            elif one is not False and one is not None:
                if not isinstance(one, str | os.PathLike | Real):
                    raise InvalidInput(
                        f"{name} can't be {one!r:.60}",
                        hint="write it as text, as on a command line, or as a number",
                        field=name,
                    )
                argv.append(f"{option}={one}")
    for found, _ in command_settings(argv)[0]:
        if found.name in _OF_THE_COMMAND:
            raise _of_the_command(found.name, f"a call takes no {found.name.replace('-', '_')}")
    return argv


def _of_the_command(name: str, message: str) -> InvalidInput:
    return InvalidInput(message, hint=_OF_THE_COMMAND[name], field=name.replace("-", "_"))
