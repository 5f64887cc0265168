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
