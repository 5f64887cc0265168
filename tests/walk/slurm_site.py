"""Sites of a facility that hand their jobs to real Slurm clusters, as an ordinary user."""

from __future__ import annotations

import functools
import os
import pwd
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from tests.components import ROOT, Slurm
from tests.walk.facility import Agent, Facility

from meyrin.domain.site import OwnerShare

USER = "mtb1"
_FENCED = "75:0"


@dataclass(frozen=True)
class Way:
    """How a program runs as the user of the jobs: a Python that this user may read."""

    user: str
    python: str
    more: dict[str, str]

    def preexec(self) -> Callable[[], None] | None:
        if self.user == "root":
            return None
        found = pwd.getpwnam(self.user)

        def demote() -> None:
            os.initgroups(found.pw_name, found.pw_gid)
            os.setgid(found.pw_gid)
            os.setuid(found.pw_uid)

        return demote


@functools.lru_cache(maxsize=1)
def way() -> Way:
    """As mtb1 where it can read a Python with our packages, else as root."""
    home = {"HOME": f"/home/{USER}", "USER": USER, "LOGNAME": USER, "PYTHONDONTWRITEBYTECODE": "1"}
    packages = [path for path in sys.path if path.endswith("site-packages")]
    found = {**home, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *packages])}
    number = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{number}", f"/usr/local/bin/python{number}"):
        one = Way(USER, python, found)
        try:
            done = subprocess.run(
                [python, "-c", "import meyrin.agent.main"],
                env={"PATH": os.environ["PATH"], **found},
                preexec_fn=one.preexec(),
                capture_output=True,
                cwd="/",
                check=False,
            )
        except OSError:
            continue
        if done.returncode == 0:
            return one
    return Way("root", sys.executable, {})


def site(place: Facility, slurm: Slurm, name: str, folder: Path, **settings: object) -> Agent:
    """Enrol the cluster `name` as a site that lends its partition `gpu`; not started yet."""
    chosen = way()
    home = folder / name
    home.mkdir(parents=True)
    agent = Agent(name, home, place.environ(**chosen.more), preexec=chosen.preexec())
    agent.process.python = chosen.python
    agent.process.log = place.root / f"{name}.err"
    with place.hub.client() as client:
        made = client.sites.enrol(name)
        client.sites.offer(name, "gpu", [OwnerShare("ours", 1)])
    how = {
        "conf": str(slurm.conf(name)),
        "default_account": "astro",
        "poll_min_s": 0.5,
        "poll_max_s": 3.0,
        "doubt_s": 4.0,
        "command_timeout_s": 60,
    } | settings
    credential = home / "credential"
    credential.write_text(made.agent_secret)
    lines = [
        f'hub = "{place.hub.url}"',
        'credential_file = "credential"',
        'dir = "."',
        'batch = "slurm"',
        "grace_s = 1",
        "queue_every_s = 2",
        "[slurm]",
        *(f"{key} = {value!r}" for key, value in how.items()),
    ]
    (home / "agent.toml").write_text("\n".join(lines).replace("'", '"') + "\n")
    if chosen.user != "root":
        ids = pwd.getpwnam(chosen.user)
        for path in (home, credential, home / "agent.toml"):
            os.chown(path, ids.pw_uid, ids.pw_gid)
    credential.chmod(0o600)
    place.agents[name] = agent
    return agent


@dataclass(frozen=True)
class Said:
    """What sacct says of one attempt: all runs of the job of its name."""

    elapsed_s: int
    gpu_s: int
    closed: bool
    runs: int


def moment(at_s: int) -> str:
    """As Slurm prints it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_s))


def accounted(
    slurm: Slurm,
    *clusters: str,
    nameless: Mapping[tuple[str, str, str], str] = MappingProxyType({}),
    last_s: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, Said]:
    """What each cluster's own accounting says, by attempt; read apart from Meyrin's code.

    A run that a controller began again and that the fence ended is no run of the attempt: it has
    the fence's exit code, which no script here has. Nor is one that it began after the attempt's
    last end, `last_s`, and that Slurm ended itself. A controller that is killed may never tell
    accounting a job's name. `nameless` are attempts by cluster, Slurm's id and second of the end,
    to find such rows by."""
    found: defaultdict[str, list[tuple[int, int, bool]]] = defaultdict(list)
    for cluster in clusters:
        text = slurm.command(
            cluster, "sacct", "-aXDnP", "-S", "2020-01-01",
            "-o", "JobName,ElapsedRaw,AllocTRES,Start,End,NodeList,JobIDRaw,ExitCode",
        )  # fmt: skip
        for line in text.splitlines():
            name, elapsed, tres, start, end, nodes, number, code = line.split("|")
            if code == _FENCED:
                continue
            if name == "allocation":
                name = f"meyrin-{nameless.get((cluster, number, end))}"
            if name.startswith("meyrin-") and nodes != "None assigned":
                attempt = name.removeprefix("meyrin-")
                if attempt in last_s and start > moment(last_s[attempt] + 1):
                    continue
                gpus = [part for part in tres.split(",") if part.startswith("gres/gpu=")]
                count = int(gpus[0].partition("=")[2]) if gpus else 0
                row = (int(elapsed), count * int(elapsed), end != "Unknown")
                found[attempt].append(row)
    return {
        attempt: Said(
            sum(row[0] for row in rows),
            sum(row[1] for row in rows),
            all(r[2] for r in rows),
            len(rows),
        )
        for attempt, rows in found.items()
    }
