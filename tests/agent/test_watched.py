"""The settings file of a running agent: read again, refused when it is wrong, never half taken."""

from __future__ import annotations

import os

import pytest
from tests.agent.scripted import Site

from meyrin.agent import config as settings
from meyrin.agent.watched import Watched

TEXT = """
hub = "http://hub.test"
credential_file = "credential"
dir = "state"
[rules]
max_jobs_at_once = 1
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "agent.toml"
    path.write_text(TEXT)
    return path


def edit(path, text):
    """A new file in its place, as editors do; its date need not move on."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.utime(new, (1, 1))
    new.replace(path)


def test_an_edit_is_taken_once(file):
    present, watched = settings.load(file), Watched(file)
    assert watched.look(present) is None
    edit(file, TEXT.replace("= 1", "= 5"))
    found = watched.look(present)
    assert found.rules.max_jobs_at_once == 5
    assert watched.look(found) is None
    assert watched.trouble == ""


@pytest.mark.parametrize(
    "text",
    ["[rules", TEXT.replace("max_jobs", "max_job"), TEXT.replace("= 1", '= "many"'), "",
     TEXT + 'quiet_hours = ["some"]', TEXT + 'time_zone = "Moon"'],
)  # fmt: skip
def test_a_bad_edit_keeps_the_rules_before_and_says_so(file, text):
    present, watched = settings.load(file), Watched(file)
    edit(file, text)
    assert watched.look(present) is None
    assert "those before hold" in watched.trouble
    assert watched.look(present) is None  # said once, not read again
    edit(file, TEXT.replace("= 1", "= 2"))
    assert watched.look(present).rules.max_jobs_at_once == 2
    assert watched.trouble == ""


def test_a_file_that_is_gone_changes_nothing(file):
    present, watched = settings.load(file), Watched(file)
    file.unlink()
    assert watched.look(present) is None
    assert watched.trouble
    file.write_text(TEXT)
    assert watched.look(present) is None
    assert watched.trouble == ""


def test_what_needs_a_new_start_waits_for_one_and_is_said(file):
    present, watched = settings.load(file), Watched(file)
    edit(file, TEXT.replace("hub.test", "other.test").replace("= 1", "= 3"))
    found = watched.look(present)
    assert (found.hub, found.rules.max_jobs_at_once) == ("http://hub.test", 3)
    assert "new start: hub" in watched.trouble


def test_a_signal_reads_it_whatever_its_date(file):
    present, watched = settings.load(file), Watched(file)
    status = file.stat()
    file.write_text(TEXT.replace("= 1", "= 7"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert watched.look(present) is None  # the same size, the same date
    watched.wake()
    assert watched.look(present).rules.max_jobs_at_once == 7


def test_new_rules_hold_for_what_comes_and_leave_what_runs(tmp_path, file):
    site = Site(tmp_path / "site", rules={"max_jobs_at_once": 1})
    agent = site.agent()
    agent.watched = Watched(file)
    for _ in range(3):
        site.hub.add()
    agent.hello()
    site.cycle(agent)
    assert len(site.batch.waiting()) == 1
    edit(file, TEXT.replace("= 1", "= 2"))
    agent.settings_once()
    site.cycle(agent)
    assert len(site.batch.waiting()) == 2
    edit(file, TEXT.replace("max_jobs_at_once = 1", 'drained = "new cooling"'))
    agent.settings_once()
    site.cycle(agent)
    assert len(site.batch.waiting()) == 2
    assert site.hub.not_now[-1] == "new cooling"
    edit(file, "no TOML")
    agent.settings_once()
    site.cycle(agent)
    assert site.hub.not_now[-1] == "new cooling"
    assert "those before hold" in site.hub.heard[-1][1].trouble
    site.close()
