"""A new person's first job: log in at a real provider, ask for a starter, submit, and see it run.

One helper for the test (one person) and for `make bench-first-job` (twenty). What a hand does is
counted: clicks, and fields that something is typed into.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests import components
from tests.components import Slurm
from tests.walk.facility import Facility, facility
from tests.walk.slurm_site import site

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

CLUSTER = "alpha"
SECRET = "hub-secret-for-tests-only"
KEY_MS = 30  # between letters: somebody who types well
PATIENCE_MS = 120_000
MOST_CLICKS, MOST_TYPED = 6, 3  # after the log-in, by the issue


@dataclass
class Hand:
    """A person at mouse and keyboard, whose work is counted."""

    clicks: int = 0
    typed: list[str] = field(default_factory=list)

    def click(self, where: Locator) -> None:
        where.click()
        self.clicks += 1

    def type(self, page: Page, name: str, text: str) -> None:
        """Into a field, reached by the Tab key or by being the next one: no click."""
        page.locator(f"#{name}").focus()
        page.keyboard.type(text, delay=KEY_MS)
        self.typed.append(name)


@dataclass(frozen=True)
class Walked:
    """Seconds since the hub's address was opened, and what the hand did after the log-in."""

    person: str
    logged_in_s: float
    granted_s: float
    submitted_s: float
    running_s: float
    clicks: int
    typed: tuple[str, ...]
    job: int


@contextmanager
def place_for(people: Sequence[str], slurm: Slurm, root: Path, folder: Path) -> Iterator[Facility]:
    """A hub that knows the provider, an organisation whose people are let in, and a Slurm site."""
    users = {
        name: {"name": name.title(), "email": f"{name}@uni-a.example", "groups": []}
        for name in people
    }
    known = root / "people.json"
    known.write_text(json.dumps(users))
    hub_port, provider_port = _free_port(), _free_port()
    with ExitStack() as stack:
        back = f"http://127.0.0.1:{hub_port}/login/openid/back"
        provider = components.start_openid(provider_port, back, known)
        stack.callback(provider.close)
        place = stack.enter_context(facility(root, f"sqlite:///{root / 'hub.sqlite'}"))
        secret = root / "secret"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        place.hub.port = hub_port
        place.hub.environ |= {
            "MEYRIN_HUB_PUBLIC_URL": place.hub.url,
            "MEYRIN_HUB_OPENID_ISSUER": f"http://127.0.0.1:{provider_port}",
            "MEYRIN_HUB_OPENID_SECRET_FILE": str(secret),
        }
        place.hub.start()
        agent = site(place, slurm, CLUSTER, folder)
        agent.start()
        place.joined(CLUSTER)
        added = place.meyrin("organisation", "add", "uni-a", "--domain", "uni-a.example")
        assert added.returncode == 0, added.stderr
        yield place


def first_job(page: Page, place: Facility, person: str) -> Walked:
    """From the hub's address to a job that runs; the page itself shows each step."""
    page.set_default_timeout(PATIENCE_MS)
    began = time.monotonic()
    page.goto(place.hub.url)
    page.get_by_role("button", name="Log in with your organisation").click()
    page.fill("input[name=login]", person)
    page.fill("input[name=password]", "any")
    page.click("button[type=submit]")
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("heading", name="Overview").wait_for()
    logged_in_s = time.monotonic() - began
    hand = Hand()
    hand.click(page.get_by_role("navigation").get_by_role("link", name="Apply"))
    hand.type(page, "project", f"idea-of-{person}")
    hand.type(page, "title", "A first idea")
    hand.type(page, "amount_h", "10")
    hand.click(page.get_by_role("button", name="Ask", exact=True))
    page.get_by_text("Granted at once.", exact=True).wait_for()
    granted_s = time.monotonic() - began
    hand.click(page.get_by_role("link", name="Run a first job"))
    hand.click(page.get_by_role("button", name="Run it"))
    page.wait_for_url("**/jobs/*")
    submitted_s = time.monotonic() - began
    page.locator("#job_head .badge", has_text="running").wait_for()
    running_s = time.monotonic() - began
    job = int(page.url.rpartition("/")[2])
    done = (logged_in_s, granted_s, submitted_s, running_s)
    return Walked(person, *done, hand.clicks, tuple(hand.typed), job)


def ended_well(page: Page, place: Facility, walked: Walked) -> None:
    """The job prints and ends; the same page shows it, and the statement has its seconds."""
    page.locator("#log", has_text="step 10 of 10").wait_for()
    page.locator("#job_head .badge", has_text="completed").wait_for()
    with place.hub.client() as client:
        ended = client.wait(walked.job)
    assert (ended.job.state, client.exit_status(ended)) == ("completed", 0)
    page.goto(f"{place.hub.url}/projects/idea-of-{walked.person}")
    page.locator("#project_entries", has_text=str(walked.job)).wait_for()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
