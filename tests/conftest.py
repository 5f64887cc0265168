"""Fixtures that every test may use: databases, the browser, object storage.

A component that cannot be had fails its tests when CI=true; elsewhere they are left out, and
the summary says how many and why. Shared data is no component: it may be absent in CI too.
"""

from __future__ import annotations

import gc
import os
import secrets
import signal
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from tests import compiled, components

from meyrin.domain.units import show_count

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# what a check in a helper of these compared is told, as if it stood in the test
pytest.register_assert_rewrite(
    "tests.agent.contract", "tests.walk.books", "tests.walk.slurm_books", "tests.walk.slurm_ends"
)

T = TypeVar("T")
IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}
LEFT_OUT = "left out: "
SHARED_DATA = f"{LEFT_OUT}shared data"
REAL = {
    "postgres_service",
    "postgres_url",
    "fresh_postgres",
    "chromium",
    "browser",
    "page",
    "slurm",
    "bubblewrap",
    "test_clock",
}


def pytest_configure() -> None:
    # A polite kill ends the session like Ctrl-C, so that fixtures stop what they started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    compiled.share()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        if REAL & set(getattr(item, "fixturenames", ())) or (
            parameters.get("database_url") == "postgres"
        ):
            item.add_marker(pytest.mark.real)
    # Several processes share the files out in this order: the long ones must not come last.
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays: the collector need not walk it, now or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)  # usual: 700, 10, 10, and a twentieth of a test's time
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is a failed one, whoever skipped it, but for want of shared data."""
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if IN_CI and skipped and SHARED_DATA not in _reason(report):
        report.outcome = "failed"
        report.longrepr = f"CI leaves nothing out. {_reason(report)}"
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    skipped = terminalreporter.getreports("skipped")
    reasons = Counter(_reason(report) for report in skipped)
    for reason, count in sorted(reasons.items()):
        if LEFT_OUT in reason:
            why = reason.partition(LEFT_OUT)[2]
            left_out = show_count(count, "test")
            terminalreporter.write_line(f"{left_out} left out for want of {why}", yellow=True)


def _reason(report: Any) -> str:
    longrepr = report.longrepr
    return str(longrepr[2] if isinstance(longrepr, tuple) else longrepr)


def _have(get: Callable[[], T]) -> T:
    """The component, or the test left out with the reason (failed, in CI)."""
    try:
        return get()
    except components.Missing as missing:
        pytest.skip(f"{LEFT_OUT}{missing}")


@pytest.fixture(scope="session")
def postgres_service() -> Iterator[components.Service]:
    """The testbed's PostgreSQL; `.call("restart")` and `.call("kill9")` are its faults."""
    service = _have(components.start_postgres)
    yield service
    service.close()


@pytest.fixture(scope="session")
def postgres_url(postgres_service: components.Service) -> str:
    """An SQLAlchemy address on the session's PostgreSQL; its role may create databases."""
    return postgres_service.call("dsn").replace("postgresql://", "postgresql+psycopg://", 1)


@pytest.fixture
def fresh_postgres(postgres_url: str) -> Iterator[str]:
    """An SQLAlchemy address of an empty database of this test's own."""
    with components.postgres_database(postgres_url) as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """An SQLAlchemy address of a new SQLite file."""
    return f"sqlite:///{tmp_path / 'meyrin.sqlite'}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The test runs twice: once on each database that the hub supports."""
    fixture = {"sqlite": "sqlite_url", "postgres": "fresh_postgres"}[request.param]
    return str(request.getfixturevalue(fixture))


@pytest.fixture(scope="session")
def bubblewrap() -> Path:
    """The program that makes the jails of suites."""
    return _have(components.find_bubblewrap)


@pytest.fixture(scope="session")
def test_clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that, preloaded, lets a test set the wall clock of a program from outside."""
    return _have(lambda: components.build_clock(tmp_path_factory.mktemp("clock")))


@pytest.fixture(scope="session")
def slurm() -> Iterator[components.Slurm]:
    """Two real Slurm clusters, alpha and beta."""
    made = _have(components.start_slurm)
    yield made
    made.service.close()


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The program of a real Chromium."""
    return _have(components.find_chromium)


@pytest.fixture(scope="module")
def browser(chromium: Path) -> Iterator[Browser]:
    """A headless Chromium. Per module: Playwright's loop must not outlive its tests."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=chromium, args=list(components.CHROMIUM_ARGS)
        )
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page without cookies."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


@pytest.fixture(scope="session")
def axe_source() -> str:
    """The text of axe-core: evaluate it in a page, then `components.AXE_FAULTS`."""
    return components.axe()


@dataclass(frozen=True)
class Bucket:
    """An empty bucket on an S3 server; `options` opens it with fsspec."""

    endpoint: str
    name: str

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    @property
    def options(self) -> dict[str, Any]:
        return {"key": "test", "secret": "test", "endpoint_url": self.endpoint}


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3 server in this process. It checks no secrets: data paths only."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_endpoint: str) -> Iterator[Bucket]:
    """An empty bucket of this test's own."""
    import boto3

    name = f"t-{secrets.token_hex(8)}"
    client = boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_bucket(Bucket=name)
    yield Bucket(s3_endpoint, name)
    client.close()
