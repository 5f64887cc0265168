"""Real components for the tests: found, started, and surely stopped.

Never decides whether a test may be left out: it raises `Missing`, and conftest decides.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTBED = ROOT / "testbed"

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_ARGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# What axe-core finds wrong with a page. Every rule is asked; without its long account of all that
# each rule found right, which nobody reads, it takes a third of the time.
AXE_FAULTS = "axe.run({resultTypes: ['violations']}).then((found) => found.violations)"

# The keeper waits until its standard input ends, which happens when the tests close it and
# also when they die of anything, SIGKILL included. Then it stops the service and tidies up.
KEEPER = 'cat >/dev/null; "$1" down; rm -rf -- "$2"'


class Missing(Exception):
    """A component that this machine lacks and that may not or cannot be installed."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name = name
        self.why = why


def _testbed(name: str, command: list[str], env: dict[str, str], timeout_s: int) -> str:
    """Run a command of the testbed; its output, or `Missing` with its last words."""
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode:
        words = (done.stderr.strip() or "no message").splitlines()
        raise Missing(name, words[-1].removeprefix("[testbed] ").removeprefix("MISSING: "))
    return done.stdout


@dataclass
class Service:
    """One testbed script in a folder of its own; `close` stops it, and so does our death."""

    name: str
    script: Path
    folder: Path
    env: dict[str, str]
    keeper: subprocess.Popen[bytes]

    @classmethod
    def start(cls, name: str, script: Path, where: Path | None = None, **settings: str) -> Service:
        """In a new folder in `where`, or where temporary files lie."""
        folder = Path(tempfile.mkdtemp(prefix="mtb-", dir=where))
        folder.chmod(0o755)  # as root, servers run as users of their own
        env = {**os.environ, **settings, "MTB_DIR": str(folder)}
        keeper = subprocess.Popen(
            ["bash", "-c", KEEPER, "keeper", script, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=env,
            start_new_session=True,
        )
        service = cls(name, script, folder, env, keeper)
        try:
            service.call("up", timeout_s=900)
        except BaseException:
            service.close()
            raise
        return service

    def call(self, *arguments: str, timeout_s: int = 120) -> str:
        """Run the script with these arguments; what it printed."""
        return _testbed(self.name, [str(self.script), *arguments], self.env, timeout_s).strip()

    def close(self) -> None:
        assert self.keeper.stdin is not None
        self.keeper.stdin.close()
        self.keeper.wait(timeout=60)


def start_postgres() -> Service:
    """A private PostgreSQL without fsync: for tests of behaviour, not of crashes.

    In memory where there is room: each test makes and drops a database of 600 files, and a disk's
    file system (ext4) spends more on their inodes than the server spends on all that is asked.
    """
    script = TESTBED / "postgres" / "postgres.sh"
    return Service.start("PostgreSQL", script, _roomy_memory(), PG_DURABLE="0")


def _roomy_memory(gigabytes: int = 4) -> Path | None:
    """A folder in memory with that much room, several servers at once counted in; or None."""
    folder = Path("/dev/shm")
    with contextlib.suppress(OSError):
        if os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > gigabytes << 30:
            return folder
    return None


def start_openid(port: int, redirects: str, people: Path | None = None) -> Service:
    """A certified OpenID provider on that port, that lets browsers return to `redirects`; it knows
    those in the file `people`, or alice, bob and admin."""
    more = {} if people is None else {"OIDC_USERS": str(people)}
    return Service.start(
        "OpenID provider",
        TESTBED / "oidc" / "oidc.sh",
        OIDC_PORT=str(port),
        OIDC_REDIRECTS=redirects,
        **more,
    )


@contextmanager
def postgres_database(server: str, template: str = "template0") -> Iterator[str]:
    """The SQLAlchemy address of a copy of `template` on that server, dropped at the end."""
    import psycopg

    name = f"t_{secrets.token_hex(8)}"
    plain = server.replace("+psycopg", "", 1)
    with psycopg.connect(plain, autocommit=True) as connection:
        # files copied, rather than each page written to the log: a quarter of the work
        way = "strategy file_copy" if connection.info.server_version >= 150_000 else ""
        connection.execute(f"create database {name} template {template} {way}")
        yield f"{server.rpartition('/')[0]}/{name}"
        # Not "with (force)": that fails on an autovacuum worker, which an ordinary role may not
        # end. A plain drop asks such workers to leave and waits for whoever is ended here.
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = %s and usename = current_user",
            (name,),
        )
        connection.execute(f"drop database if exists {name}")


@dataclass(frozen=True)
class Slurm:
    """Two real clusters, alpha and beta, with accounting and slurmrestd; jobs may run as
    `mtb1` to `mtb3`, or as root, each with the accounts astro, bio and climate."""

    service: Service

    def conf(self, cluster: str) -> Path:
        return self.service.folder / "slurm" / cluster / "slurm.conf"

    def rest(self, cluster: str) -> str:
        """The address of the cluster's slurmrestd."""
        return self.service.call("env", cluster).rpartition("MEYRIN_SLURMREST=")[2]

    def token(self, cluster: str, user: str, seconds: int = 3600) -> str:
        """A JSON Web Token of that user."""
        return self.service.call("token", cluster, user, str(seconds))

    def kill_controller(self, cluster: str) -> None:
        self.service.call("kill-ctl", cluster)

    def start_controller(self, cluster: str) -> None:
        self.service.call("start-ctl", cluster)

    def sql(self, cluster: str, statement: str) -> str:
        """A statement on the database behind the cluster's accounting: how an administrator
        mends a record, for which sacctmgr has no word."""
        return self.service.call("sql", cluster, statement)

    def command(self, cluster: str, *words: str) -> str:
        """What one of Slurm's commands prints, as root."""
        env = {**os.environ, "SLURM_CONF": str(self.conf(cluster)), "TZ": "UTC"}
        done = subprocess.run(
            words, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout


def start_slurm(**settings: str) -> Slurm:
    """Both clusters on ports of their own; `settings` are those of testbed/slurm/slurm.sh."""
    wanted = {"JOB_USERS": "mtb1 mtb2 mtb3 root", "BASE_PORT": str(free_ports(200))}
    return Slurm(Service.start("Slurm", TESTBED / "slurm" / "slurm.sh", **(wanted | settings)))


_our_ports: set[int] = set()


def free_ports(count: int) -> int:
    """A number from which on so many ports are free, below those that the system gives out.

    It is this process's as long as it runs: a cluster takes its ports only seconds later, and
    another process that looked meanwhile would find them free too.
    """
    for base in (*_our_ports, *(20_000 + secrets.randbelow(60) * 200 for _ in range(300))):
        with contextlib.suppress(OSError), contextlib.ExitStack() as listening:
            if base not in _our_ports and not _locked(f"mtb-ports-{base}"):
                continue
            _our_ports.add(base)
            for port in (*range(base, base + 20), *range(base + 99, base + min(count, 120))):
                listener = listening.enter_context(socket.socket())
                listener.bind(("127.0.0.1", port))
            return base
    raise Missing("Slurm", "no free ports")


def _locked(name: str) -> bool:
    """Lock a file of this name until this process ends; False where another one has it."""
    handle = os.open(Path(tempfile.gettempdir()) / name, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return False
    return True


def install(name: str, *packages: str) -> None:
    """Install Debian packages where we may."""
    with tempfile.TemporaryDirectory(prefix="mtb-") as folder:
        script = '. "$1/lib.sh"; shift; mtb_dirs; apt_need "$@"'
        _testbed(
            name,
            ["bash", "-c", script, "install", str(TESTBED), *packages],
            {**os.environ, "MTB_DIR": folder},
            timeout_s=1200,
        )


def find_bubblewrap() -> Path:
    """The program that makes jails; installed first where we may."""
    if not shutil.which("bwrap"):
        install("bubblewrap", "bubblewrap")
    if found := shutil.which("bwrap"):
        return Path(found)
    raise Missing("bubblewrap", "the package is installed, but there is no program bwrap")


def build_clock(folder: Path) -> Path:
    """The library of testbed/clock, built in `folder`; a C compiler is installed where we may."""
    if not shutil.which("gcc"):
        install("C compiler", "gcc", "libc6-dev")
    library = folder / "clock.so"
    command = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(TESTBED / "clock/clock.c")]
    built = subprocess.run([*command, "-ldl"], capture_output=True, text=True, check=False)
    if built.returncode:
        raise Missing("C compiler", built.stderr.strip())
    return library


def find_chromium() -> Path:
    """The system's Chromium; installed first where we may."""
    if named := os.environ.get("MEYRIN_CHROMIUM"):
        return Path(named)
    if found := _installed_chromium():
        return found
    if _is_ubuntu():
        return _playwrights_own()  # its package holds no Chromium, only a word on where to get it
    install("Chromium", "chromium", "fonts-dejavu-core")
    if found := _installed_chromium():
        return found
    raise Missing("Chromium", "the package is installed, but there is no program chromium")


def _is_ubuntu() -> bool:
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release().get("ID") == "ubuntu"
    return False


def _installed_chromium() -> Path | None:
    """The first of its names under which a program really starts."""
    for found in filter(None, map(shutil.which, CHROMIUM_NAMES)):
        said = subprocess.run([found, "--version"], capture_output=True, timeout=60, check=False)
        if said.returncode == 0:
            return Path(found)
    return None


def _playwrights_own() -> Path:
    """The Chromium that Playwright brings, with the libraries that it needs where we may install
    them."""
    from playwright.sync_api import sync_playwright

    install("Playwright", "libatomic1")  # its own driver needs it
    driver = [str(ROOT / ".venv" / "bin" / "playwright"), "install", "chromium"]
    if os.geteuid() == 0:
        driver.append("--with-deps")
    done = subprocess.run(driver, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        said = (done.stderr + done.stdout).splitlines() or ["no words"]
        why = next((line for line in said if line.startswith("Error")), said[-1])
        raise Missing("Chromium", f"`playwright install chromium`: {why}")
    with sync_playwright() as playwright:
        return Path(playwright.chromium.executable_path)


def axe() -> str:
    """The text of axe-core, the accessibility checker that runs inside a page."""
    return (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
