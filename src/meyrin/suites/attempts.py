"""Eleven attempts to escape, and one at a relay: what a run could do, tried before it runs.

    python -m meyrin.suites.attempts PLAN.json

Each attempt names itself `held` or `broken` and harms nothing even where it succeeds: it asks
only what `probe` has planted, and takes back what it wrote. The standard library alone.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Plan = dict[str, Any]
_MB = 1 << 20
_PTRACE_ATTACH = 16
_CLONE_NEWUSER = 0x10000000
_BEYOND = 64  # this far beyond a limit is far enough to know


def network(plan: Plan) -> str:
    """Reach a server of the host, or see any network but the loopback."""
    seen = [name for _, name in socket.if_nameindex() if name != "lo"]
    if seen:
        return f"broken: sees {', '.join(seen)}"
    for host in plan["hosts"]:
        try:
            socket.create_connection((host, plan["tcp_port"]), timeout=1).close()
        except OSError:
            continue
        return f"broken: reached {host}"
    return "held"


def dns(plan: Plan) -> str:
    """Get an answer from a name server, or send a datagram to the host."""
    try:
        socket.getaddrinfo("example.org", 80)
    except OSError:
        pass
    else:
        return "broken: a name was resolved"
    for host in plan["hosts"]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(0.3)
            try:
                asking.sendto(b"who", (host, plan["udp_port"]))
                if asking.recv(16):
                    return f"broken: {host} answered"
            except OSError:
                continue
    return "held"


def host_sockets(plan: Plan) -> str:
    """Connect to a local service of the host."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        try:
            asking.connect("\0" + plan["socket"])
        except OSError:
            return "held"
    return "broken: a local service answered"


def secrets(plan: Plan) -> str:
    """Find a secret in the host's files, in our environment or in another process's."""
    token = plan["secret"].encode()
    if any(token in os.fsencode(value) for value in os.environ.values()):
        return "broken: it is in our environment"
    for path in (Path(plan["secret_file"]), *Path("/proc").glob("[0-9]*/environ")):
        try:
            if token in path.read_bytes():
                return f"broken: read {path.name}"
        except OSError:
            continue
    return "held"


def model(plan: Plan) -> str:
    """Change the model's folder."""
    return _write(Path(plan["model"])) if plan["model"] else "held"


def system(plan: Plan) -> str:
    """Change the system, the interpreter, or this program itself."""
    for folder in ("/", "/usr", "/usr/lib", "/etc", *plan["places"]):
        found = _write(Path(folder))
        if found != "held":
            return found
    return "held"


def _write(folder: Path) -> str:
    name = folder / f".meyrin-probe-{os.getpid()}"
    try:
        name.write_bytes(b"here")
    except OSError:
        return "held"
    name.unlink(missing_ok=True)
    return f"broken: wrote to {folder}"


def host_processes(plan: Plan) -> str:
    """See, trace or end a process of the host."""
    mark = plan["victim_mark"].encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark not in path.read_bytes().split(b"\0"):
                continue
        except OSError:
            continue
        number = int(path.parent.name)
        traced = ctypes.CDLL(None, use_errno=True).ptrace(_PTRACE_ATTACH, number, 0, 0) == 0
        if traced:
            os.waitpid(number, 0)
        os.kill(number, signal.SIGKILL)
        return "broken: ended a process of the host"
    return "held"


def fork_bomb(plan: Plan) -> str:
    """Make more processes than allowed."""
    most = plan["processes"] + _BEYOND
    children: list[int] = []
    keep, release = os.pipe()
    try:
        while len(children) < most:
            child = os.fork()
            if not child:
                os.close(release)
                os.read(keep, 1)
                os._exit(0)
            children.append(child)
    except OSError:
        return "held"
    finally:
        os.close(release)
        os.close(keep)
        for child in children:
            os.waitpid(child, 0)
    return f"broken: {most} processes"


def memory_bomb(plan: Plan) -> str:
    """Fill more memory than allowed, in a child that may be ended for it."""
    most = (plan["memory_mb"] + _BEYOND) * _MB
    child = os.fork()
    if not child:
        try:
            area = mmap.mmap(-1, most)
            for at in range(0, most, mmap.PAGESIZE):
                area[at] = 1
        except (OSError, MemoryError, ValueError):
            os._exit(3)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return "broken: more memory than allowed" if status == 0 else "held"


def file_bomb(plan: Plan) -> str:
    """Write a file beyond the limit (sparse: it fills no disk)."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path = Path(plan["out"]) / f".meyrin-probe-{os.getpid()}"
    try:
        with path.open("wb") as file:
            file.seek((plan["file_mb"] + 1) * _MB)
            file.write(b"x")
    except OSError:
        return "held"
    finally:
        path.unlink(missing_ok=True)
    return "broken: a file larger than allowed"


def namespace(_plan: Plan) -> str:
    """Make a user namespace, in which one is root again."""
    child = os.fork()
    if not child:
        failed = ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER)
        os._exit(3 if failed else 0)
    _, status = os.waitpid(child, 0)
    return "held" if status else "broken: a namespace of one's own"


def relay(plan: Plan) -> str:
    """Lead the relay of a served model to another place than that model."""
    host, port = plan["hosts"][-1], plan["tcp_port"]
    there = f"{host}:{port}"
    for asked in (
        f"CONNECT {there}",
        f"GET http://{there}/",
        f"POST http://{there}/chat/completions",
        "POST /chat/completions/../../other",
        "GET /chat/completions",
    ):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.settimeout(5)
            asking.connect(plan["relay"])
            asking.sendall(f"{asked} HTTP/1.1\r\nHost: {there}\r\n\r\n".encode())
            try:
                said = asking.recv(64)
            except OSError:
                said = b""
        if said.split(b" ")[1:2] != [b"403"]:
            return f"broken: it did not refuse {asked.partition(' ')[0]}"
    return "held"


ATTEMPTS: dict[str, Callable[[Plan], str]] = {
    "network": network,
    "dns": dns,
    "host_sockets": host_sockets,
    "secrets": secrets,
    "model": model,
    "system": system,
    "file_bomb": file_bomb,
    "namespace": namespace,
    "fork_bomb": fork_bomb,
    "memory_bomb": memory_bomb,
    "host_processes": host_processes,
}
AT_RELAY = {"relay": relay}  # where a model is served elsewhere


def loopback() -> bool:
    """Whether a server of the jail's own can be reached: models are served that way."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        try:
            socket.create_connection(server.getsockname(), timeout=2).close()
        except OSError:
            return False
    return True


def main() -> None:
    plan: Plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    found: dict[str, object] = {}
    for name in plan["attempts"]:
        try:
            found[name] = (ATTEMPTS | AT_RELAY)[name](plan)
        except (OSError, MemoryError) as error:
            found[name] = f"held: {type(error).__name__}"
    found["loopback"] = loopback()
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
