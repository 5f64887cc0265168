"""Bad input through the real command line against a real hub: a clear error, or it just works.

A clear error has the exit code of DESIGN section 11, names the field or value, and the way out.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.walk.facility import Facility, facility, wait_for

from meyrin.wire.ledger import NewAward

USAGE, REFUSED, NOT_FOUND = 2, 3, 5
SCRIPTS = {
    "good.sh": b"#!/bin/sh\necho fine\n",
    "binary.sh": b"#!/bin/sh\n\0\1\n",
    "latin.sh": b"#!/bin/sh\necho caf\xe9\n",
    "plain.sh": b"echo no interpreter\n",
    "empty.sh": b"",
    "option.sh": b"#!/bin/sh\n#SBATCH --time=1\n#SBATCH --frobnicate=3\n",
    "crlf.sh": b"#!/bin/sh\r\n#SBATCH --time=1\r\n#SBATCH --job-name=windows\r\necho crlf\r\n",
    "bom.sh": b"\xef\xbb\xbf#!/bin/sh\n#SBATCH --time=1\n#SBATCH --job-name=marked\necho bom\n",
}


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facility]:
    """A hub and a site; project `home` has hours, `poor` none, `old` had some."""
    root = tmp_path_factory.mktemp("town")
    with facility(root) as made:
        made.hub.start()
        made.grant(10_000_000)
        made.agent("alps").start()
        with made.hub.client() as client:
            for name in ("poor", "old", "short"):
                client.projects.create(name)
            end_s = int(time.time()) + 2
            told = {"charged_type": "core", "reason": "for the test"}
            later_s = end_s + 10**6
            for name, amount_s, until_s in (("old", 9999, end_s), ("short", 30, later_s)):
                wanted = NewAward(
                    key=f"for {name}", project=name, amount_s=amount_s, end_s=until_s, **told
                )
                client.ledger.award(wanted)
        made.joined("alps")
        for name, text in SCRIPTS.items():
            (root / name).write_bytes(text)
        (root / "folder.sh").mkdir()
        wait_for(lambda: time.time() > end_s, "the end of an allocation")
        yield made


@pytest.mark.parametrize(
    ("arguments", "code", "named", "way_out"),
    [
        (["--frobnicate", "good.sh"], USAGE, "--frobnicate", "--help"),
        (["option.sh"], USAGE, "line 3: sbatch has no option --frobnicate", "--help"),
        (["--ntasks=0", "good.sh"], USAGE, "--ntasks=0", "1 or more"),
        (["--ntasks=1000", "good.sh"], REFUSED, "125 nodes; alps/main", "fewer nodes"),
        (["--mem=100T", "good.sh"], REFUSED, "102400 GiB", "--mem=8000M"),
        (["--gpus=1", "good.sh"], REFUSED, "accelerator", "alps"),
        (["--nodes=7", "good.sh"], REFUSED, "7", "alps"),
        (["--time=10-0", "good.sh"], REFUSED, "10-00:00:00", "1:00:00"),
        (["--time=soon", "good.sh"], USAGE, "--time=soon", "HH:MM:SS"),
        (["--account=poor", "good.sh"], REFUSED, "no current allocation", "ask for one"),
        (["--account=old", "good.sh"], REFUSED, "has ended", "ask for new hours"),
        (
            ["--account=short", "--time=10", "good.sh"],
            REFUSED,
            "would hold 0.167 hours",
            "shorter --time",
        ),
        (["--account=nonesuch", "good.sh"], NOT_FOUND, "nonesuch", "project list"),
        (["--partition=nowhere", "good.sh"], REFUSED, "nowhere", "alps/main"),
        (["--dependency=afterok:999999", "good.sh"], USAGE, "999999", "meyrin jobs"),
        (["--array=0-100000", "good.sh"], USAGE, "100,001 elements", "100,000"),
        (["--job-name=" + "x" * 201, "good.sh"], USAGE, "--job-name", "1 to 200"),
        (["--input=no-such-file", "good.sh"], USAGE, "no-such-file", ""),
        (["folder.sh"], USAGE, "folder.sh is a directory", "name the script"),
        (["binary.sh"], USAGE, "NUL byte in line 2", "meyrin run"),
        (["latin.sh"], USAGE, "not UTF-8 in line 2", "iconv"),
        (["plain.sh"], USAGE, "does not start with #!", "#!/bin/bash"),
        (["empty.sh"], USAGE, "empty", ""),
        (["missing.sh"], USAGE, "missing.sh", "look at the name"),
    ],
)
def test_what_cannot_be_run_is_refused_in_words(
    town: Facility, arguments: list[str], code: int, named: str, way_out: str
) -> None:
    given = arguments if "--account" in arguments[0] else ["--account=home", *arguments]
    done = town.meyrin("submit", *given)
    assert done.returncode == code, done
    assert done.stdout == ""
    assert named in done.stderr
    assert way_out in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("script", "name"), [("crlf.sh", "windows"), ("bom.sh", "marked")])
def test_files_from_other_systems_just_work(town: Facility, script: str, name: str) -> None:
    done = town.meyrin("submit", "--account=home", "--wait", "--parsable", script)
    assert done.returncode == 0, done
    job = done.stdout.strip()
    assert town.meyrin("logs", job).stdout == f"{script.partition('.')[0]}\n"
    shown = json.loads(town.meyrin("show", job, "--json").stdout)
    assert (shown["job"]["name"], shown["job"]["walltime_s"]) == (name, 60)


def test_names_in_any_alphabet(town: Facility) -> None:
    title = "Проект 項目 مشروع 🚀"
    done = town.meyrin("project", "create", "worldwide", "--title", title)
    assert done.returncode == 0, done
    assert title in town.meyrin("project", "show", "worldwide").stdout
    word, folder = "Ἀριθμός 数 ünï 🚀", town.root / "données ünï"
    folder.mkdir()
    (folder / "größe 数.txt").write_text("42 数")
    done = town.meyrin(
        "submit", "--account=home", "--wait", "--parsable", f"--job-name={word}",
        "--input=größe 数.txt", "--output=έξοδος-%j.txt", "--output-files=results/*",
        "--wrap=mkdir results; cat 'größe 数.txt' > 'results/wynik ż.txt'; echo 好",
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done
    job = done.stdout.strip()
    assert town.meyrin("logs", job).stdout == "好\n"
    assert json.loads(town.meyrin("show", job, "--json").stdout)["job"]["name"] == word
    assert town.meyrin("fetch", job, "--into=back", cwd=folder).returncode == 0
    assert (folder / "back" / "results" / "wynik ż.txt").read_text() == "42 数"


def test_an_array_of_ten_thousand_is_accepted_listed_and_cancelled(town: Facility) -> None:
    with town.hub.client() as client:
        client.sites.drain("alps", "so that nothing starts")
    try:
        done = town.meyrin(
            "submit", "--account=home", "--array=0-9999", "--parsable", "--time=1", "good.sh"
        )
        assert done.returncode == 0, done
        job = done.stdout.strip()
        listed = json.loads(town.meyrin("jobs", "--limit=500", "--json").stdout)
        assert len(listed["jobs"]) == 500
        assert listed["jobs"][0]["label"] == f"{job}_9999"
        shown = json.loads(town.meyrin("show", job, "--json").stdout)
        assert sum(shown["array"].values()) == 10_000
        assert town.meyrin("cancel", job).returncode == 0
        shown = json.loads(town.meyrin("show", job, "--json").stdout)
        assert shown["array"] == {"cancelled": 10_000}
    finally:
        with town.hub.client() as client:
            client.sites.resume("alps")
    assert peak_mb(town) < 400


def peak_mb(place: Facility) -> int:
    """The most memory that the hub ever had."""
    assert place.hub.process.running is not None
    status = Path(f"/proc/{place.hub.process.running.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def test_a_port_in_use(town: Facility) -> None:
    port = str(town.hub.port)
    done = town.meyrin("up", "--dir", str(town.root / "other"), "--port", port)
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "--port" in done.stderr


def test_a_second_hub_or_agent_on_the_same_folder(town: Facility) -> None:
    done = town.meyrin("up", "--dir", str(town.hub.folder), "--port", "0")
    assert done.returncode == 1
    assert town.hub.process.running is not None
    assert f"(process {town.hub.process.running.pid})" in done.stderr
    assert str(town.hub.folder) in done.stderr
    same = f"sqlite:///{town.hub.folder / 'hub.sqlite'}"
    done = town.meyrin("up", "--dir", str(town.root / "beside"), "--db", same, "--port", "0")
    assert done.returncode == 1
    assert "hub.sqlite already" in done.stderr
    done = town.meyrin("agent", "--config", str(town.agents["alps"].folder / "agent.toml"))
    assert done.returncode == 1
    assert "works in" in done.stderr
    # neither did harm to the one that was there first
    assert town.meyrin("run", "--account=home", "--time=1", "--", "true").returncode == 0


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        (["--db", "nonsense"], USAGE, "no address of a database"),
        (["--db", "postgresql+psycopg://nobody@127.0.0.1:1/none"], 6, "--db"),
        (["--host", "203.0.113.5"], 1, "203.0.113.5"),
    ],
)
def test_a_hub_that_cannot_start_says_why(
    town: Facility, options: list[str], code: int, named: str
) -> None:
    where = ["--dir", str(town.root / "stillborn"), "--port", "0", "--no-local-site"]
    done = town.meyrin("up", *where, *options)
    assert done.returncode == code, done
    assert named in done.stderr
    assert "Traceback" not in done.stderr


def test_an_agent_that_cannot_start_says_why(town: Facility) -> None:
    folder = town.root / "lame"
    folder.mkdir()
    config, credential = folder / "agent.toml", folder / "credential"
    text = 'hub = "http://127.0.0.1:1"\ncredential_file = "credential"\ndir = "."\n'
    cases = [
        (None, "agent.toml can't be read"),
        ("hub = ", "is no TOML"),
        (text + "port = 5\n", "port"),
        (text, "[[partition]]"),
        (text + '[[partition]]\nname = "m"\nnodes = 0\n', "partition"),
        (text + 'batch = "lsf"\n', "lsf"),
    ]
    credential.write_text("x")
    credential.chmod(0o600)
    for written, named in cases:
        if written is not None:
            config.write_text(written)
        done = town.meyrin("agent", "--config", str(config))
        assert done.returncode == USAGE, (written, done)
        assert named in done.stderr, (written, done)
        assert "Traceback" not in done.stderr, (written, done)
    config.write_text(text + PARTITION_TOML)
    credential.chmod(0o644)
    done = town.meyrin("agent", "--config", str(config))
    assert (done.returncode, "chmod 600" in done.stderr) == (USAGE, True), done


PARTITION_TOML = (
    '[[partition]]\nname = "m"\nnodes = 1\ncores_per_node = 1\nmemory_mb_per_node = 1\n'
)
