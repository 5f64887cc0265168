"""The pages in a real browser: accessible, on a phone too, by keyboard, live, and safe."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from tests.hub.reports.world import Hub, _gpu

from meyrin.hub.identity.service import SESSION_COOKIE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

WIDTHS = [1280, 360]
PAGES = {
    "overview": "/",
    "jobs": "/jobs",
    "jobs-none": "/jobs?state=expired&site=beta",
    "completed": "/jobs/{completed}",
    "failed": "/jobs/{failed}?stream=stderr",
    "running": "/jobs/{running}",
    "waiting": "/jobs/{waiting}",
    "held": "/jobs/{held}",
    "placed": "/jobs/{placed}",
    "preempted": "/jobs/{preempted}",
    "strange": "/jobs/{strange}",
    "array": "/jobs/{array}",
    "element": "/jobs/{array}_4",
    "cancel": "/jobs/{running}/cancel",
    "cancel-ended": "/jobs/{completed}/cancel",
    "sites": "/sites",
    "site": "/sites/alpha",
    "site-drained": "/sites/delta",
    "site-silent": "/sites/gamma",
    "site-new": "/sites/epsilon",
    "projects": "/projects",
    "project": "/projects/climate",
    "project-empty": "/projects/genome",
    "not-found": "/jobs/999999",
    "nowhere": "/no/such/page",
}
ERRORS = {"not-found", "nowhere"}


@dataclass
class Visitor:
    """A browser's tab that notes every complaint of the browser."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("console", self._heard)
        self.page.add_init_script(
            "addEventListener('securitypolicyviolation', (e) => "
            "console.error('CSP', e.violatedDirective, e.blockedURI, e.sourceFile))"
        )

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def go(self, path: str) -> Page:
        self.page.goto(self.url + path)
        return self.page


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Opens a tab of a person at a hub; everything is closed after the test."""
    contexts: list[BrowserContext] = []

    def opened(hub: Hub, name: str | None = "ana", width: int = 1280, **more: Any) -> Visitor:
        size = {"width": width, "height": 800}
        context = browser.new_context(viewport=size, **more)
        contexts.append(context)
        if name is not None:
            context.add_cookies(
                [{"name": SESSION_COOKIE, "value": hub.cookie(name), "url": hub.url}]
            )
        return Visitor(context.new_page(), hub.url)

    yield opened
    for context in contexts:
        context.close()


def _address(hub: Hub, name: str) -> str:
    return PAGES[name].format(**hub.numbers)


def _axe(page: Page, source: str) -> list[str]:
    page.evaluate(source)
    found = page.evaluate("axe.run()")
    return [
        f"{each['id']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_sound(
    filled: Hub,
    visit: Callable[..., Visitor],
    axe_source: str,
    tmp_path: Path,
    name: str,
    width: int,
) -> None:
    dark = width == 360
    visitor = visit(filled, width=width, color_scheme="dark" if dark else "light")
    page = visitor.go(_address(filled, name))
    if page.locator("#log").count():
        page.locator("#log-state", has_text=re.compile("Following|ended")).wait_for()
    page.screenshot(path=tmp_path / f"{name}-{width}.png", full_page=True)
    complaints = [c for c in visitor.complaints if name not in ERRORS or "404" not in c]
    assert not complaints
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("window.hacked") is None
    assert not _axe(page, axe_source)
