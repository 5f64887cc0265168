"""What is wrong in a settings file is said with its line, its key and the way out."""

from __future__ import annotations

import pytest

from meyrin.agent import config as settings
from meyrin.agent.wrong import line_of
from meyrin.domain.errors import InvalidInput

TEXT = """\
hub = "http://hub.test"
credential_file = "credential"
dir = "state"
batch = "slurm"

[rules]
max_jobs_at_once = 1  # few

[[offer]]
partition = "cpu"
owners = { uni = 1 }

[[offer]]
partition = "gpu"
owners = { uni = 1 }

[slurm]
poll_min_s = 2.0
[slurm.accounts]
lab = "astro"
[slurm.partitions.gpu]
partition = "accel"
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "hint"),
    [
        ("max_jobs_at_once = 1", "max_job_at_once = 1", 7, "perhaps max_jobs_at_once"),
        ("max_jobs_at_once = 1", 'max_jobs_at_once = "many"', 7, "--check"),
        ("poll_min_s = 2.0", "poll_min_s = 0", 18, "--check"),
        ('lab = "astro"', "lab = 3", 20, "--check"),
        ('[slurm.accounts]\nlab = "astro"', 'accounts.lab = ["astro"]', 19, "--check"),
        ('partition = "accel"', 'partitio = "accel"', 22, "perhaps partition"),
        ('partition = "gpu"', 'partition = "gpu"\nuntil = "soon"', 15, "--check"),
        ('partition = "gpu"\nowners', 'partition = "gpu"\nowner', 15, "perhaps owners"),
        ('hub = "http://hub.test"\n', "", None, "add it"),
        ("max_jobs_at_once = 1", "max_jobs_at_once = true", 7, "--check"),
        ("max_jobs_at_once = 1", 'max_accelerators_at_once = "16"', 7, "--check"),
        ("max_jobs_at_once = 1", "max_accelerators = 4.0", 7, "--check"),
        ("max_jobs_at_once = 1", 'time_zone = "Mars/Olympus"', 7, "--check"),
        ("max_jobs_at_once = 1", 'quiet_hours = ["always"]', 7, "--check"),
        ("poll_min_s = 2.0", "poll_min_s = 60", 17, "--check"),
        ('partition = "gpu"\nowners = { uni = 1 }', 'partition = "gpu"\nowners.uni = 2.0', 15, ""),
        ("[rules]", "[rulez]", 6, "perhaps rules"),
        ("[rules]", "[rules", 6, "the line that it names"),
    ],
)
def test_the_line_the_key_and_the_way_out(tmp_path, old, new, line, hint):
    path = tmp_path / "agent.toml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(InvalidInput) as caught:
        settings.load(path)
    said = caught.value.message
    assert line is None or f"line {line}" in said, said
    assert hint in caught.value.hint


def test_a_place_that_is_nowhere_has_no_line():
    assert line_of(TEXT, ("nothing",)) is None
    assert line_of("", ("rules",)) is None


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("max_jobs_at_once = true", "true is no whole number"),
        ('max_jobs_at_once = "16"', '"16" is no whole number'),
        ("max_jobs_at_once = 4.0", "4.0 is no whole number"),
        ('veto_timeout_s = "5"', '"5" is no number'),
        ('quiet_hours = "22:00-06:00"', '"22:00-06:00" is no list: write [...]'),
        ("drained = true", "true is no text: write it in quotes"),
        ('quiet_hours = ["always"]', "'always' are no quiet hours; write such as"),
        ('time_zone = "Mars/Olympus"', "there is no time zone 'Mars/Olympus'; write such as"),
    ],
)
def test_a_value_of_another_kind_is_refused_in_words(tmp_path, new, words):
    path = tmp_path / "agent.toml"
    path.write_text(TEXT.replace("max_jobs_at_once = 1", new))
    with pytest.raises(InvalidInput) as caught:
        settings.load(path)
    assert words in caught.value.message


def test_lists_paths_days_and_addresses_are_taken_as_toml_has_them(tmp_path):
    path = tmp_path / "agent.toml"
    more = """max_jobs_at_once = 1
quiet_hours = ["22:00-06:00"]
veto = "veto"
veto_timeout_s = 5
"""
    text = TEXT.replace("max_jobs_at_once = 1", more)
    text = text.replace("poll_min_s = 2.0", 'poll_min_s = 2\npush_address = "10.0.0.1"')
    path.write_text(text.replace('partition = "gpu"', 'partition = "gpu"\nuntil = 2900-01-01'))
    found = settings.load(path)
    assert (found.rules.quiet_hours, found.rules.veto) == (("22:00-06:00",), tmp_path / "veto")
    assert (str(found.offer[1].until), str(found.slurm.push_address)) == ("2900-01-01", "10.0.0.1")
