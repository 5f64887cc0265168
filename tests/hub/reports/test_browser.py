"""The pages in a real browser: accessible, on a phone too, by keyboard, live, and safe."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests import components
from tests.hub.reports.world import Hub

from meyrin.domain.units import Unit
from meyrin.hub.calls import changing, notices, proposals
from meyrin.hub.calls import service as calls
from meyrin.hub.identity import service as identity
from meyrin.hub.identity.service import SESSION_COOKIE
from meyrin.hub.sites import terms

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

WIDTHS = [1280, 360]
PAGES = {
    "overview": "/",
    "jobs": "/jobs",
    "jobs-none": "/jobs?state=expired&site=beta",
    "completed": "/jobs/{completed}",
    "failed": "/jobs/{failed}?stream=stderr",
    "untested": "/jobs/{untested}",
    "tested": "/jobs/{tested}",
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
    "models": "/projects/climate/models",
    "models-of": "/projects/climate/models?family=tiny",
    "models-none": "/projects/genome/models",
    "owners": "/owners",
    "not-found": "/jobs/999999",
    "nowhere": "/no/such/page",
}
ERRORS = {"not-found", "nowhere"}
# pages about people, asks and hours: who looks, and at what; each in turn in one tab
OTHERS = {
    "you": ("ana", "/you"),
    "you-newcomer": ("newcomer", "/you"),
    "you-root": ("root", "/you"),
    "roles": ("root", "/roles"),
    "terms": ("ana", "/terms"),
    "people-lead": ("ana", "/projects/climate/people"),
    "people-member": ("mia", "/projects/climate/people"),
    "notices": ("ana", "/notices"),
    "proposal": ("ana", "/proposals/{ask}"),
    "officer": ("root", "/officer"),
    "officer-hours": ("root", "/officer/hours"),
    "owners-root": ("root", "/owners"),
    "studies": ("ana", "/plans"),
    "apply": ("ana", "/apply"),
    "apply-wrong": ("ana", "/apply?unsent=gone"),
    "run": ("ana", "/run?project=climate"),
    "run-newcomer": ("newcomer", "/run"),
    "projects-newcomer": ("newcomer", "/projects"),
    "not-yours": ("newcomer", "/roles"),
}
STATUSES = {"apply-wrong": 404, "not-yours": 403}
EMPTY = {
    "/": "meyrin agent",
    "/jobs": "No job was submitted yet",
    "/sites": "no site",
    "/projects": "no project yet",
    "/you": "root",
    "/roles": "programme officer",
    "/terms": "No site asks for anything",
    "/notices": "Nothing",
    "/officer": "Nothing waits",
    "/officer/hours": "Nobody asks for a change",
    "/owners": "no month to see yet",
    "/plans": "no study here yet",
    "/apply": "No site lends anything",
    "/run": "You are in no project yet",
    "/clocks": "Nobody has asked",
}


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
def visit(browser: Browser) -> Iterator[Visit]:
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


Visit = Callable[..., Visitor]


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this module leaves pictures of the pages, for people to look at."""
    return tmp_path_factory.mktemp("shots")


def _axe(page: Page, source: str) -> list[str]:
    page.evaluate(source)
    return [
        f"{each['id']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
        for each in page.evaluate(components.AXE_FAULTS)
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_sound(
    filled: Hub, visit: Visit, axe_source: str, shots: Path, *, name: str, width: int
) -> None:
    dark = width == 360
    visitor = visit(filled, width=width, color_scheme="dark" if dark else "light")
    page = visitor.go(PAGES[name].format(**filled.numbers))
    if page.locator("#log").count():
        page.locator("#log-state", has_text=re.compile("Following|ended")).wait_for()
    page.screenshot(path=shots / f"{name}-{width}.png", full_page=True)
    complaints = [c for c in visitor.complaints if name not in ERRORS or "404" not in c]
    assert not complaints
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("window.hacked") is None
    assert not _axe(page, axe_source)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_first_day_says_what_to_do_next(
    empty_hub: Hub, visit: Visit, axe_source: str, shots: Path, width: int
) -> None:
    visitor = visit(empty_hub, "root", width)
    page = visitor.go("/")
    page.screenshot(path=shots / f"empty-{width}.png", full_page=True)
    text = page.locator("main").inner_text()
    for command in ("meyrin agent", "meyrin submit"):
        assert command in text
    assert not _axe(page, axe_source)
    assert not visitor.complaints


@pytest.fixture(scope="module")
def peopled(filled: Hub) -> Hub:
    """With terms, somebody who left, an ask, a change that waits, and words to know."""
    root, ana = filled.actor("root"), filled.actor("ana")
    filled.person("mia", "climate")
    filled.person("leo", "climate")
    with filled.database.write() as step:
        terms.put(
            step, root, "gamma", "2027-1", "Be <b>kind</b>.\n" * 30, "https://gamma.example/t"
        )
        terms.put(step, root, "epsilon", "1", "Pay attention.", "")
        terms.accept(step, ana, "epsilon", "1")
        identity.remove_member(step, ana, "climate", "leo")
        said = proposals.Ask("k", "large", "A large idea", "sme", "train", 5000, Unit.ACCELERATOR,
                             6, "h100")  # fmt: skip
        filled.numbers["ask"] = proposals.ask(step, ana, said, filled.app.state.modes).id
        mine = next(p for p in identity.all_projects(step, "", 100)[0] if p.name == "climate")
        held = calls.visible(step, ana, mine.name, "", 9)[0][0]
        changing.ask(step, ana, changing.Wanted("extend", held.id, "k", "the <i>data</i> were late",
                                                end_s=held.end_s + 86_400))  # fmt: skip
        notices.tell(step, held, "test", "too little is used: <b>3 %</b> of what was expected")
    return filled


@pytest.mark.parametrize("width", WIDTHS)
def test_pages_about_people_and_hours_are_sound(
    peopled: Hub, visit: Visit, axe_source: str, shots: Path, width: int
) -> None:
    """Each is opened, pictured, and walked by keyboard."""
    visitors: dict[str, Visitor] = {}
    for name, (who, path) in OTHERS.items():
        visitor = visitors.setdefault(who, visit(peopled, who, width))
        answer = visitor.page.goto(peopled.url + path.format(**peopled.numbers))
        page = visitor.page
        page.screenshot(path=shots / f"{name}-{width}.png", full_page=True)
        assert answer is not None
        assert answer.status == STATUSES.get(name, 200), name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert page.evaluate("window.hacked") is None
        assert not _axe(page, axe_source), name
        if width == WIDTHS[0]:
            _reach_everything(page, name)
    heard = [c for visitor in visitors.values() for c in visitor.complaints]
    assert not [c for c in heard if "404" not in c and "403" not in c]


def test_every_page_of_an_empty_hub_says_what_to_do(
    empty_hub: Hub, visit: Visit, axe_source: str
) -> None:
    page = visit(empty_hub, "root", 360).page
    for path, words in EMPTY.items():
        page.goto(empty_hub.url + path)
        assert words in page.locator("main").inner_text(), path
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        assert not _axe(page, axe_source), path


# --- keyboard


def test_the_keyboard_reaches_everything(filled: Hub, visit: Visit) -> None:
    visitor = visit(filled)
    for name in ("overview", "jobs", "running", "array", "project", "cancel"):
        _reach_everything(visitor.go(PAGES[name].format(**filled.numbers)), name)


def _reach_everything(page: Page, name: str) -> None:
    """The Tab key reaches all that can be used, and one sees where it is."""
    wanted = page.evaluate(
        """() => {
          const all = document.querySelectorAll(
            'a[href], button, select, textarea, input:not([type=hidden]), summary, [tabindex="0"]');
          const seen = [...all].filter((e) => e.checkVisibility());
          seen.forEach((e, i) => e.dataset.stop = i);
          return seen.length;
        }"""
    )
    reached = set()
    for _ in range(wanted):
        page.keyboard.press("Tab")
        stop, outline = page.evaluate(
            "[document.activeElement.dataset.stop, "
            "getComputedStyle(document.activeElement).outlineStyle]"
        )
        reached.add(stop)
        assert outline != "none", f"{name}: no visible focus at stop {stop}"
    assert len(reached - {None}) == wanted, name


def test_the_skip_link_leads_past_the_menu(filled: Hub, visit: Visit) -> None:
    page = visit(filled).go("/jobs")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "f-state"


# --- live


def test_output_and_state_appear_by_themselves(own_hub: Hub, visit: Visit) -> None:
    hub, job = own_hub, own_hub.numbers["running"]
    visitor = visit(hub)
    page = visitor.go(f"/jobs/{job}")
    log = page.locator("#log")
    log.get_by_text("begin").wait_for()
    letter = "ж".encode()
    hub.say(job, b"half a letter: " + letter[:1])
    log.get_by_text("half a letter").wait_for()
    hub.say(job, letter[1:] + b"\n\x1b[31mred\x1b[0m 10 %\r20 %\r\n<i>no tag</i>\n")
    log.get_by_text("no tag").wait_for()
    assert log.inner_text() == "begin\nhalf a letter: ж\n20 %\n<i>no tag</i>\n"
    hub.clock.pass_s(300)
    hub.end(job, elapsed_s=300)
    page.locator("#job_head .badge", has_text="completed").wait_for()
    page.locator("#job_times li", has_text="completed").wait_for()
    page.locator("#job_cost", has_text="0.083").wait_for()
    page.locator("#log-state", has_text="This is all").wait_for()
    page.locator("#say", has_text="is completed").wait_for(state="attached")
    assert page.title().startswith("completed")
    assert page.locator("#poll").get_attribute("hx-get") is None, "nothing changes any more"
    assert not visitor.complaints


def test_a_swap_keeps_focus_scroll_and_what_is_open(own_hub: Hub, visit: Visit) -> None:
    hub = own_hub
    page = visit(hub).go("/")
    link = f"j-{hub.numbers['waiting']}"
    page.locator(f"#{link}").focus()
    page.evaluate("scrollTo(0, 400)")
    page.evaluate("document.querySelector('#newest').dataset.old = 'yes'")
    hub.end(hub.numbers["running"])
    page.locator("#newest:not([data-old])").wait_for()
    assert page.evaluate("document.activeElement.id") == link
    assert page.evaluate("scrollY") == 400
    page.goto(f"{hub.url}/jobs/{hub.numbers['waiting']}")
    page.locator("#d-never summary").click()
    page.evaluate("document.querySelector('#job_why').dataset.old = 'yes'")
    hub.end(hub.numbers["array"] + 4)
    hub.end(hub.numbers["strange"])
    hub.clock.pass_s(60)
    page.locator("#job_why:not([data-old])").wait_for()
    assert page.locator("#d-never").get_attribute("open") is not None


def test_a_long_log_stays_bounded_and_where_the_reader_is(own_hub: Hub, visit: Visit) -> None:
    hub, job = own_hub, own_hub.numbers["running"]
    page = visit(hub).go(f"/jobs/{job}")
    log = page.locator("#log")
    log.get_by_text("begin").wait_for()
    lines = [f"line {n} {'x' * 90}" for n in range(12000)]
    hub.say(job, "\n".join(lines).encode() + b"\nlast of many\n")
    page.locator("#log", has_text="last of many").wait_for()
    assert page.evaluate("document.querySelector('#log').textContent.length") < 450_000
    assert page.evaluate("document.querySelector('#log').childNodes.length") < 100
    at_end = "(e) => e.scrollHeight - e.scrollTop - e.clientHeight < 24"
    assert log.evaluate(at_end)
    log.evaluate("(e) => { e.scrollTop = 1000; }")
    hub.say(job, b"one more\n")
    page.locator("#log-end").wait_for()
    assert log.evaluate("(e) => e.scrollTop") == 1000
    page.locator("#log-end").click()
    assert log.evaluate(at_end)
    # opened again, the page begins near the end and says so
    page.reload()
    page.locator("#log", has_text="one more").wait_for()
    assert not log.evaluate("(e) => e.textContent").startswith("begin")
    assert page.get_by_text("came before").is_visible()
    # also where all of that part is one line that has not ended
    hub.say(job, b"." * 300_000 + b" the end of a bar")
    page.reload()
    page.locator("#log", has_text="the end of a bar").wait_for()


def test_a_log_that_was_cut_is_not_said_to_be_all(own_hub: Hub, visit: Visit) -> None:
    hub, job = own_hub, own_hub.numbers["running"]
    visitor = visit(hub)
    page = visitor.go(f"/jobs/{job}")
    hub.say(job, b"x" * 2000, most=1536)
    page.locator("#log", has_text="xxx").wait_for()
    hub.end(job)
    page.locator("#log-state", has_text="this is cut at 1.5 KiB").wait_for()
    assert "This is all" not in page.locator("#log-state").inner_text()
    page.reload()
    assert page.get_by_text("hub keeps of it (1.5 KiB)").is_visible()
    assert not visitor.complaints


def test_nothing_is_asked_while_nobody_looks(filled: Hub, visit: Visit) -> None:
    page = visit(filled).go("/")
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {get: () => true, configurable: true})"
    )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    prevented = page.evaluate(
        """() => new Promise((done) => document.addEventListener('htmx:beforeRequest',
              (event) => setTimeout(() => done(event.defaultPrevented))))"""
    )
    assert prevented
    assert not [address for address in asked if "seen=" in address]
    with page.expect_request("**/*seen=*"):
        page.evaluate("delete document.hidden")


def test_a_hub_that_goes_away_is_said(empty_hub: Hub, visit: Visit) -> None:
    page = visit(empty_hub, "root").go("/")
    page.route("**/*seen=*", lambda route: route.abort())
    page.locator("#stale").wait_for()
    page.unroute("**/*seen=*")
    page.locator("#stale").wait_for(state="hidden")


# --- doing


def test_cancelling_asks_first(own_hub: Hub, visit: Visit) -> None:
    hub = own_hub
    page = visit(hub).go(f"/jobs/{hub.numbers['waiting']}")
    page.locator("#cancel").click()
    page.get_by_role("button", name="Cancel it").click()
    page.wait_for_url(f"**/jobs/{hub.numbers['waiting']}")
    assert page.locator("#job_head .badge").inner_text() == "cancelled"
    assert "cancelled by ana" in page.locator("#job_head").inner_text()


def test_a_session_that_ends_leads_to_the_log_in(own_hub: Hub, visit: Visit) -> None:
    visitor = visit(own_hub)
    page = visitor.go("/jobs?state=running")
    page.context.clear_cookies()
    page.wait_for_url("**/login?next=*")
    assert "meyrin login" in page.content()


def test_a_link_for_somebody_else_asks_first(own_hub: Hub, visit: Visit) -> None:
    """The form's origin is checked: a real browser must say it."""
    page = visit(own_hub).go(f"/login?link={own_hub.link('root')}&next=/you")
    page.get_by_role("button", name="Log in as root").click()
    page.wait_for_url("**/you")
    assert page.evaluate("fetch('/api/v1/me').then(a => a.json())")["person"]["name"] == "root"
