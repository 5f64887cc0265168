"""Asking for hours in a real browser: few fields, few clicks, by keyboard, on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.hub.reports.test_browser import WIDTHS, Visit, _axe, shots, visit
from tests.hub.reports.world import Hub

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["shots", "visit"]
TYPED = ("project", "title", "amount_h")


def fill(page: Page, **said: str) -> None:
    for name in TYPED:
        page.fill(f"#{name}", said[name])


@pytest.mark.parametrize("width", WIDTHS)
def test_a_starter_takes_three_fields_and_is_there_at_once(
    own_hub: Hub, visit: Visit, axe_source: str, shots: Path, width: int
) -> None:
    page = visit(own_hub, "ana", width).go("/")
    page.get_by_role("link", name="Apply").click()
    typed = page.locator("form.ask input:not([type=hidden])").count()
    assert typed == len(TYPED) <= 3
    page.screenshot(path=shots / f"apply-{width}.png", full_page=True)
    assert not _axe(page, axe_source)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    fill(page, project="my-idea", title="My idea", amount_h="50")
    page.get_by_role("button", name="Ask").click()
    page.get_by_text("Granted at once").wait_for()
    page.screenshot(path=shots / f"proposal-{width}.png", full_page=True)
    assert "--account=my-idea" in page.locator("main").inner_text()
    assert not _axe(page, axe_source)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    print(f"a starter: {typed} typed fields, 2 clicks")


def test_what_is_wrong_is_said_and_nothing_typed_is_lost(
    own_hub: Hub, visit: Visit, axe_source: str
) -> None:
    page = visit(own_hub, "ana").go("/apply")
    fill(page, project="my-idea", title="My idea", amount_h="many")
    page.get_by_role("button", name="Ask").click()
    assert "can't be 'many'" in page.get_by_role("alert").inner_text()
    assert page.input_value("#title") == "My idea"
    assert not _axe(page, axe_source)


def test_a_large_ask_waits_for_an_officer_who_gives_a_reason(
    own_hub: Hub, visit: Visit, axe_source: str, shots: Path
) -> None:
    page = visit(own_hub, "ana").go("/apply")
    fill(page, project="large", title="A large idea", amount_h="5000")
    page.keyboard.press("Enter")
    page.get_by_text("An officer answers by").wait_for()
    asked = page.url
    officer = visit(own_hub, "root").go("/officer")
    officer.screenshot(path=shots / "officer.png", full_page=True)
    assert not _axe(officer, axe_source)
    officer.get_by_label("Reason").fill("a clear plan")
    officer.get_by_role("button", name="Grant").click()
    officer.get_by_text("Nothing waits").wait_for()
    page.goto(asked)
    page.get_by_text("Granted.").wait_for()
    assert "a clear plan" in page.locator("main").inner_text()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_clocks_are_open_to_everybody(
    own_hub: Hub, visit: Visit, axe_source: str, shots: Path, width: int
) -> None:
    for number in range(6):
        who = f"clock-{number}"
        own_hub.person(who)
        page = visit(own_hub, who).go("/apply")
        fill(page, project=who, title="x", amount_h="50")
        page.get_by_role("button", name="Ask").click()
        page.get_by_text("Granted at once").wait_for()
    stranger = visit(own_hub, None, width).go("/clocks")
    stranger.screenshot(path=shots / f"clocks-{width}.png", full_page=True)
    assert "6 of 6 in time" in stranger.locator("main").inner_text()
    assert not _axe(stranger, axe_source)
    assert stranger.evaluate("document.documentElement.scrollWidth") <= width
