"""The jail of a run: bubblewrap, limits per process, and control groups where there are any.

Only what a run needs is bound: the system's programs, the interpreter, this package, the model
(read-only) and one folder to write. No network but a loopback of its own, no environment, no
process of the host. Whether all that holds is not said here but measured, by `probe`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from meyrin.domain.errors import Failed
from meyrin.suites.suite import Limits

MODEL, OUT = "/model", "/out"
PACKAGE = Path(__file__).resolve().parent.parent
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
ETC = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")
CGROUPS = Path("/sys/fs/cgroup")
_MB = 1 << 20
_ADDRESSES = 4  # address space per MiB of memory: shared libraries and arenas are no memory yet
_JOIN = 'for group in $GROUPS_TO_JOIN; do echo $$ > "$group/cgroup.procs"; done; exec "$@"'
BASE_ENVIRONMENT = {
    "PYTHONPATH": str(PACKAGE.parent),
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",  # noqa: S108 - the jail's own
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "NO_COLOR": "1",
}


@dataclass(frozen=True, slots=True)
class Jail:
    """Where a command of a run is put. `kind` is `bubblewrap`, or `none` for the bare
    machine with a bound on files, or `open` without even that."""

    limits: Limits
    out: Path
    model: Path | None = None
    # read-only, at their own place: a suite's package, its data, a served model's relay
    also: tuple[Path, ...] = ()
    kind: str = "bubblewrap"
    groups: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def model_inside(self) -> str:
        return MODEL if self.kind == "bubblewrap" else str(self.model)

    @property
    def out_inside(self) -> str:
        return OUT if self.kind == "bubblewrap" else str(self.out)

    def command(self, argv: Sequence[str]) -> list[str]:
        """`argv` inside the jail."""
        if self.kind == "open":
            return list(argv)
        if self.kind == "none":
            return ["prlimit", f"--fsize={self.limits.file_mb * _MB}", "--core=0", *argv]
        return [*self._joining(), program(), *self._walls(), *self._limited(argv)]

    def variables(self) -> dict[str, str]:
        """The whole environment of the command; nothing of ours is handed on."""
        groups = {"GROUPS_TO_JOIN": " ".join(map(str, self.groups))} if self.groups else {}
        return {**BASE_ENVIRONMENT, **self.environment, **groups}

    def _joining(self) -> list[str]:
        return ["sh", "-c", _JOIN, "join"] if self.groups else []

    def _walls(self) -> list[str]:
        walls = [
            "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-net",
            "--unshare-cgroup-try", "--disable-userns", "--cap-drop", "ALL",
            "--die-with-parent", "--new-session", "--hostname", "jail", "--clearenv",
            "--proc", "/proc", "--dev", "/dev", "--size", str(64 * _MB), "--tmpfs", "/tmp",  # noqa: S108
        ]  # fmt: skip
        for name, value in {**BASE_ENVIRONMENT, **self.environment}.items():
            walls += ["--setenv", name, value]
        for folder in SYSTEM:
            walls += _same(Path(folder))
        for file in ETC:
            walls += ["--ro-bind-try", file, file]
        for place in places(self.also):
            walls += ["--ro-bind", str(place), str(place)]
        if self.model is not None:
            walls += ["--ro-bind", str(self.model), MODEL]
        return [*walls, "--bind", str(self.out), OUT, "--remount-ro", "/", "--chdir", OUT]

    def _limited(self, argv: Sequence[str]) -> list[str]:
        """Limits are set inside, where only the jail's own processes are counted."""
        limits = self.limits
        return [
            "prlimit",
            f"--as={limits.memory_mb * _MB * (_ADDRESSES if self.groups else 1)}",
            f"--nproc={limits.processes}",
            f"--fsize={limits.file_mb * _MB}",
            f"--cpu={limits.walltime_s * 4}",
            "--core=0",
            "--nofile=1024",
            *argv,
        ]


def program() -> str:
    """The program bwrap; Failed says what to do where there is none or it may not work."""
    found = shutil.which("bwrap")
    if found is None or shutil.which("prlimit") is None:
        raise Failed(
            "suites run in a jail made by bubblewrap and prlimit, which are not installed here",
            hint="install the packages bubblewrap and util-linux at the site",
            missing="bubblewrap",
        )
    return found


def check() -> str:
    """The name and version of what makes the jail, after a first try of it."""
    path = program()
    tried = subprocess.run(
        [path, "--unshare-all", "--ro-bind", "/", "/", "true"], capture_output=True, check=False
    )
    if tried.returncode:
        words = tried.stderr.decode(errors="replace").strip()
        raise Failed(
            f"bubblewrap may make no jail here: {words}",
            hint="does the kernel allow user namespaces to ordinary users?",
        )
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return said.stdout.strip() or "bubblewrap"


def _same(path: Path) -> list[str]:
    """A folder of the system as it is: bound, or the same link."""
    if path.is_symlink():
        return ["--symlink", str(path.readlink()), str(path)]
    return ["--ro-bind-try", str(path), str(path)]


def places(also: Sequence[Path] = ()) -> list[Path]:
    """Interpreter, environment and sources, each once, those inside others left out."""
    # the interpreter may be a link into another installation
    interpreter = Path(sys.executable).resolve().parent.parent
    wanted = {Path(sys.prefix), Path(sys.base_prefix), interpreter, PACKAGE, *also}
    known = [Path(folder) for folder in SYSTEM]
    kept: list[Path] = []
    for path in sorted(wanted, key=lambda p: len(p.parts)):
        if path.exists() and not any(path.is_relative_to(other) for other in (*known, *kept)):
            kept.append(path)
    return kept


@contextmanager
def control_groups(name: str, limits: Limits) -> Iterator[tuple[Path, ...]]:
    """Groups that bound the jail as a whole, where we may make them; else none, and no error."""
    made: list[Path] = []
    try:
        for folder, settings in _wanted_groups(name, limits):
            if _make_group(folder, settings):
                made.append(folder)
        yield tuple(made)
    finally:
        for folder in made:
            _remove_group(folder)


def _wanted_groups(name: str, limits: Limits) -> Iterator[tuple[Path, dict[str, int]]]:
    memory, pids = limits.memory_mb * _MB, limits.processes + 8
    if (CGROUPS / "cgroup.controllers").exists():
        yield CGROUPS / name, {"memory.max": memory, "memory.swap.max": 0, "pids.max": pids}
        return
    if (CGROUPS / "memory" / "cgroup.procs").exists():
        yield CGROUPS / "memory" / name, {"memory.limit_in_bytes": memory}
    if (CGROUPS / "pids" / "cgroup.procs").exists():
        yield CGROUPS / "pids" / name, {"pids.max": pids}


def _make_group(folder: Path, settings: Mapping[str, int]) -> bool:
    try:
        folder.mkdir()
    except OSError:
        return False
    try:
        for setting, value in settings.items():
            file = folder / setting
            if file.exists() or setting != "memory.swap.max":
                file.write_text(str(value), encoding="ascii")
    except OSError:
        _remove_group(folder)
        return False
    return True


def _remove_group(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # somebody still ends in it; an empty group bounds nothing and costs nothing
        return


def start(jail: Jail, argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command in the jail; its words go to `log`, which is cut at the file limit."""
    with log.open("ab") as words:
        return subprocess.Popen(
            jail.command(argv),
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
            env=jail.variables(),
            start_new_session=True,
            cwd=None if jail.kind == "bubblewrap" else jail.out,
        )
