"""Studies in a real browser: listed, read in their sandbox, taken away, and withdrawn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.hub.reports.test_browser import WIDTHS, Visit, _axe, _reach_everything, shots, visit
from tests.hub.reports.world import Hub, build, served
from tests.plan import studies

from meyrin.plan.impact import Asked, study
from meyrin.plan.report import figures, write
from meyrin.plan.scenario import load_scenario
from meyrin.plan.sweep import Here

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

__all__ = ["shots", "visit"]
SHOWN = ("waterfall", "options", "map")  # in the order of a report
TITLE = "What <b>pooling</b> would change at two sites, and for whom"
TYPES = {
    "tables/waterfall.csv": ("text/csv", b"option,kind,"),
    "figures/waterfall.png": ("image/png", b"\x89PNG"),
    "figures/waterfall.svg": ("image/svg+xml", b"<svg"),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a real study: two days, one option, three figures."""
    folder = tmp_path_factory.mktemp("study")
    scenario = studies.cut(folder / "in", options=("packing",))
    text = scenario.read_text().replace("length = { value = 5,", "length = { value = 2,")
    text = text.replace("seeds = [1, 2]", 'seeds = [1, 2]\nsizes = ["recorded"]')
    scenario.write_text(text)
    asked = Asked(load_scenario(scenario), vary=False, command="meyrin plan impact in --out out")
    found = study(asked, folder / "out", Here(1), lambda: 0.0)
    with pytest.MonkeyPatch.context() as patch:
        kept = [each for each in figures.FIGURES if each.name in SHOWN]
        patch.setattr(figures, "FIGURES", kept)
        return write.report(found)


@pytest.fixture(scope="module")
def showing(tmp_path_factory: pytest.TempPathFactory, small: dict[str, bytes]) -> Iterator[Hub]:
    """A served hub on which ana shows a study to the members of `climate`."""
    made = build(tmp_path_factory.mktemp("hub"))
    made.person("root", admin=True)
    made.person("ana", "climate")
    made.person("mia", "climate")
    made.person("eve", "secret")
    with served(made):
        made.numbers["study"] = publish(made, small, TITLE)
        yield made
    made.database.close()


def publish(hub: Hub, files: dict[str, bytes], title: str) -> int:
    """Ana puts this on the hub's pages; its number."""
    client = hub.client("ana")
    client.headers["origin"] = "http://hub.test"
    brought = []
    for name, data in files.items():
        digest = hashlib.sha256(data).hexdigest()
        at = {"offset": 0, "size": len(data)}
        put = client.put(f"/api/v1/uploads/{digest}", params=at, content=data)
        assert put.json()["complete"]
        brought.append({"name": name, "sha256": digest, "size": len(data)})
    body = {"title": title, "project": "climate", "files": brought}
    answer = client.post("/api/v1/plans", json=body)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["id"])


def sound(page: Page, axe_source: str, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not _axe(page, axe_source)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_study_is_found_and_its_page_is_sound(
    showing: Hub, visit: Visit, axe_source: str, shots: Path, width: int
) -> None:
    scheme = "dark" if width == WIDTHS[1] else "light"
    visitor = visit(showing, "mia", width, color_scheme=scheme)
    page = visitor.go("/plans")
    page.screenshot(path=shots / f"plans-{width}.png", full_page=True)
    sound(page, axe_source, width)
    page.get_by_role("link", name=TITLE).click()
    page.wait_for_url("**/plans/*")
    page.screenshot(path=shots / f"plan-{width}.png", full_page=True)
    assert "By ana, shown to climate" in page.locator("main").inner_text()
    assert page.evaluate("document.querySelector('main b')") is None
    sound(page, axe_source, width)
    _reach_everything(page, "a study")
    assert not visitor.complaints


def measured(page: Page) -> None:
    """Reports come with leave to run scripts: without it the browser measures nothing for us.
    Everything else of their rules stays, and so no script of theirs could run either."""

    def loosened(route: Route) -> None:
        answer = route.fetch()
        rules = answer.headers["content-security-policy"]
        assert rules.startswith("sandbox allow-downloads;")
        rules = rules.replace("sandbox", "sandbox allow-scripts", 1)
        headers = {**answer.headers, "content-security-policy": rules}
        route.fulfill(response=answer, headers=headers)

    page.route("**/files/report.html", loosened)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_report_is_whole_in_its_sandbox(
    showing: Hub, visit: Visit, axe_source: str, shots: Path, width: int
) -> None:
    """Nothing of it is lost to the rules under which the hub serves it."""
    visitor = visit(showing, "mia", width)
    page = visitor.go(f"/plans/{showing.numbers['study']}")
    page.get_by_role("link", name="Read the report").click()
    page.wait_for_url("**/files/report.html")
    page.screenshot(path=shots / f"report-{width}.png", full_page=True)
    page = visit(showing, "mia", width).page
    measured(page)
    page.goto(visitor.page.url)
    sizes = page.locator("figure .picture svg").evaluate_all(
        "all => all.map(each => [each.clientWidth, each.querySelectorAll('path, rect').length])"
    )
    seen = [(wide, marks) for wide, marks in sizes if wide]  # of desk and phone one is shown
    assert (len(sizes), len(seen)) == (2 * len(SHOWN), len(SHOWN))
    assert all(wide >= min(300, 0.8 * width) and marks > 5 for wide, marks in seen)
    assert page.evaluate("getComputedStyle(document.body).maxWidth") != "none", "its own style"
    assert page.evaluate("self.origin") == "null"
    sound(page, axe_source, width)
    assert not visitor.complaints


def test_a_report_is_read_by_keyboard(showing: Hub, visit: Visit) -> None:
    """From its first link to the numbers of a figure, and these taken away; then the same keys
    on the page with all of its rules."""
    address = f"/plans/{showing.numbers['study']}/files/report.html"
    visitor = visit(showing, "mia")
    measured(visitor.page)
    page = visitor.go(address)
    keys = _press_until(page, "document.activeElement.hash === '#figures'")
    page.wait_for_url("**/report.html#figures")
    keys += _press_until(page, "document.activeElement.matches('figure summary')")
    page.locator("figure details[open] table").wait_for()
    with page.expect_download() as taken:
        keys += _press_until(page, "document.activeElement.matches('figure a[download]')")
    strict = visit(showing, "mia").go(address)
    with strict.expect_download() as again:
        for key in keys:
            strict.keyboard.press(key)
    assert taken.value.suggested_filename == again.value.suggested_filename == f"{SHOWN[0]}.csv"
    assert taken.value.path().read_bytes() == again.value.path().read_bytes() != b""


def _press_until(page: Page, true: str) -> list[str]:
    """Tab to where this is true, where one sees to be, and Enter; the keys."""
    for number in range(1, 30):
        page.keyboard.press("Tab")
        if page.evaluate(true):
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
            page.keyboard.press("Enter")
            return ["Tab"] * number + ["Enter"]
    raise AssertionError(f"the keyboard does not come to where {true}")


def test_numbers_and_pictures_are_taken_away(
    showing: Hub, visit: Visit, small: dict[str, bytes]
) -> None:
    page = visit(showing, "mia").go(f"/plans/{showing.numbers['study']}")
    for name, (kind, begins) in TYPES.items():
        link = page.locator(f'a[href$="/files/{name}"]')
        link.focus()
        with page.expect_download() as taken:
            page.keyboard.press("Enter")
        assert taken.value.suggested_filename == name.rpartition("/")[2]
        content = taken.value.path().read_bytes()
        assert content == small[name]
        assert content.startswith(begins)
        answer = page.request.get(taken.value.url)
        assert answer.headers["content-type"].partition(";")[0] == kind
    listed = page.locator("main a[download]").evaluate_all("all => all.map(a => a.pathname)")
    assert len(listed) == len(small) - 1, "all but the page itself"


def test_who_may_not_read_it_is_told_so_in_words(
    showing: Hub, visit: Visit, axe_source: str, shots: Path
) -> None:
    """A study of others can't be told from none; a stranger logs in first."""
    number = showing.numbers["study"]
    page = visit(showing, "eve", 360).go("/plans")
    page.screenshot(path=shots / "plans-none.png", full_page=True)
    assert "There is no study here yet" in page.locator("main").inner_text()
    sound(page, axe_source, 360)
    for address in ("/plans/{}", "/plans/{}/files/report.html"):
        texts = []
        for which in (number, number + 99):
            answer = page.goto(showing.url + address.format(which))
            assert answer is not None
            assert answer.status == 404
            texts.append(page.locator("main").inner_text().replace(str(which), "N"))
        sound(page, axe_source, 360)
        assert texts[0] == texts[1]
        assert "no study N" in texts[0]
        stranger = visit(showing, None).go(address.format(number))
        assert "/login?next=" in stranger.url
    assert "Read the report" in visit(showing, "root").go(f"/plans/{number}").content()


def test_a_withdrawn_study_says_so(
    showing: Hub, visit: Visit, axe_source: str, shots: Path, small: dict[str, bytes]
) -> None:
    number = publish(showing, small, "Too early")
    page = visit(showing, "mia").go(f"/plans/{number}")
    page.get_by_role("heading", name="Too early").wait_for()
    client = showing.client("ana")
    client.headers["origin"] = "http://hub.test"
    assert client.delete(f"/api/v1/plans/{number}").status_code == 204
    for address in (f"/plans/{number}", f"/plans/{number}/files/report.html"):
        answer = page.goto(showing.url + address)
        assert answer is not None
        assert answer.status == 404
        assert "may have been withdrawn" in page.locator("main").inner_text()
    sound(page, axe_source, 1280)
    page.screenshot(path=shots / "plan-withdrawn.png", full_page=True)
    page.goto(f"{showing.url}/plans")
    assert "Too early" not in page.locator("main").inner_text()
