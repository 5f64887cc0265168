"""Looking at jobs and changing them: tables for people, objects for programs, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Meyrin
from tests.client.fakehub import FakeHub

from meyrin.cli.jobs import CLEAR, explained
from meyrin.cli.logs import last_lines
from meyrin.cli.main import run
from meyrin.cli.session import Session
from meyrin.cli.terminal import moment
from meyrin.client.api import Client
from meyrin.domain.errors import Refused
from meyrin.wire.jobs import CancelReply, ExplainView, PlaceView, RefusalView

Capture = pytest.CaptureFixture[str]


def test_the_list_and_its_pages(meyrin: Meyrin, hub: FakeHub, capsys: Capture) -> None:
    for number in range(1, 4):
        hub.job(number, name="näme ☕\x1b[31m", state="running", started=True)
    assert meyrin("jobs", "--limit", "2") == 0
    said = capsys.readouterr()
    assert [line.split()[0] for line in said.out.splitlines()] == ["JOB", "3", "2"]
    assert "\x1b" not in said.out
    assert "alps/gpu" in said.out
    assert "--after 2" in said.err
    assert meyrin("jobs", "--json", "--limit", "2", "--after", "2") == 0
    page = json.loads(capsys.readouterr().out)
    assert [job["label"] for job in page["jobs"]] == ["1"]
    assert page["next"] == ""


def test_a_long_reason_is_cut_in_the_list_and_whole_in_show(
    meyrin: Meyrin, hub: FakeHub, capsys: Capture
) -> None:
    why = "alps said no: " + "w" * 500
    hub.job(1, state="admitted", reason=why)
    assert meyrin("jobs") == 0
    said = capsys.readouterr().out
    assert f"{why[:99]}…\n" in said
    assert meyrin("show", "1") == 0
    assert why in capsys.readouterr().out


def test_one_no_of_a_site_is_told_once_for_all_its_partitions() -> None:
    no = {"reason": "site_said_no", "site": "alps", "asked": None, "limit": None, "words": "no so"}
    refusals = [RefusalView(partition=each, **no) for each in ("cpu", "gpu")]
    found = ExplainView(
        job=1, state="admitted", summary="no", refusals=refusals, where=None, others=[], helps=[]
    )
    assert explained(found, 0) == ["no", "  alps/cpu, alps/gpu: no so"]


def test_what_is_asked_of_the_hub(meyrin: Meyrin, hub: FakeHub) -> None:
    meyrin("jobs", "--state", "running", "--state", "failed", "--project", "home", "--site", "alps")
    meyrin("jobs", "--all")
    assert hub.calls == [
        "GET /jobs?limit=50&mine=true&project=home&state=running&state=failed&site=alps",
        "GET /jobs?limit=50",
    ]


def test_empty_lists_say_what_to_do(meyrin: Meyrin, capsys: Capture) -> None:
    assert meyrin("jobs") == 0
    assert "meyrin submit SCRIPT" in capsys.readouterr().err
    assert meyrin("jobs", "--state", "running") == 0
    assert "No such jobs" in capsys.readouterr().err


def test_watching_needs_a_terminal(meyrin: Meyrin, capsys: Capture) -> None:
    assert meyrin("jobs", "--watch") == 2
    assert "needs a terminal" in capsys.readouterr().err


def test_watching_until_ctrl_c(
    environ: dict[str, str], hub: FakeHub, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = hub.job(1)
    looks = []

    def pause(_: float) -> None:
        looks.append(job.state)
        hub.end(job)
        if len(looks) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("meyrin.cli.jobs.is_terminal", lambda _: True)
    assert run(("jobs", "--watch"), Session(environ=environ, pause=pause)) == 0
    assert capsys.readouterr().out.count(CLEAR) == 2
    assert looks == ["admitted", "completed"]


def test_everything_about_a_job(meyrin: Meyrin, hub: FakeHub, capsys: Capture) -> None:
    hub.job(
        1,
        state="failed",
        started=True,
        exit_code=3,
        reason="no\x07 luck",
        files={"a b": b"x"},
        results="complete",
    )
    assert meyrin("show", "1") == 0
    said = capsys.readouterr().out
    words_of_it = (
        "failed, exit code 3",
        "no� luck",
        "alps/gpu",
        "60 s",
        "submitted",
        "a b",
        "1 file",
    )
    for words in words_of_it:
        assert words in said
    assert meyrin("show", "--json", "1") == 0
    assert json.loads(capsys.readouterr().out)["job"]["exit_code"] == 3


def test_an_array_shows_what_all_of_it_cost(meyrin: Meyrin, hub: FakeHub, capsys: Capture) -> None:
    for task in range(3):
        hub.job(2 + task, array_job=2, task=task, state="completed")
    assert meyrin("show", "2") == 0
    said = capsys.readouterr().out
    assert "array cost 0.050 core hours (180 s), 0.003 h100 hours held\n" in said
    assert meyrin("show", "2_1") == 0
    assert "array cost" not in capsys.readouterr().out


def test_why_it_waits(meyrin: Meyrin, hub: FakeHub, capsys: Capture) -> None:
    hub.job(1)
    assert meyrin("explain", "1") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "goes to alps/gpu, which is free now"
    assert said[1].startswith("  or jura/cpu")
    assert meyrin("explain", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["helps"] == ["a shorter --time"]


def test_what_a_site_that_is_not_heard_can_not_be_asked_is_not_said_to_be(
    meyrin: Meyrin, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = "the agent of alps was revoked; an operator lets it join again"
    told = CancelReply(ended=[], asked=[1], already=[], unreached=[1], unheard=[away])
    monkeypatch.setattr(Client, "cancel", lambda *_: told)
    assert meyrin("cancel", "1") == 0
    said = capsys.readouterr().err
    assert said == f"job 1: its site is asked once it is heard again ({away})\n"


def test_cancelling_several_goes_past_a_failure(
    meyrin: Meyrin, hub: FakeHub, capsys: Capture
) -> None:
    hub.job(1)
    hub.job(2, state="completed")
    assert meyrin("cancel", "1", "7", "2") == 5
    said = capsys.readouterr().err
    assert "job 1: ended" in said
    assert said.count("there is no job 7") == 1
    assert "job 2: had ended already" in said
    assert meyrin("cancel", "--json", "2") == 0
    assert json.loads(capsys.readouterr().out) == {
        "cancelled": {
            "2": {"ended": [], "asked": [], "already": [2], "unreached": [], "unheard": []}
        }
    }
    assert meyrin("cancel", "--json", "7") == 5
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "not_found"
    assert meyrin("cancel", "--json", "7", "8") == 5
    said_both = capsys.readouterr()
    assert json.loads(said_both.out)["error"]["message"] == "there is no job 7"
    assert [said_both.err.count(f"there is no job {n}") for n in (7, 8)] == [1, 1]
    assert meyrin("cancel") == 2


def test_releasing(meyrin: Meyrin, hub: FakeHub, capsys: Capture) -> None:
    hub.job(1, state="submitted")
    assert meyrin("release", "1") == 0
    assert "released" in capsys.readouterr().err
    hub.job(2, state="running")
    assert meyrin("release", "2") == 3


def test_output_once_and_live(meyrin: Meyrin, hub: FakeHub, capsys: Capture) -> None:
    job = hub.job(1)
    assert meyrin("logs", "1") == 0
    assert "says why it waits" in capsys.readouterr().err
    hub.print(job, b"one\ntwo\nthree")
    assert meyrin("logs", "1") == 0
    assert capsys.readouterr().out == "one\ntwo\nthree"
    assert meyrin("logs", "1", "--tail", "2") == 0
    assert capsys.readouterr().out == "two\nthree"
    hub.end(job, "failed", exit_code=1, reason="by hand")
    assert meyrin("logs", "-f", "1", "--tail", "1") == 0, "the looking went well"
    said = capsys.readouterr()
    assert said.out == "three"
    assert "failed (by hand)" in said.err
    assert meyrin("logs", "--stderr", "1") == 0
    assert "without --stderr" in capsys.readouterr().err


def test_words_of_a_site_steer_no_terminal_that_follows(
    meyrin: Meyrin, hub: FakeHub, capsys: Capture
) -> None:
    hub.end(hub.job(1), "failed", exit_code=1, reason="no folder /tmp/\x1b[2J")
    assert meyrin("logs", "-f", "1") == 0
    assert "failed (no folder /tmp/\ufffd[2J)" in capsys.readouterr().err


NOTE = "note: job 1 printed more than the hub keeps of it (13 bytes): "
MISSING = NOTE + "what came after is missing here\n"
BACK = "hint: submit with --output NAME --output-files NAME to bring all of it back\n"


@pytest.mark.parametrize(
    ("words", "out", "err"),
    [
        (("logs", "1"), "one\ntwo\nthree", MISSING + BACK),
        (
            ("logs", "1", "--tail", "1"),
            "three",
            NOTE + "these are not the last lines that it printed\n" + BACK,
        ),
        (("logs", "1", "-f"), "one\ntwo\nthree", "job 1: completed\n" + MISSING + BACK),
        (("logs", "1", "--stderr"), "oops", ""),
    ],
)
def test_that_output_was_cut_is_said_at_its_end(
    meyrin: Meyrin, hub: FakeHub, capsys: Capture, words: tuple[str, ...], out: str, err: str
) -> None:
    job = hub.job(1, cut={"stdout": 13})
    hub.print(job, b"one\ntwo\nthree")
    hub.print(job, b"oops", "stderr")
    hub.end(job)
    assert meyrin(*words) == 0
    assert capsys.readouterr() == (out, err)


def test_where_all_of_a_cut_output_is(
    meyrin: Meyrin, hub: FakeHub, capsys: Capture, tmp_path: Path
) -> None:
    job = hub.job(1, cut={"stderr": 2**26})
    hub.print(job, b"oops", "stderr")

    def said() -> str:
        assert meyrin("logs", "1", "--stderr") == 0
        note, hint = capsys.readouterr().err.split("\n", 1)
        assert "keeps of its standard error (64 MiB): what came" in note
        return hint

    assert said() == BACK.replace("--output NAME", "--error NAME")
    job.all_in = str(tmp_path / "e")
    assert said() == f"hint: at alps all of it is in {tmp_path}/e, if the site shares that folder\n"
    with (tmp_path / "e").open("wb") as file:
        file.truncate(2**26 + 1)
    assert said() == f"hint: all of it is in {tmp_path}/e\n"
    job.all_in, job.results = "out/an error", "pending"
    assert said() == ""
    job.files, job.results = {"out/an error": b"oops"}, "complete"
    assert said() == "hint: `meyrin fetch 1 'out/an error'` brings all of it\n"
    hub.fail("GET /jobs/1$", Refused("not now"))
    assert said() == "", "what was read is not lost for a hint"
    assert meyrin("show", "1") == 0
    assert "stderr was cut: the hub keeps its first 64.0 MiB" in capsys.readouterr().out


def test_a_job_that_never_ran_is_not_said_to_wait(
    meyrin: Meyrin, hub: FakeHub, capsys: Capture
) -> None:
    hub.job(1, state="failed", reason="stdout /no/such: No such file or directory")
    for words in (("logs", "1"), ("logs", "1", "--stderr")):
        assert meyrin(*words) == 0
        said = capsys.readouterr().err
        assert said == "job 1 is failed and never ran: stdout /no/such: No such file or directory\n"
    hub.job(2, state="cancelled")
    assert meyrin("logs", "2") == 0
    assert capsys.readouterr().err == "job 2 is cancelled and never ran\n"


@pytest.mark.parametrize(
    ("text", "count", "last"),
    [
        (b"", 3, b""),
        (b"a\nb\n", 1, b"b\n"),
        (b"a\nb", 0, b""),
        (b"a\nb", 9, b"a\nb"),
        (b"a\n1%\r2%\r3%\nb\n", 2, b"1%\r2%\r3%\nb\n"),
    ],
)
def test_last_lines(text: bytes, count: int, last: bytes) -> None:
    assert last_lines(text, count) == last


def test_results_come_into_a_folder_of_their_own(
    meyrin: Meyrin, hub: FakeHub, tmp_path: Path, capsys: Capture
) -> None:
    hub.job(1, state="completed", results="complete", files={"m/a": b"1", "b": b"22"})
    assert meyrin("fetch", "1") == 0
    said = capsys.readouterr()
    assert said.out.split() == [str(tmp_path / "job-1" / "m/a"), str(tmp_path / "job-1" / "b")]
    assert "2 files, 3 B" in said.err
    assert meyrin("fetch", "1", "b", "--into", ".", "--json") == 0
    assert json.loads(capsys.readouterr().out)["files"] == [
        {"job": "1", "name": "b", "path": str(tmp_path / "b"), "size": 2}
    ]
    assert meyrin("fetch", "1", "c") == 5


def test_names_of_results_steer_no_terminal(
    meyrin: Meyrin, hub: FakeHub, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.job(1, state="completed", results="complete", files={"a\x1b]0;x\x07": b""})
    assert meyrin("fetch", "1") == 0
    assert capsys.readouterr().out.endswith("a\x1b]0;x\x07\n"), "a program reads the name"
    monkeypatch.setattr("meyrin.cli.fetch.is_terminal", lambda _: True)
    assert meyrin("fetch", "1") == 0
    assert capsys.readouterr().out.endswith(
        "a\N{REPLACEMENT CHARACTER}]0;x\N{REPLACEMENT CHARACTER}\n"
    )


def test_results_of_an_array_by_element(meyrin: Meyrin, hub: FakeHub, tmp_path: Path) -> None:
    hub.job(1)
    for task in (0, 5):
        more = {"array_job": 2, "task": task, "results": "complete"}
        hub.job(2 + task, state="completed", files={"out": b"%d" % task}, **more)
    hub.job(9, state="completed")
    assert meyrin("fetch", "2") == 0
    assert (tmp_path / "job-2" / "0" / "out").read_text() == "0"
    assert (tmp_path / "job-2" / "5" / "out").read_text() == "5"


def test_elements_that_have_not_ended_are_said(
    meyrin: Meyrin, hub: FakeHub, capsys: Capture
) -> None:
    for task, state in enumerate(("completed", "running", "submitted")):
        hub.job(2 + task, state=state, array_job=2, task=task)
    assert meyrin("fetch", "2") == 1
    said = capsys.readouterr()
    assert "2 elements of job 2 not ended yet" in said.err
    assert "kept no results" not in said.err
    hub.jobs[2].results, hub.jobs[2].files = "complete", {"out": b"0"}
    assert meyrin("fetch", "2", "--json") == 1
    said = capsys.readouterr()
    assert [file["job"] for file in json.loads(said.out)["files"]] == ["2_0"]
    assert "2 elements of job 2" in json.loads(said.out)["error"]["message"]
    assert "2 elements of job 2 not ended yet" in said.err


def test_an_element_without_results_keeps_back_no_other_s(
    meyrin: Meyrin, hub: FakeHub, tmp_path: Path, capsys: Capture
) -> None:
    for task, results in enumerate(("pending", "complete", "complete", "pending", "complete")):
        files = {"m": b"%d" % task} if task != 2 else {}
        more = {"array_job": 2, "task": task, "results": results, "files": files}
        hub.job(2 + task, state="completed", **more)
    assert meyrin("fetch", "2", "m") == 1
    said = capsys.readouterr()
    assert said.out.split() == [str(tmp_path / "job-2" / task / "m") for task in "14"]
    assert "job 2_2 has no result 'm'" in said.err
    for task in (0, 3):
        assert f"job 2_{task}: its results have not come yet" in said.err
    looks = [call for call in hub.calls if call == "GET /jobs/2_3"]
    assert len(looks) == 1, "who has waited for one site does not wait for each of its elements"
    for job in hub.jobs.values():
        job.results = "complete"
    assert meyrin("fetch", "2", "typo") == 5


def test_an_element_that_fails_keeps_back_no_other_s(
    meyrin: Meyrin, hub: FakeHub, tmp_path: Path, capsys: Capture
) -> None:
    for task, name in enumerate(("m", "../m", "m")):
        more = {"array_job": 2, "task": task, "results": "complete", "files": {name: b"1"}}
        hub.job(2 + task, state="completed", **more)
    assert meyrin("fetch", "2") == 1
    said = capsys.readouterr()
    assert said.out.split() == [str(tmp_path / "job-2" / task / "m") for task in "02"]
    assert "job 2_1: the result '../m' would be written outside" in said.err


def test_results_that_are_not_all_there(meyrin: Meyrin, hub: FakeHub, capsys: Capture) -> None:
    hub.job(1)
    assert meyrin("fetch", "1") == 1
    assert "when it has ended" in capsys.readouterr().err
    hub.job(2, state="completed")
    assert meyrin("fetch", "2") == 0
    assert "--output-files" in capsys.readouterr().err
    hub.job(3, state="completed", results="disk full at the site", files={"a": b""})
    assert meyrin("fetch", "3") == 1
    said = capsys.readouterr()
    assert said.out.endswith("a\n")
    assert "disk full at the site" in said.err


def test_what_a_runner_up_was_expected_to_be_is_of_the_time_of_the_choice() -> None:
    """Of a job that went elsewhere long ago it is no start that could be had now."""
    other = PlaceView(site="beta", partition="long", expected_start_s=1_000_000)
    known = {"job": 1, "summary": "went", "refusals": [], "where": None, "others": [other]}
    waits, went = (
        explained(ExplainView.model_validate(known | {"state": state, "helps": []}), 2_000_000)
        for state in ("admitted", "queued")
    )
    assert waits == ["went", "  or beta/long, expected start now"]
    assert went == ["went", f"  or beta/long, expected start was {moment(1_000_000_000)}"]
