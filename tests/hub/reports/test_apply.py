"""Asking for hours in a real browser: few fields, few clicks, by keyboard, on a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.hub.reports.test_browser import WIDTHS, Visit, _axe, shots, visit
from tests.hub.reports.world import Hub, build, served

from meyrin.domain.site import Partition
from meyrin.hub.calls import unsent

if TYPE_CHECKING:
    from playwright.sync_api import Page

__all__ = ["shots", "visit"]
TYPED = ("project", "title", "amount_h")
CPU = Partition("cpu", 4, 32, 128_000, default_walltime_s=3600)


@pytest.fixture(scope="module")
def lending(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A served hub with a site that lends cores; each test brings people of its own."""
    made = build(tmp_path_factory.mktemp("hub"))
    made.person("root", admin=True)
    made.site("alpha", "Alpha", CPU)
    with served(made):
        yield made
    made.database.close()


def fill(page: Page, **said: str) -> None:
    for name in TYPED:
        page.fill(f"#{name}", said[name])


@pytest.mark.parametrize("width", WIDTHS)
def test_a_starter_takes_three_fields_and_is_there_at_once(
    lending: Hub, visit: Visit, axe_source: str, shots: Path, width: int
) -> None:
    lending.person(f"ana-{width}")
    page = visit(lending, f"ana-{width}", width).go("/")
    page.get_by_role("link", name="Apply").click()
    typed = page.locator("form.ask input:not([type=hidden])").count()
    assert typed == len(TYPED) <= 3
    fill(page, project=f"my-idea-{width}", title="My idea", amount_h="50")
    leads = page.locator("#leading")
    leads.get_by_text("granted at once").wait_for()
    assert "alpha/cpu (128 cores not taken by our jobs now)" in leads.inner_text()
    leads.get_by_text("Why not the others").click()
    assert re.search(r"Reviewed: .*\S", leads.inner_text())
    page.screenshot(path=shots / f"apply-{width}.png", full_page=True)
    assert not _axe(page, axe_source)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name="Ask").click()
    page.get_by_text("Granted at once.", exact=True).wait_for()
    page.screenshot(path=shots / f"proposal-{width}.png", full_page=True)
    assert f"--account=my-idea-{width}" in page.locator("main").inner_text()
    assert not _axe(page, axe_source)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    print(f"a starter: {typed} typed fields, 2 clicks")


def test_what_is_wrong_is_said_and_nothing_typed_is_lost(
    lending: Hub, visit: Visit, axe_source: str, shots: Path
) -> None:
    lending.person("ada")
    page = visit(lending, "ada").go("/apply")
    fill(page, project="idea-of-ada", title="My idea", amount_h="-5")
    page.locator("#leading", has_text="hours can't be '-5'").wait_for()
    assert "a whole number from 1 to" in page.locator("#leading").inner_text()
    page.get_by_role("button", name="Ask").click()
    assert "can't be '-5'" in page.get_by_role("alert").inner_text()
    assert page.evaluate("document.activeElement.id") == "amount_h", "where the mending begins"
    page.screenshot(path=shots / "apply-wrong.png", full_page=True)
    assert page.input_value("#amount_h") == "-5"
    assert page.input_value("#title") == "My idea"
    assert not _axe(page, axe_source)


def test_a_large_ask_waits_for_an_officer_who_gives_a_reason(
    lending: Hub, visit: Visit, axe_source: str, shots: Path
) -> None:
    lending.person("bob")
    page = visit(lending, "bob").go("/apply")
    fill(page, project="large", title="A large idea", amount_h="5000")
    page.keyboard.press("Enter")
    page.get_by_text("An officer answers by").wait_for()
    asked = page.url
    officer = visit(lending, "root").go("/officer")
    officer.screenshot(path=shots / "officer.png", full_page=True)
    assert not _axe(officer, axe_source)
    officer.get_by_label("Reason").fill("a clear plan")
    officer.get_by_role("button", name="Grant").click()
    officer.get_by_text("Nothing waits").wait_for()
    page.goto(asked)
    page.get_by_text("Granted.").wait_for()
    assert "a clear plan" in page.locator("main").inner_text()


def test_an_ask_that_waits_is_taken_back_and_nobody_decides_their_own(
    lending: Hub, visit: Visit, axe_source: str
) -> None:
    page = visit(lending, "root").go("/apply")
    fill(page, project="of-root", title="Mine", amount_h="5000")
    page.keyboard.press("Enter")
    page.get_by_text("An officer answers by").wait_for()
    asked = page.url
    page.goto(asked.partition("/proposals/")[0] + "/officer")
    assert "another officer decides it" in page.locator("main").inner_text()
    assert not page.get_by_role("button", name="Grant").count()
    page.goto(asked)
    page.locator("summary", has_text="Take it back").click()
    assert not _axe(page, axe_source)
    page.get_by_role("button", name="Take this ask back").click()
    page.get_by_text("Withdrawn.").wait_for()
    assert not page.locator("summary", has_text="Take it back").count()


def test_the_clocks_are_open_to_everybody(
    lending: Hub, visit: Visit, axe_source: str, shots: Path
) -> None:
    for number in range(6):
        who = f"clock-{number}"
        lending.person(who)
        asked = {"project": who, "title": "x", "amount_h": "50", "charged_type": "core",
                 "key": who, "kind": "academic", "purpose": "try", "months": "3"}  # fmt: skip
        origin = {"origin": "http://hub.test"}
        assert lending.client(who).post("/apply", data=asked, headers=origin).status_code == 303
    for width in WIDTHS:
        stranger = visit(lending, None, width).go("/clocks")
        stranger.screenshot(path=shots / f"clocks-{width}.png", full_page=True)
        in_time = re.search(r"(\d+) of (\d+) in time", stranger.locator("main").inner_text())
        assert in_time is not None
        assert int(in_time[1]) == int(in_time[2]) >= 6
        assert not _axe(stranger, axe_source)
        assert stranger.evaluate("document.documentElement.scrollWidth") <= width


# --- kept while it is written


def saved(page: Page) -> None:
    page.locator("#saved", has_text=re.compile("^Saved at")).wait_for()


def test_what_is_written_survives_reload_log_out_and_another_device(
    lending: Hub, visit: Visit, axe_source: str, shots: Path
) -> None:
    lending.person("cleo")
    visitor = visit(lending, "cleo", 360)
    page = visitor.go("/apply")
    page.fill("#title", "A half-written idea")
    page.select_option("#mode", "starter")
    saved(page)
    page.wait_for_url("**/apply?unsent=*")
    page.fill("#amount_h", "about fif")
    page.locator("#saved", has_text="Not saved yet").wait_for()
    saved(page)
    page.reload()
    assert page.input_value("#amount_h") == "about fif"
    assert not visitor.complaints
    page.get_by_role("button", name="Log out").click()
    # another device, after another log-in
    other = visit(lending, "cleo").go("/apply")
    other.screenshot(path=shots / "unsent.png", full_page=True)
    assert not _axe(other, axe_source)
    other.get_by_role("link", name="A half-written idea").click()
    assert other.input_value("#title") == "A half-written idea"
    assert other.input_value("#mode") == "starter"
    assert not _axe(other, axe_source)
    fill(other, project="idea-of-cleo", title="A whole idea", amount_h="50")
    # sent at once: what was typed last is kept before the page is left
    other.get_by_role("button", name="Ask").click()
    other.get_by_text("Granted at once.", exact=True).wait_for()
    other.goto(f"{lending.url}/apply")
    assert "Not sent yet" not in other.locator("main").inner_text()
    lending.person("zoe")
    stranger = visit(lending, "zoe").go("/apply")
    assert "idea" not in stranger.locator("main").inner_text()


def test_a_cut_network_is_said_and_loses_nothing(lending: Hub, visit: Visit) -> None:
    lending.person("dan")
    page = visit(lending, "dan").go("/apply")
    page.fill("#title", "Before the cut")
    saved(page)
    page.context.set_offline(True)
    fill(page, project="idea-of-dan", title="During the cut", amount_h="50")
    page.locator("#saved", has_text="Not saved yet: the hub does not answer").wait_for()
    page.get_by_role("button", name="Ask").click()
    page.locator("#say", has_text="Not saved yet").wait_for(state="attached")
    assert page.input_value("#title") == "During the cut", "the page stays, with all of it"
    page.context.set_offline(False)
    saved(page)
    with lending.database.read() as step:
        (kept,), _ = unsent.listed(step, lending.actor("dan"), "", 9)
    assert kept.said["title"] == "During the cut"
    page.get_by_role("button", name="Ask").click()
    page.get_by_text("Granted at once.", exact=True).wait_for()


def test_two_windows_do_not_overwrite_each_other(lending: Hub, visit: Visit) -> None:
    lending.person("eli")
    page = visit(lending, "eli").go("/apply")
    page.fill("#title", "Of the first")
    saved(page)
    other = page.context.new_page()
    other.goto(page.url)
    other.fill("#title", "Of the second")
    saved(other)
    page.fill("#title", "Of the first again")
    page.locator("#saved.warn", has_text="changed in another window").wait_for()
    assert page.input_value("#title") == "Of the first again"
    other.reload()
    assert other.input_value("#title") == "Of the second"


def test_without_scripts_a_button_keeps_it(lending: Hub, visit: Visit) -> None:
    lending.person("fay")
    page = visit(lending, "fay", java_script_enabled=False).go("/apply")
    page.fill("#title", "By hand")
    page.get_by_role("button", name="Save for later").click()
    page.wait_for_url("**/apply?unsent=*")
    assert "Saved at" in page.locator("#saved").inner_text()
    assert page.input_value("#title") == "By hand"
    page.get_by_role("button", name="Discard it").click()
    page.wait_for_url("**/apply")
    assert page.input_value("#title") == ""
