"""One-machine mode: a hub in this process, and sites with an agent process each.

Used by `meyrin up` and the demo. State lives in one folder; one hub at a time serves it.
"""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvicorn

from meyrin.agent.credential import before_of, keep, next_of, read_secret
from meyrin.agent.lock import Lock, hold_lock
from meyrin.cli.terminal import say
from meyrin.client.place import CLIENT_FILE, Kept, is_here, locked, read_kept, save
from meyrin.domain.errors import (
    Conflict,
    Failed,
    InvalidInput,
    MeyrinError,
    NotFound,
    Refused,
    Unreachable,
)
from meyrin.domain.site import OwnerShare, Partition
from meyrin.hub import app
from meyrin.hub.calls import service as calls
from meyrin.hub.calls.modes.shipped import modes_of
from meyrin.hub.evaluations import trust as evidence
from meyrin.hub.identity import service as identity
from meyrin.hub.migrations import run as migrate
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.bell import Bell
from meyrin.hub.plumbing.blobs import Blobs
from meyrin.hub.plumbing.database import Database, Step
from meyrin.hub.plumbing.relay import Relay
from meyrin.hub.plumbing.settings import HubSettings
from meyrin.hub.sites import service as sites
from meyrin.hub.sites.capacity import SILENT_AFTER_S, silent_since
from meyrin.hub.worker import Worker
from meyrin.suites import keys

log = structlog.get_logger("meyrin.hub")


@dataclass(frozen=True, slots=True)
class LocalSite:
    """A site on this machine: what it lends and who paid for it."""

    name: str
    title: str
    partition: Partition
    owners: tuple[OwnerShare, ...]


class Machine:
    """A hub and its embedded sites. Use as a context; `stop` lets running jobs go on."""

    def __init__(self, settings: HubSettings, local_sites: Sequence[LocalSite] = ()) -> None:
        self.settings = settings
        self.local_sites = local_sites
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        self._told: set[str] = set()  # sites whose agent died, as the terminal said
        self.ended = threading.Event()  # asked to stop, or unable to go on
        self.broken = False
        self._stopping = threading.Event()
        private_folder(settings.dir)
        self._locks = [hold_lock(settings.dir / "hub.lock", "a hub", settings.dir)]
        keep_private(settings)
        self.socket = listen(settings.host, settings.port)
        self.database = Database(
            settings.database_url,
            clock_ms=lambda: time.time_ns() // 1_000_000,
            entropy=lambda: os.urandom(16),
            bell=Bell(),
        )
        self._locks += _hold_file(self.database)
        _upgrade(self.database)
        blobs = Blobs(settings.store_url, settings.unused_days)
        self.worker = Worker(
            self.database,
            modes_of(settings),
            settings.freeze_day,
            settings.leaver_grace_s,
            self._on_bug,
            blobs,
        )
        self.relay = (
            None if self.database.is_sqlite else Relay(settings.database_url, self.database.bell)
        )
        self.server = uvicorn.Server(
            uvicorn.Config(
                app.create(settings, self.database, blobs),
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=2,
                server_header=False,
            )
        )

        self._server_thread = threading.Thread(
            target=self.server.run, kwargs={"sockets": [self.socket]}, name="web", daemon=True
        )

    @property
    def url(self) -> str:
        host, port = self.socket.getsockname()[:2]
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - shown only
        shown = f"[{shown}]" if ":" in shown else shown
        return self.settings.public_url or f"http://{shown}:{port}"

    def start(self) -> None:
        """Serve in a thread, write the client's file, start the agents."""
        self._keep_other_log_in()
        self._server_thread.start()
        if self.relay:
            self.relay.start()
        self.worker.start()
        for site in self.local_sites:
            self._join(site)
        wait_until(lambda: self.server.started, 30, "the hub's web server")
        for site in self.local_sites:
            self._start_agent(site.name)
        self._wait_for_sites()
        self._write_client_file()  # who finds it finds a hub that can run a job
        self._supervisor = threading.Thread(target=self._supervise, name="agents", daemon=True)
        self._supervisor.start()

    def stop(self) -> None:
        """Stop agents, server and worker, in this order, as far as they were started; jobs go on
        and are found again."""
        self._stopping.set()
        for agent in self.agents.values():
            agent.terminate()
        for agent in self.agents.values():
            try:
                agent.wait(15)
            except subprocess.TimeoutExpired:
                agent.kill()
                agent.wait()
        self.database.bell.close()
        self.server.should_exit = True
        if self._server_thread.ident is not None:
            self._server_thread.join(10)
        self.worker.stop()
        if self.relay:
            self.relay.stop()
        self.database.close()
        self.socket.close()
        for lock in self._locks:
            lock.close()

    def _on_bug(self) -> None:
        self.broken = True
        self.ended.set()

    def login_link(self) -> str:
        """A link that logs a browser in as the first administrator, once."""
        with self.database.write() as step:
            person, _, _ = identity.bootstrap(step, _user())
            secret = identity.login_link(step, person.id)
        return f"{self.url}/login?link={secret}"

    def _keep_other_log_in(self) -> None:
        """Conflict where the client's file holds what another hub gave: it is shown only once.
        The token of one on this machine makes room: its owner starts it again, or a new one."""
        path = self.settings.dir / CLIENT_FILE
        kept = _kept_in(path)
        if kept is None or kept.url == self.url or self._counts(kept.token):
            return
        if kept.openid or not is_here(kept.url):
            raise Conflict(
                f"{path} keeps the log-in of {kept.url}, which this hub would overwrite",
                hint="choose another folder with --dir, or remove the file to forget that log-in",
                address=kept.url,
            )
        say(f"note: {path} kept a token for {kept.url}; this hub's own takes its place")

    def _counts(self, token: str) -> bool:
        with self.database.write() as step:
            return identity.counts(step, token)

    def _write_client_file(self) -> None:
        """The address and a token for the command line, readable by this user only; a log-in at
        this hub's provider stays, as it renews itself."""
        path = self.settings.dir / CLIENT_FILE
        with locked(path):  # a log-in that is renewed meanwhile would come back as it was
            kept = _kept_in(path)
            openid = kept.openid if kept else None
            if openid and openid["issuer"] != self.settings.openid_issuer.rstrip("/"):
                openid = None
            good = kept is not None and (openid is not None or self._counts(kept.token))
            with self.database.write() as step:
                _, _, fresh = identity.bootstrap(step, _user(), fresh_token=not good)
            token = kept.token if kept and good else fresh
            assert token is not None
            save(path, self.url, token, openid)

    def _join(self, site: LocalSite) -> None:
        """Enrol the site once, lend its partition, grant the starter hours for its type."""
        folder = self.settings.dir / "sites" / site.name
        private_folder(folder)
        credential = folder / "credential"
        with self.database.write() as step:
            person, home, _ = identity.bootstrap(step, _user())
            actor = Actor(person=person.id, name=person.name, admin=True)
            try:
                secret = _credential_anew(step, actor, site.name, credential)
            except NotFound:
                _, secret = sites.enrol(step, site.name, site.title)
                sites.lend(step, site.name, site.partition.name, site.owners, start_s=step.now_s)
            self._grant_starter(step, home.id, site.partition.charged_type)
            evidence.trust(step, actor, site.name, "site", keys.make(folder / "site.key"))
        if secret is not None:
            keep(credential, secret + "\n")
        config = folder / "agent.toml"
        if not config.exists():
            keep(config, agent_toml(self.url, site))
        _set_hub(config, self.url)

    def _grant_starter(self, step: Step, project_id: str, charged_type: str) -> None:
        rule = calls.StarterRule(
            amount_s=self.settings.starter_hours * 3600,
            length_s=self.settings.starter_days * 86400,
        )
        try:
            calls.grant_starter(step, project_id, charged_type, rule)
        except Refused as no:  # used up or over: what the person is told when they submit
            log.info("starter.refused", charged_type=charged_type, why=no.message)

    def _start_agent(self, name: str) -> None:
        folder = self.settings.dir / "sites" / name
        end_other_agent(folder)
        with (folder / "agent.log").open("ab") as out:
            self.agents[name] = subprocess.Popen(
                [sys.executable, "-m", "meyrin", "agent", "--config", str(folder / "agent.toml")],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _wait_for_sites(self) -> None:
        """Until the agents have said what their sites have; a site that stays away is told."""
        names = {site.name for site in self.local_sites}

        def all_there() -> bool:
            with self.database.read() as step:
                states = sites.partition_states(step, step.now_s, hub_start_s=step.started_s)
            return names <= {state.site for state in states}

        try:
            wait_until(lambda: self.ended.is_set() or all_there(), 20, "the site on this machine")
        except Failed as error:
            log.warning("agent.late", error=error.message, logs=str(self.settings.dir / "sites"))

    def _tell_of_death(self, name: str, code: int) -> None:
        """Once a site, in the terminal: one that dies again and again takes no jobs."""
        if name not in self._told:
            self._told.add(name)
            log_file = self.settings.dir / "sites" / name / "agent.log"
            say(
                f"the agent of {name} ended (exit code {code}) and is started again; see {log_file}"
            )

    def _supervise(self) -> None:
        """Start an agent again that died; the jobs of its site went on meanwhile."""
        while not self._stopping.wait(1.0):
            for name, agent in list(self.agents.items()):
                code = agent.poll()
                if code is not None and not self._stopping.is_set():
                    log.warning("agent.died", site=name, exit_code=code)
                    self._tell_of_death(name, code)
                    try:
                        self._start_agent(name)
                    except (OSError, MeyrinError) as error:
                        log.error("agent.start_failed", site=name, error=str(error))


def _hold_file(database: Database) -> list[Lock]:
    """One hub at a time works on a file of SQLite, from whichever folder: the others would not
    hear of what it writes. Replicas share a PostgreSQL."""
    file = database.engine.url.database or ""
    if not database.is_sqlite or not file or file.startswith((":", "file:")):
        return []
    path = Path(file).resolve()
    if not path.parent.is_dir():
        return []  # said with the way out when it is opened
    return [hold_lock(path.with_name(f"{path.name}.lock"), "a hub", path)]


def _credential_anew(step: Step, actor: Actor, name: str, kept: Path) -> str | None:
    """What a site that the hub knows is to log in with; None while what this folder keeps counts,
    or an operator revoked it. Conflict while the agent of another folder serves the site: a new
    credential would end that one's."""
    known = sites.site_by_name(step, name)
    for path in (kept, next_of(kept), before_of(kept)):
        if (secret := read_secret(path)) and identity.counts(step, secret, identity.AGENT_KINDS):
            return None
    if kept.exists() and identity.credential_made_ms(step, known.id) is None:
        say(f"the agent of {name} was revoked, and takes no jobs until an operator lets it in")
        return None
    if silent_since(known.last_heard_ms, step.now_s, SILENT_AFTER_S, 0) is None:
        since_s = max(0, step.now_s - (known.last_heard_ms or 0) // 1000)
        raise Conflict(
            f"the site {name} of this database is served from another folder: its agent was heard "
            f"{since_s} s ago",
            hint="add --no-local-site to be one more hub beside it; or end the other, and try "
            f"again {SILENT_AFTER_S} s later",
            site=name,
        )
    return sites.rotate_agent_token(step, actor, name)


def _upgrade(database: Database) -> None:
    """Bring the schema up to date; what keeps the database away is said to who starts the hub."""
    try:
        with database.translated():
            migrate.upgrade(database.engine)
    except Unreachable as error:
        why = str(getattr(error.__cause__, "orig", "")).partition("\n")[0]
        raise Unreachable(
            f"{error.message}: {why}",
            hint="does it run, and is its address right (--db, MEYRIN_HUB_DB_URL)?",
        ) from error


def agent_toml(url: str, site: LocalSite) -> str:
    """The settings file of an embedded site's agent, which its operator may edit."""
    p = site.partition
    lines = [
        f"# Settings of the agent of {site.name}; written once, yours to edit.",
        f'hub = "{url}"',
        'credential_file = "credential"',
        'dir = "."',
        'batch = "local"',
        "share_files = true",
        "",
        "[[partition]]",
        f'name = "{p.name}"',
        f"nodes = {p.nodes}",
        f"cores_per_node = {p.cores_per_node}",
        f"memory_mb_per_node = {p.memory_mb_per_node}",
    ]
    if p.accelerator_type:
        lines += [
            f"accelerators_per_node = {p.accelerators_per_node}",
            f'accelerator_type = "{p.accelerator_type}"',
        ]
    lines += [
        f"max_walltime_s = {p.max_walltime_s or 7 * 86400}",
        f"default_walltime_s = {p.default_walltime_s or 3600}",
    ]
    return "\n".join(lines) + "\n"


def _set_hub(config: Path, url: str) -> None:
    """Keep the operator's file, but for the address, which may have another port today."""
    lines = config.read_text(encoding="utf-8").splitlines()
    new = [f'hub = "{url}"' if line.startswith("hub = ") else line for line in lines]
    if new != lines:
        keep(config, "\n".join(new) + "\n")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; Failed when the port is taken, with the way out."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(2048)
    except OSError as error:
        found.close()
        raise Failed(
            f"can't listen on {host} port {port}: {error.strerror or error}",
            hint="choose another with --port, or --port 0 for a free one",
            port=port,
        ) from error
    return found


def end_other_agent(folder: Path) -> None:
    """End an agent that an earlier hub left behind here; it knows an older address."""
    path = folder / "agent.lock"
    end = time.monotonic() + 15
    while path.exists():
        try:
            hold_lock(path, "an agent", folder).close()
        except Conflict:
            pid = path.read_text(encoding="utf-8").strip()
            if time.monotonic() > end:
                raise
            if pid.isdigit():
                _terminate(int(pid))
            time.sleep(0.1)
            continue
        return


def _terminate(pid: int) -> None:
    try:
        os.kill(pid, 15)
    except ProcessLookupError:
        return


def wait_until(done: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for something that this process started; Failed when it does not come."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise Failed(f"{what} did not come up within {seconds:.0f} s")
        time.sleep(0.02)


def private_folder(path: Path) -> None:
    """Make the folder, for this user only; Failed with the way out when it can't be made."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Failed(
            f"the folder {path} can't be made: {error.strerror}", hint="choose one with --dir"
        ) from error


def keep_private(settings: HubSettings) -> None:
    """What a hub keeps is for this user only, also in a folder that others may look into."""
    private_folder(settings.dir / "sites")
    if not settings.blobs_url:
        private_folder(settings.dir / "blobs")
    if not settings.db_url:
        (settings.dir / "hub.sqlite").touch(mode=0o600)  # what lies beside it gets the same mode
    modes = {"sites": 0o700, "blobs": 0o700, "hub.sqlite": 0o600, "hub.log": 0o600}
    for name, mode in modes.items():
        with suppress(FileNotFoundError, PermissionError):  # another's, behind a link: as they say
            (settings.dir / name).chmod(mode)


def _kept_in(path: Path) -> Kept | None:
    """What an earlier hub or a log-in left there; None where nothing can be read."""
    try:
        return read_kept(path)
    except InvalidInput:
        return None


def _user() -> str:
    """Who starts this; by number where the system has no name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user-{os.getuid()}"
