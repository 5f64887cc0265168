"""Log-in at a real OpenID provider: in a real browser, and by a code on the command line."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING

import pytest
import uvicorn
from tests import components
from tests.conftest import _have

from meyrin.cli.main import run
from meyrin.cli.session import Session
from meyrin.client.connection import Connection
from meyrin.client.device import Code, log_in, renewed, ways
from meyrin.client.place import read_kept, save
from meyrin.hub import app
from meyrin.hub.identity import outside
from meyrin.hub.identity import service as identity
from meyrin.hub.migrations import run as migrations
from meyrin.hub.plumbing.bell import Bell
from meyrin.hub.plumbing.blobs import Blobs
from meyrin.hub.plumbing.database import Database
from meyrin.hub.plumbing.settings import HubSettings

if TYPE_CHECKING:
    from playwright.sync_api import Page

SECRET = "hub-secret-for-tests-only"
RENEW = """
import sys, time
from contextlib import closing
from pathlib import Path
from meyrin.client.connection import Connection
from meyrin.client.device import renewed
sys.stdin.readline()
path, url, now_s = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
with closing(Connection(url, "")) as hub:
    print(renewed(path, hub, now_s).token)
"""


@dataclass
class Hub:
    url: str
    database: Database
    root: str  # a token of an administrator


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub on a real port, and the provider that its settings name."""
    folder = tmp_path_factory.mktemp("hub")
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    provider = _have(lambda: components.start_openid(port, f"{url}/login/openid/back"))
    try:
        secret = folder / "secret"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        settings = HubSettings(
            dir=folder,
            public_url=url,
            openid_issuer=f"http://127.0.0.1:{port}",
            openid_secret_file=str(secret),
        )
        with _served(settings, url, listener) as made:
            yield made
    finally:
        provider.close()
        listener.close()


@contextmanager
def _served(settings: HubSettings, url: str, listener: socket.socket) -> Iterator[Hub]:
    database = Database(
        settings.database_url,
        clock_ms=lambda: time.time_ns() // 1_000_000,
        entropy=lambda: secrets.token_bytes(16),
        bell=Bell(),
    )
    migrations.upgrade(database.engine)
    with database.write() as step:
        who = identity.new_person(step, "root", admin=True)
        root = identity.new_token(step, who.id, "test")[1]
        outside.add_organisation(step, "uni-a", "uni-a.example", "University A")
    made = app.create(settings, database, Blobs(settings.store_url))
    config = uvicorn.Config(
        made, log_level="error", ws="none", lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="hub")
    thread.start()
    yield Hub(url, database, root)
    server.should_exit = server.force_exit = True
    thread.join(20)
    database.close()


def at_the_provider(page: Page, name: str) -> None:
    """Give a name and any password on the provider's own pages, and agree."""
    page.fill("input[name=login]", name)
    page.fill("input[name=password]", "any")
    page.click("button[type=submit]")
    page.get_by_role("button", name="Continue").click()


def test_a_person_logs_in_with_their_organisation_in_a_browser(
    hub: Hub, page: Page, axe_source: str
) -> None:
    page.goto(f"{hub.url}/projects")
    page.goto(f"{hub.url}/login?next=/projects")
    page.evaluate(axe_source)
    assert page.evaluate(components.AXE_FAULTS) == []
    page.get_by_role("button", name="Log in with your organisation").press("Enter")
    at_the_provider(page, "alice")
    page.wait_for_url(f"{hub.url}/projects")
    assert (
        page.request.get(f"{hub.url}/api/v1/me").json()["person"]["display_name"] == "Alice Astro"
    )


def test_a_guest_waits_for_an_administrator(
    hub: Hub, page: Page, axe_source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    page.goto(f"{hub.url}/login")
    page.get_by_role("button", name="Log in with your organisation").click()
    at_the_provider(page, "bob")
    page.get_by_text("You are known, and not let in yet").wait_for()
    page.evaluate(axe_source)
    assert page.evaluate(components.AXE_FAULTS) == []
    root = Session(environ={"MEYRIN_HUB": hub.url, "MEYRIN_TOKEN": hub.root})
    assert run(["person", "guests"], root) == 0
    assert "uni-b.example" in capsys.readouterr().out
    assert run(["person", "approve", "bob"], root) == 0
    page.goto(f"{hub.url}/login/openid")
    page.wait_for_url(f"{hub.url}/")
    assert page.request.get(f"{hub.url}/api/v1/me").json()["person"]["name"] == "bob"
    assert run(["audit", "verify"], root) == 0


def test_a_code_on_the_command_line_is_confirmed_in_a_browser_and_renewed_once(
    hub: Hub, page: Page, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "client.json"
    told: Queue[Code] = Queue()
    done: Queue[object] = Queue()

    def at_the_terminal() -> None:
        try:
            with closing(Connection(hub.url, "")) as connection:
                way = ways(connection)
                assert way is not None
                kept = log_in(connection, way, told.put, lambda _s: time.sleep(0.2))
                save(path, kept.url, kept.token, kept.openid)
            done.put("kept")
        except BaseException as error:  # noqa: BLE001 - told to the test
            done.put(error)

    terminal = threading.Thread(target=at_the_terminal, daemon=True)
    terminal.start()
    page.goto(told.get(timeout=60).address)
    if page.get_by_role("button", name="Continue").count():  # the code is filled in already
        page.get_by_role("button", name="Continue").click()
    at_the_provider(page, "alice")
    assert done.get(timeout=20) == "kept"
    assert path.stat().st_mode & 0o077 == 0
    environ = {"MEYRIN_DIR": str(tmp_path)}
    assert run(["whoami"], Session(environ=environ)) == 0
    assert "Alice Astro" in capsys.readouterr().out
    two_renew_at_once(hub, path)


def two_renew_at_once(hub: Hub, path: Path) -> None:
    """The provider takes a refresh token that comes twice as stolen, and ends the log-in."""
    kept = read_kept(path)
    assert kept.openid is not None
    old_s = int(kept.openid["expires_ms"]) // 1000
    command = [sys.executable, "-c", RENEW, str(path), hub.url, str(old_s)]
    both = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for one in both:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    tokens = {one.communicate(timeout=120)[0].strip() for one in both}
    assert all(one.returncode == 0 for one in both)
    fresh = read_kept(path)
    assert fresh.openid is not None
    assert fresh.openid["refresh_token"] != kept.openid["refresh_token"]
    assert fresh.token in tokens
    with closing(Connection(hub.url, "")) as connection:  # the log-in still counts
        assert renewed(path, connection, old_s + 60).token != fresh.token
