"""A test of a model that left no evidence: pages say what happened and what to do, and no pass.

What a job said is made by the program that says it at a site, from the very error; then it is
sent, kept and shown as every output is.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from tests.hub.evaluations import rows as gate_rows
from tests.hub.facility import Facility, chunk

from meyrin.domain.errors import Failed, MeyrinError
from meyrin.hub.reports import suite_runs
from meyrin.suites import bundle, evidence, execute, handed, job
from meyrin.suites.execute import Asked
from meyrin.suites.spec import LOGS, PROBLEM
from meyrin.suites.suite import find
from meyrin.suites.tiny import load

HTML = {"accept": "text/html"}
NEITHER = "it neither passes nor fails"


def raising(folder: Path) -> MeyrinError:
    """A suite that raises, as the one who watches its shard sees it."""
    (folder / "words.log").write_text("Traceback\n  File ...\nValueError: no data here\n")
    return Failed(f"no evidence: {execute._trouble(folder, 0, 1)}", hint=execute.GOES_ON)


def no_model(folder: Path) -> MeyrinError:
    (folder / "weights.bin").write_bytes(b"\0")
    with pytest.raises(MeyrinError) as caught:
        load(folder)
    told = f'{{"code": "{caught.value.code}", "message": {caught.value.message!r}}}'
    (folder / PROBLEM).write_text(told.replace("'", '"'))
    return Failed(f"no evidence: {execute._trouble(folder, 0, 1)}", hint=execute.GOES_ON)


def full_disk(folder: Path) -> MeyrinError:
    def run(_ask: Asked, _progress: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "shard-0"))

    return _handing_in(folder, run)


def huge_log(folder: Path) -> MeyrinError:
    log = folder / "shard-0" / LOGS / "a.eval"
    log.parent.mkdir(parents=True)
    with log.open("wb") as file:
        file.truncate(2**30)
    return _handing_in(folder, lambda _ask, _progress: None)


def _handing_in(folder: Path, run: Callable[..., None]) -> MeyrinError:
    asked = Asked(find("safety"), "mock", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "run", run)
        with pytest.raises(MeyrinError) as caught:
            evidence.hand_in(asked, bundle.APART, lambda *_: None)
    return caught.value


def lost(_folder: Path) -> None:
    """A site that is lost in the middle says nothing any more."""


FAULTS = {
    raising: ("No evidence: shard 1 ended with 1: ValueError: no data here.", "Mend that, or"),
    no_model: ("config.json", "the same command then makes a new job."),
    full_disk: ("shard-0: No space left on device.", "choose another site with --site"),
    huge_log: (
        "No evidence: evidence has 256 MiB at most; this would have 1,024.",
        "Run the suite in more, smaller parts, or let it log less.",
    ),
    lost: (
        "ended before its run was whole: the machine restarted while it ran.",
        "--site NAME sends it to another site.",
    ),
}


def ended(hub: Facility, said: str, **end: object) -> int:
    """A job that ran a suite, said this, and ended so."""
    number = hub.submit(
        script=handed.SCRIPT, output_files=(handed.FILE,), name="suite-safety", walltime_s=60
    )
    hub.steps()
    agent = hub.agents["alps"]
    (work,) = agent.lease().work
    agent.report(agent.running(work))
    if said:
        agent.print(chunk(work, said.encode()))
    agent.report(agent.ended(work, **{"exit_code": 1, **end}))
    return number


def page(hub: Facility, path: str) -> str:
    answer = hub.client("ada").get(path, headers=HTML)
    assert answer.status_code == 200
    return " ".join(unescape(answer.text).split())


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_each_page_says_what_happened_and_what_to_do(
    sqlite_hub: Facility, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: Callable
) -> None:
    error = fault(tmp_path)
    end: dict[str, object] = {}
    if error is None:
        end = {"end": "lost", "exit_code": None, "why": "the machine restarted while it ran"}
    else:
        assert job._no_evidence(error.message, error.hint) == 1
    said = capsys.readouterr().out
    number = ended(sqlite_hub, said, **end)
    words, way_out = FAULTS[fault]
    for path in (f"/jobs/{number}", "/projects/lab", "/projects/lab/models"):
        shown = page(sqlite_hub, path)
        assert words in shown, shown[shown.find("vidence") :][:300]
        assert way_out in shown, path
        assert "what is finished is kept" not in shown, "at a site it is not"
    assert NEITHER in page(sqlite_hub, f"/jobs/{number}")
    assert NEITHER in page(sqlite_hub, "/projects/lab/models")
    assert "No gate has decided anything yet" in page(sqlite_hub, "/projects/lab/models")
    assert sqlite_hub.state(number) == "failed"


def test_what_is_no_test_or_is_not_over_says_nothing_of_evidence(sqlite_hub: Facility) -> None:
    hub = sqlite_hub
    plain = hub.submit(walltime_s=60)
    hub.steps()
    agent = hub.agents["alps"]
    (work,) = agent.lease().work
    agent.print(chunk(work, b"no evidence: of anything\n"))
    agent.report(agent.ended(work, exit_code=1))
    running = hub.submit(script=handed.SCRIPT, output_files=(handed.FILE,), walltime_s=60)
    hub.steps()
    agent.report(agent.running(agent.lease().work[0]))
    for path in (f"/jobs/{plain}", f"/jobs/{running}", "/projects/lab", "/projects/lab/models"):
        assert NEITHER not in page(hub, path)


def test_a_run_that_ended_well_and_brought_nothing_back_counts_for_nothing(
    sqlite_hub: Facility,
) -> None:
    """And a cancelled one; in the words of the hub, as the job had none."""
    done = ended(sqlite_hub, "all/safe: 100.0% of 20 samples\n", exit_code=0)
    assert "No evidence counts: its site brought no evidence back." in page(
        sqlite_hub, f"/jobs/{done}"
    )
    waits = sqlite_hub.submit(
        script=handed.SCRIPT, output_files=(handed.FILE,), name="suite-x", walltime_s=60
    )
    sqlite_hub.cancel(waits)
    shown = page(sqlite_hub, "/projects/lab/models")
    assert "No evidence: the job was cancelled before its run was whole." in shown
    assert shown.index("suite-x") < shown.index("suite-safety"), "newest first"


def test_a_run_and_its_job_lead_to_each_other(sqlite_hub: Facility) -> None:
    hub = sqlite_hub
    numbers = [ended(hub, "", exit_code=0) for _ in range(3)]
    gate_rows.add_rows(hub, "seventeen")
    with hub.write() as step:
        for number, bundle in zip(numbers, ("bundle", "the same again"), strict=False):
            gate_rows.receive(step, hub.detail(number).attempts[-1].attempt, bundle)
    first, again, without = numbers
    models = page(hub, "/projects/lab/models")
    assert models.count(f'<a href="/jobs/{first}">') == 1, "its run"
    assert f"/jobs/{again}" not in models
    mark = re.search(r'<tr id="(run-[0-9a-f]{12})">', models)
    assert mark
    job = page(hub, f"/jobs/{first}")
    assert f"/projects/lab/models?family=tiny#{mark[1]}" in job
    assert "evidence was received" in page(hub, f"/jobs/{again}")
    for number in (first, again):
        assert NEITHER not in page(hub, f"/jobs/{number}")
    assert NEITHER in page(hub, f"/jobs/{without}")
    hub.project("other", "ada")
    with hub.write() as step:
        gate_rows.add(step, hub.projects["other"], "eighteen")
    assert "/jobs/" not in page(hub, "/projects/other/models").partition("<main")[2]


def test_long_last_words_are_found_and_cut(sqlite_hub: Facility) -> None:
    """In a long output of many pieces, which the last words may be split over."""
    hub = sqlite_hub
    number = hub.submit(script=handed.SCRIPT, output_files=(handed.FILE,), walltime_s=60)
    hub.steps()
    agent = hub.agents["alps"]
    (work,) = agent.lease().work
    told = ("sample\n" * 4000 + "no evidence: " + "long " * 300 + "\nmend it\n").encode()
    for at in range(0, len(told), 1999):
        agent.print(chunk(work, told[at : at + 1999], at))
    agent.report(agent.ended(work, exit_code=1))
    shown = page(hub, f"/jobs/{number}")
    assert "No evidence: long long" in shown
    assert "long " * (suite_runs.LONGEST // 5) not in shown
    assert "Mend it." in shown
