"""For notebooks and small programs: `meyrin.submit("train.sh", time="10:00", gpus=1)`.

The hub is found as the command line finds it. Options are sbatch's long names.
"""

from __future__ import annotations

import codecs
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from meyrin.client.api import Client, new_key
from meyrin.client.cut import cut_words
from meyrin.client.follow import Change, Output, Stream
from meyrin.client.inputs import input_files
from meyrin.client.sbatch import Script, Submission, parse, parse_command, read_script
from meyrin.domain.errors import InvalidInput
from meyrin.domain.job import JobRequest
from meyrin.wire.jobs import Accepted, ExplainView, JobDetail


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
        return self.client.job(self.label).job.shown

    def detail(self) -> JobDetail:
        return self.client.job(self.label)

    def wait(self) -> int:
        """Wait for the end and return the exit code that a shell would see."""
        return self.client.exit_status(self.client.wait(self.label))

    def follow(self, stream: Stream = "stdout") -> Iterator[Output | Change]:
        return self.client.follow(self.label, stream)

    def output(self, stream: Stream = "stdout") -> str:
        return self.client.output(self.label, stream).decode(errors="replace")

    def explain(self) -> ExplainView:
        return self.client.explain(self.label)

    def cancel(self) -> None:
        self.client.cancel(self.label)

    def fetch(self, into: str | Path, names: Sequence[str] = ()) -> list[Path]:
        return self.client.fetch(self.label, into, names)


def submit(
    script: str | Path, *arguments: str, client: Client | None = None, **options: Any
) -> Job:
    """Submit a script: a path, or the text itself when it starts with `#!`.

    `time="10:00"` is `--time=10:00`, `hold=True` is `--hold`, a list repeats the option.
    """
    inline = isinstance(script, str) and script.startswith("#!")
    source = str(script).encode() if inline else Path(script)
    read = read_script(source)
    argv = [*_options(options), "--", "script" if inline else str(script), *_words(arguments)]
    parsed = parse(_named(read, inline), argv, os.environ, **_here())
    return _hand_in(parsed, client)


def run(command: Sequence[str], *, client: Client | None = None, **options: Any) -> int:
    """Run a command as a job, print its output as it comes, and return its exit code."""
    if isinstance(command, str):
        raise InvalidInput("a command is a list of words", hint='write ["python", "train.py"]')
    parsed = parse_command(_options(options), _words(command), os.environ, **_here())
    job = _hand_in(parsed, client)
    decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
    for event in job.follow():
        if isinstance(event, Output):
            sys.stdout.write(decode(event.data))
        elif event.cut_bytes is not None:
            print(cut_words(job.label, "stdout", event.cut_bytes), file=sys.stderr)  # noqa: T201
    return job.wait()


def send_inputs(client: Client, request: JobRequest, typed: Sequence[str], cwd: Path) -> JobRequest:
    """The request with its inputs, after the hub has them."""
    files = tuple(client.upload(path, name) for path, name in input_files(typed, cwd))
    return replace(request, inputs=(*request.inputs, *files))


def _hand_in(parsed: Submission, client: Client | None) -> Job:
    hub = client or Client.from_environment()
    request = send_inputs(hub, parsed.request, parsed.client.inputs, Path.cwd())
    accepted: Accepted = hub.submit(request, parsed.client.idempotency_key or new_key())
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
    argv = []
    for name, value in options.items():
        option = "--" + name.rstrip("_").replace("_", "-")
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if one is True:
                argv.append(option)
            elif one is not False and one is not None:
                argv.append(f"{option}={one}")
    return argv
