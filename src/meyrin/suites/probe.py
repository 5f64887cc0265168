"""Measures what a jail really enforces: plants what could be stolen, tries from inside, looks.

Never trusts what was asked for. An attempt that gave no answer counts as broken.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from meyrin.domain.errors import Failed
from meyrin.suites.attempts import AT_RELAY, ATTEMPTS
from meyrin.suites.facts import Isolation
from meyrin.suites.jail import Jail, places

NETWORK = frozenset({"network", "dns", "host_sockets"})
WALLS = frozenset(
    {"secrets", "model", "system", "host_processes", "fork_bomb", "memory_bomb", "file_bomb"}
)
PATIENCE_S = 120
_SLEEPER = "import sys; sys.stdin.read()"


def measure(jail: Jail, by: str, relay: Path | None = None) -> Isolation:
    """Try every attempt inside the jail, at its relay too if it has one; what was found."""
    tried = [*ATTEMPTS, *(AT_RELAY if relay else ())]
    found, alive, safe = _try(jail, tried, relay)
    if not found.get("loopback"):
        raise Failed("the jail has no loopback, so no model can be served in it")
    if not alive:
        found["host_processes"] = "broken: it did not live"
    if not safe:
        found["model"] = "broken: the model's folder was changed"
    held = tuple(name for name in tried if str(found.get(name, "")).startswith("held"))
    broken = tuple(name for name in tried if name not in held)
    return Isolation(0 if set(broken) & set(AT_RELAY) else level(held), by, held, broken)


def level(held: tuple[str, ...]) -> int:
    """0 none, 1 no network, 2 also a read-only system without secrets and with limits."""
    if not set(held) >= NETWORK:
        return 0
    return 2 if set(held) >= WALLS else 1


def _try(jail: Jail, tried: list[str], relay: Path | None) -> tuple[dict[str, Any], bool, bool]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="probe-")))
        secret, mark = secrets.token_hex(16), f"victim-{secrets.token_hex(8)}"
        (folder / "secret").write_text(secret, encoding="ascii")
        folder.chmod(0o755)
        tcp, udp, name = stack.enter_context(_servers())
        victim = stack.enter_context(_victim(mark, secret))
        before = _listing(jail.model)
        limits = jail.limits
        plan = {
            "attempts": tried,
            "relay": str(relay or ""),
            "hosts": _addresses(),
            "tcp_port": tcp,
            "udp_port": udp,
            "socket": name,
            "secret": secret,
            "secret_file": str(folder / "secret"),
            "model": jail.model_inside if jail.model else "",
            "places": [str(place) for place in places(jail.also)],
            "victim_mark": mark,
            "processes": limits.processes,
            "memory_mb": limits.memory_mb,
            "file_mb": limits.file_mb,
            "out": jail.out_inside,
        }
        # the plan lies in the run's folder, which the jail shows; the secret in it is not looked
        # for there, only where it was planted
        told = jail.out / "probe.json"
        told.write_text(json.dumps(plan), encoding="utf-8")
        argv = [sys.executable, "-m", "meyrin.suites.attempts", f"{jail.out_inside}/probe.json"]
        bare = replace(jail, environment={**jail.environment})
        done = _run(bare, argv)
        told.unlink()
        return done, victim.poll() is None, _listing(jail.model) == before


def _run(jail: Jail, argv: list[str]) -> dict[str, Any]:
    try:
        done = subprocess.run(
            jail.command(argv), env=jail.variables(), capture_output=True, timeout=PATIENCE_S,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Failed("the probe of the jail did not end", hint="see `meyrin suite probe`") from (
            error
        )
    try:
        found = json.loads(done.stdout)
    except ValueError as error:
        words = done.stderr.decode(errors="replace").strip()[-400:] or "no words"
        raise Failed(f"the jail can't be used here: {words}") from error
    return dict(found)


def _listing(folder: Path | None) -> list[tuple[str, int, int]]:
    if folder is None:
        return []
    return sorted(
        (str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")
    )


def _addresses() -> list[str]:
    """Ours as others see them, and the loopback."""
    found = ["127.0.0.1"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))  # sends nothing: only asks which address would
            found.append(str(asking.getsockname()[0]))
        except OSError:
            pass
    return found


@contextmanager
def _victim(mark: str, secret: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the host that ends when we end, with a secret in its environment."""
    victim = subprocess.Popen(
        [sys.executable, "-S", "-c", _SLEEPER, mark],
        stdin=subprocess.PIPE,
        env={**os.environ, "MEYRIN_PROBE_SECRET": secret},
    )
    try:
        yield victim
    finally:
        assert victim.stdin is not None
        victim.stdin.close()
        victim.wait()


@contextmanager
def _servers() -> Iterator[tuple[int, int, str]]:
    """A TCP, a UDP and a local server of the host, for the attempts to reach."""
    name = f"meyrin-probe-{secrets.token_hex(8)}"
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("", 0))
        local = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        local.bind("\0" + name)
        local.listen()
        ended = threading.Event()
        answering = threading.Thread(target=_answer, args=(udp, ended), daemon=True)
        answering.start()
        try:
            yield tcp.getsockname()[1], udp.getsockname()[1], name
        finally:
            ended.set()
            answering.join()


def _answer(udp: socket.socket, ended: threading.Event) -> None:
    udp.settimeout(0.05)
    while not ended.is_set():
        try:
            _, sender = udp.recvfrom(64)
            udp.sendto(b"here", sender)
        except OSError:
            continue
