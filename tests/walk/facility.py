"""A real facility for the tests: a hub and agents, each a process that may be killed.

Everything started here carries a mark in its environment, which keepers and jobs inherit. A small
reaper, held by a pipe, kills all that bear the mark when the test ends, however it ends.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path

import httpx2

from meyrin import Client
from meyrin.domain.job import JobRequest, Resources
from meyrin.domain.site import OwnerShare
from meyrin.wire.ledger import NewAward

MARK = "MEYRIN_WALK_TEST"
PATIENCE_S = 200.0  # generous: nothing here waits by the clock
FAR_S = 4_000_000_000  # a date that no test reaches
PARTITION = {
    "name": "main",
    "nodes": 1,
    "cores_per_node": 8,
    "memory_mb_per_node": 8000,
    "max_walltime_s": 3600,
    "default_walltime_s": 60,
}
_REAPER = """
import os, sys, signal, time
sys.stdin.buffer.read()
mark = sys.argv[1].encode()
end = time.monotonic() + 30
while time.monotonic() < end:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    marked = mark in file.read().split(b"\\0")
                with open(f"/proc/{name}/stat", "rb") as file:
                    dead = file.read().rpartition(b")")[2].split()[0] == b"Z"
            except OSError:
                continue
            if marked and not dead:
                found.append(int(name))
    if not found:
        break
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    time.sleep(0.02)
"""


class Missing(AssertionError):
    """Something did not come; the message says what."""


def wait_for(look: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> None:
    """Until `look` returns something true; a string that it returns says what is missing."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found and not isinstance(found, str):
            return
        if time.monotonic() > end:
            raise Missing(f"after {seconds:.0f} s still waiting for {what}: {found or 'nothing'}")
        time.sleep(0.05)


@dataclass
class Process:
    """One program of the facility: started, killed, started again."""

    arguments: list[str]
    environ: dict[str, str]
    log: Path
    running: subprocess.Popen[bytes] | None = None
    preexec: Callable[[], None] | None = None
    python: str = sys.executable

    def start(self) -> subprocess.Popen[bytes]:
        assert self.running is None, "it runs already"
        with self.log.open("ab") as err:
            self.running = subprocess.Popen(
                [self.python, "-m", "meyrin", *self.arguments],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=err,
                start_new_session=True,
                preexec_fn=self.preexec,  # noqa: PLW1509 - sets a limit, takes no lock
            )
        return self.running

    def signal(self, number: int) -> None:
        assert self.running is not None
        self.running.send_signal(number)

    def ended(self, seconds: float = PATIENCE_S) -> int:
        """Wait for its end; the exit code."""
        assert self.running is not None
        try:
            return self.running.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Missing(f"{self.arguments} did not end within {seconds:.0f} s") from None
        finally:
            if self.running.returncode is not None:
                assert self.running.stdout is not None
                self.running.stdout.close()
                self.running = None

    def kill(self) -> None:
        """As if the power of this process was cut."""
        self.signal(signal.SIGKILL)
        self.ended()

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""


@dataclass
class Hub:
    """`meyrin up`; always on the same port after its first start."""

    folder: Path
    environ: dict[str, str]
    options: list[str] = field(default_factory=list)
    port: int = 0
    preexec: Callable[[], None] | None = None
    process: Process = field(init=False)

    def __post_init__(self) -> None:
        self.process = Process([], self.environ, self.folder.with_suffix(".err"))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def launch(self) -> None:
        """Start it without waiting for its address."""
        where = ["--dir", str(self.folder), "--port", str(self.port)]
        self.process.arguments = ["up", *where, "--quiet", *self.options]
        self.process.preexec = self.preexec
        self.process.start()

    def start(self) -> None:
        """Start it and wait until it serves."""
        self.launch()
        address = first_line(self.process)
        self.port = int(address.rpartition(":")[2])

    def kill(self) -> None:
        self.process.kill()

    def secret(self) -> str:
        return str(json.loads((self.folder / "client.json").read_text())["token"])

    def page(self, path: str) -> str:
        """A page as its reader has it, without its marks."""
        headers = {"Authorization": f"Bearer {self.secret()}", "Accept": "text/html"}
        answer = httpx2.get(f"{self.url}{path}", headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())

    @contextmanager
    def client(self, tries: int = 400) -> Iterator[Client]:
        """A client that outlasts deaths of the hub by repeating the same call."""
        client = Client(self.url, self.secret(), tries=tries, pause=_short_pause)
        try:
            yield client
        finally:
            client.close()


def _short_pause(seconds: float) -> None:
    time.sleep(min(seconds, 0.2))


def first_line(process: Process, seconds: float = PATIENCE_S) -> str:
    """What a program prints first; Missing, with its last words, when it prints nothing."""
    assert process.running is not None
    assert process.running.stdout is not None
    ready, _, _ = select.select([process.running.stdout], [], [], seconds)
    line = process.running.stdout.readline().decode().strip() if ready else ""
    if not line:
        raise Missing(f"{process.arguments} said nothing: {process.said()[-2000:]}")
    return line


@dataclass
class Agent:
    """`meyrin agent` of one site, with its keeper."""

    name: str
    folder: Path
    environ: dict[str, str]
    preexec: Callable[[], None] | None = None
    process: Process = field(init=False)

    def __post_init__(self) -> None:
        arguments = ["agent", "--config", str(self.folder / "agent.toml")]
        log = self.folder.with_suffix(".err")
        self.process = Process(arguments, self.environ, log, preexec=self.preexec)

    def configure(self, url: str, secret: str, *, share_files: bool, **partition: object) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        credential = self.folder / "credential"
        credential.write_text(secret)
        credential.chmod(0o600)
        shape = PARTITION | partition
        lines = [
            f'hub = "{url}"',
            'credential_file = "credential"',
            'dir = "."',
            "grace_s = 1",
            f"share_files = {'true' if share_files else 'false'}",
            "[[partition]]",
            *(f"{name} = {json.dumps(value)}" for name, value in shape.items()),
        ]
        (self.folder / "agent.toml").write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        running = self.process.start()
        assert running.stdout is not None
        running.stdout.close()  # whatever it logs there, it must not need a reader

    def kill(self) -> None:
        self.process.kill()

    def keeper(self) -> int | None:
        """The keeper's process id, asked of the kernel; None when none listens."""
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            found.connect(_short(self.folder / "batch" / "socket"))
            peer = found.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        except OSError:
            return None
        finally:
            found.close()
        return int(struct.unpack("iII", peer)[0])


def _short(path: Path) -> str:
    """A Unix socket's path ends at 107 bytes."""
    return os.path.relpath(path) if len(str(path)) > 100 else str(path)


def parent_of(pid: int) -> int:
    words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return int(words[1])


@dataclass
class Facility:
    """A hub, its agents, and what a test asks of them."""

    root: Path
    database_url: str
    mark: str
    reaper: subprocess.Popen[bytes]
    hub: Hub = field(init=False)
    agents: dict[str, Agent] = field(default_factory=dict)

    def __post_init__(self) -> None:
        options = ["--no-local-site"]
        self.hub = Hub(
            self.root / "hub", self.environ(MEYRIN_HUB_DB_URL=self.database_url), options
        )

    def environ(self, **more: str) -> dict[str, str]:
        """This process's environment without Meyrin's own settings, with the mark."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("MEYRIN_")}
        return clean | {MARK: self.mark} | more

    def agent(self, name: str, *, share_files: bool = False, **partition: object) -> Agent:
        """Enrol a site whose whole partition is lent; its agent is not started yet."""
        agent = Agent(name, self.root / name, self.environ())
        with self.hub.client() as client:
            made = client.sites.enrol(name)
            client.sites.offer(name, "main", [OwnerShare("ours", 1)])
        agent.configure(self.hub.url, made.agent_secret, share_files=share_files, **partition)
        self.agents[name] = agent
        return agent

    def grant(self, amount_s: int, project: str = "home", charged_type: str = "core") -> None:
        with self.hub.client() as client:
            client.ledger.award(
                NewAward(
                    key=secrets.token_hex(8),
                    project=project,
                    charged_type=charged_type,
                    amount_s=amount_s,
                    end_s=FAR_S,
                    reason="for the test",
                )
            )

    def joined(self, *names: str) -> None:
        """Wait until these sites' agents have said hello."""
        with self.hub.client() as client:
            for name in names:
                wait_for(
                    lambda name=name: client.sites.show(name).site.last_heard_ms is not None,
                    f"the agent of {name}: {self.agents[name].process.said()[-500:]}",
                )

    def meyrin(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        given: bytes = b"",
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """The real command line, as a person at this hub."""
        environ = self.environ(MEYRIN_DIR=str(self.hub.folder)) | dict(env or {})
        done = subprocess.run(
            [sys.executable, "-m", "meyrin", *arguments],
            env=environ,
            input=given,
            capture_output=True,
            timeout=PATIENCE_S,
            cwd=cwd or self.root,
            check=False,
        )
        out, err = done.stdout.decode(), done.stderr.decode()
        return subprocess.CompletedProcess(arguments, done.returncode, out, err)

    def marked(self) -> list[int]:
        """Every living process of this facility, jobs included."""
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (path / "environ").read_bytes().split(b"\0"):
                    found.append(int(path.name))
            except OSError:
                continue
        return found

    def words(self) -> str:
        """What the programs said last, for a failing test."""
        said = [f"--- {a.name}\n{a.process.said()[-1500:]}" for a in self.agents.values()]
        return "\n".join([f"--- hub\n{self.hub.process.said()[-1500:]}", *said])

    def stop(self) -> None:
        for process in (self.hub.process, *(a.process for a in self.agents.values())):
            if process.running is not None:
                process.kill()


def request(mark: str, script: str, **more: object) -> JobRequest:
    """A small request of one core and little memory; its processes carry the mark."""
    told: dict[str, object] = {
        "resources": Resources(cores_per_task=1, memory_mb=10),
        "walltime_s": 60,
        "environment": ((MARK, mark),),
    }
    return JobRequest(script="#!/bin/sh\n" + script, **(told | more))  # type: ignore[arg-type]


@contextmanager
def facility(root: Path, database_url: str = "") -> Iterator[Facility]:
    """A facility in `root`; nothing of it is left when the block ends."""
    mark = secrets.token_hex(8)
    clean = {k: v for k, v in os.environ.items() if k != MARK}
    reaper = subprocess.Popen(
        [sys.executable, "-c", _REAPER, f"{MARK}={mark}"], stdin=subprocess.PIPE, env=clean,
        start_new_session=True,
    )  # fmt: skip
    made = Facility(root, database_url, mark, reaper)
    try:
        yield made
    except BaseException:
        print(made.words())
        raise
    finally:
        made.stop()
        assert reaper.stdin is not None
        reaper.stdin.close()
        reaper.wait(60)
    left: Sequence[int] = made.marked()
    assert not left, f"processes {left} were left behind"
