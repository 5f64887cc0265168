"""The components that the tests lean on are really there and really empty."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from tests import components

if TYPE_CHECKING:
    from playwright.sync_api import Page
    from tests.conftest import Bucket


@pytest.mark.parametrize("turn", [1, 2])
def test_every_test_gets_an_empty_database(database_url: str, turn: int) -> None:
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        assert sa.inspect(connection).get_table_names() == []
        connection.execute(sa.text(f"create table seen_{turn} (id integer)"))
    engine.dispose()


def test_chromium_opens_a_page_and_axe_finds_its_faults(page: Page, axe_source: str) -> None:
    page.set_content("<html><body><img src='data:,'></body></html>")
    page.evaluate(axe_source)
    found = page.evaluate(components.AXE_FAULTS)
    assert "image-alt" in {violation["id"] for violation in found}
    assert found == page.evaluate("axe.run()")["violations"]  # its long account has no more


def test_the_bucket_keeps_what_it_is_given(bucket: Bucket) -> None:
    import fsspec

    files = fsspec.filesystem("s3", **bucket.options, skip_instance_cache=True)
    files.pipe_file(f"{bucket.name}/a", b"meyrin")
    assert files.cat_file(f"{bucket.name}/a") == b"meyrin"


def test_a_service_ends_with_its_tests_even_when_they_are_killed(tmp_path: Path) -> None:
    script = tmp_path / "service.sh"
    script.write_text('#!/bin/sh\n[ "$1" != down ] || touch "$(dirname "$0")/down"\n')
    script.chmod(0o755)
    words = "import os, sys; from pathlib import Path; from tests import components as c; "
    words += "c.Service.start('service', Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    killed = subprocess.run([sys.executable, "-c", words, script], cwd=components.ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    until = time.monotonic() + 30
    while not (tmp_path / "down").exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert (tmp_path / "down").exists()


def test_ports_of_a_cluster_are_one_process_s_alone() -> None:
    base = components.free_ports(200)
    words = "import sys; from tests import components as c; "
    words += "c.secrets.randbelow = lambda _: (int(sys.argv[1]) - 20_000) // 200; c.free_ports(200)"
    other = subprocess.run(
        [sys.executable, "-c", words, str(base)],
        cwd=components.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "no free ports" in other.stderr
    assert components.free_ports(200) == base  # nothing of it is in use yet


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    script = tmp_path / "service.sh"
    script.write_text("#!/bin/sh\necho '[testbed] MISSING: Debian packages x' >&2\nexit 3\n")
    script.chmod(0o755)
    with pytest.raises(components.Missing, match=r"^thing: Debian packages x$"):
        components.Service.start("thing", script)
    assert subprocess.run([script], check=False, capture_output=True).returncode == 3
