"""Hours that run, in a real browser: notices put away, changes decided, pace and idle hours."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.hub.calls.test_reclaiming import FIRST, mode
from tests.hub.reports.test_browser import WIDTHS, Visit, _axe, shots, visit
from tests.hub.reports.world import Hub

from meyrin.hub.calls import changing, pace, reclaiming, tranches
from meyrin.hub.calls import service as calls
from meyrin.hub.calls.changing import Wanted
from meyrin.hub.calls.tranches import Part
from meyrin.hub.identity import service as identity

__all__ = ["shots", "visit"]
DAY_S = 86_400
MODES = (mode(FIRST),)


def idle(hub: Hub) -> str:
    """An allocation of `climate` of which nothing is used, 45 of 90 days after its start."""
    hub.app.state.modes = MODES
    with hub.database.write() as step:
        found = next(p for p in identity.all_projects(step, "", 100)[0] if p.name == "climate")
        made = calls.award(
            step, found.id, "h100", 360_000, start_s=step.now_s - 45 * DAY_S,
            end_s=step.now_s + 45 * DAY_S, reason="a call", mode="idle",
        )  # fmt: skip
        reclaiming.announce(step, MODES, pace.watch(step, MODES))
    return made.id


@pytest.mark.parametrize("width", WIDTHS)
def test_a_project_shows_pace_tranches_and_the_next_gate(
    own_hub: Hub, visit: Visit, axe_source: str, shots: Path, width: int
) -> None:
    idle(own_hub)
    with own_hub.database.write() as step:
        found = next(p for p in identity.all_projects(step, "", 100)[0] if p.name == "climate")
        parts = (
            Part(72_000, step.now_s),
            Part(144_000, step.now_s + 5 * DAY_S, "second", "tiny", "ab" * 32),
        )
        tranches.award(
            step, found.id, "h100", parts, start_s=step.now_s, end_s=step.now_s + 90 * DAY_S,
            reason="in parts",
        )  # fmt: skip
    page = visit(own_hub, "ana", width).go("/projects/climate")
    page.screenshot(path=shots / f"project-hours-{width}.png", full_page=True)
    said = page.locator("#project_hours").inner_text()
    assert "too little is used" in said
    assert "through the gate second for tiny" in said
    rows = page.get_by_role("table", name="Tranches of allocation").locator("tbody tr")
    told = [" ".join(row.inner_text().split()) for row in rows.all()]
    assert [line.split()[0] for line in told] == ["1", "2"]
    assert "by date alone released" in told[0]
    assert "second tiny waiting" in told[1]
    assert not _axe(page, axe_source)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_a_notice_is_shown_until_it_is_put_away(
    own_hub: Hub, visit: Visit, axe_source: str, shots: Path, width: int
) -> None:
    idle(own_hub)
    page = visit(own_hub, "ana", width).go("/")
    page.locator("#told").click()
    page.get_by_role("heading", name="Notices").wait_for()
    page.screenshot(path=shots / f"notices-{width}.png", full_page=True)
    assert "hours go back on" in page.locator("main").inner_text()
    assert not _axe(page, axe_source)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    while page.get_by_role("button", name="Put away").count():
        page.get_by_role("button", name="Put away").first.click()
        page.wait_for_load_state()
    assert "Nothing new" in page.locator("main").inner_text()
    page.goto(own_hub.url)
    assert page.locator("#told").count() == 0


@pytest.mark.parametrize("width", WIDTHS)
def test_an_officer_sees_pace_and_idle_hours_and_decides(
    own_hub: Hub, visit: Visit, axe_source: str, shots: Path, width: int
) -> None:
    name = idle(own_hub)
    wanted = Wanted("exempt", name, "k", "the data arrive in May")
    actor = own_hub.actor("ana")
    with own_hub.database.write() as step:
        changing.ask(step, actor, wanted, MODES)
    page = visit(own_hub, "root", width).go("/officer")
    page.get_by_role("link", name="Hours that run").click()
    page.get_by_role("heading", name="Off pace").wait_for()
    page.screenshot(path=shots / f"officer-hours-{width}.png", full_page=True)
    said = page.locator("main").inner_text()
    for words in ("the data arrive in May", "slow", "an answer waits for an officer"):
        assert words in said
    assert not _axe(page, axe_source)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_label("Reason").fill("a good answer")
    page.get_by_role("button", name="Grant").click()
    page.get_by_text("Nobody asks for a change").wait_for()
    assert "exempt" in page.locator("#idle_hours").inner_text()
