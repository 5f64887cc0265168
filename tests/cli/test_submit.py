"""`meyrin submit`: what it prints, how it ends, and that no answer is left open."""

from __future__ import annotations

import errno
import io
import json
from pathlib import Path

import pytest
from tests.cli.conftest import Meyrin
from tests.client.fakehub import FakeHub, refused

from meyrin.cli import submit
from meyrin.client.api import Client
from meyrin.client.connection import AGAIN
from meyrin.client.sbatch.options import HONOURED
from meyrin.domain import errors

Capture = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("script")


def test_it_prints_what_sbatch_prints(meyrin: Meyrin, hub: FakeHub, capsys: Capture) -> None:
    assert meyrin("submit", "--job-name=x", "train.sh", "--epochs", "5") == 0
    said = capsys.readouterr()
    assert said.out == "Submitted batch job 1\n"
    assert said.err == "job 1: goes to alps/gpu, which is free now\n"
    request = hub.jobs[1].request
    assert (request.name, request.arguments) == ("x", ("--epochs", "5"))
    assert request.walltime_s == 600


def test_parsable_quiet_and_data(meyrin: Meyrin, capsys: Capture) -> None:
    assert meyrin("submit", "--parsable", "train.sh") == 0
    assert capsys.readouterr() == ("1\n", "")
    assert meyrin("submit", "-Q", "train.sh") == 0
    assert capsys.readouterr() == ("", "")
    assert meyrin("submit", "--json", "train.sh") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {"label": "3", "job": 3, "elements": 1, "again": False}


def test_options_may_follow_the_script_when_nothing_else_does(
    meyrin: Meyrin, hub: FakeHub, capsys: Capture
) -> None:
    hub.on_submit = hub.end
    assert meyrin("submit", "train.sh", "--wait", "--job-name=late") == 0
    assert hub.jobs[1].request.arguments == ()
    assert hub.jobs[1].request.name == "late"
    assert "read as options of submit" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [("train.sh", "--wait", "now"), ("--", "train.sh", "--wait")])
def test_otherwise_options_after_the_script_are_the_scripts(
    meyrin: Meyrin, hub: FakeHub, argv: tuple[str, ...]
) -> None:
    assert meyrin("submit", *argv) == 0
    assert hub.jobs[1].request.arguments[0] == "--wait"


@pytest.mark.parametrize("argv", [("--hub", "https://b"), ("--wait", "now", "--hub=https://b")])
def test_a_hub_after_the_script_is_not_passed_over(
    meyrin: Meyrin, hub: FakeHub, capsys: Capture, argv: tuple[str, ...]
) -> None:
    assert meyrin("submit", "train.sh", *argv) == 2
    assert "meyrin submit --hub=URL SCRIPT" in capsys.readouterr().err
    assert not hub.jobs
    assert meyrin("submit", "--", "train.sh", *argv) == 0
    assert hub.jobs[1].request.arguments == argv


def test_a_folder_after_the_script_is_the_scripts(
    meyrin: Meyrin, hub: FakeHub, capsys: Capture
) -> None:
    assert meyrin("submit", "train.sh", "--dir", "data") == 0
    assert hub.jobs[1].request.arguments == ("--dir", "data")
    assert "note: --dir stands after the script" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["submit", "run"])
def test_which_hub_is_said_first(meyrin: Meyrin, capsys: Capture, verb: str) -> None:
    assert meyrin(verb, "--time=5", "--hub", "https://b", "train.sh") == 2
    assert f"hint: say it first: meyrin {verb} --hub=..." in capsys.readouterr().err


@pytest.mark.parametrize("argv", [(), ("-",), ("-", "a")])
def test_a_script_on_standard_input(
    meyrin: Meyrin, hub: FakeHub, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"#!/bin/sh\ndate\n")))
    assert meyrin("submit", *argv) == 0
    assert hub.jobs[1].request.script == "#!/bin/sh\ndate\n"
    assert hub.jobs[1].request.arguments == tuple(argv[1:])


def test_an_option_that_took_the_script_for_its_value(
    meyrin: Meyrin, hub: FakeHub, script: Path, capsys: Capture
) -> None:
    assert meyrin("submit", "-t", script.name) == 2  # and waits for no script from the terminal
    said = capsys.readouterr().err
    assert f"--time={script.name}: '{script.name}' is no wall time" in said
    assert meyrin("submit", "") == 2
    assert "the script's name is empty" in capsys.readouterr().err
    assert not hub.jobs


def test_wrap(meyrin: Meyrin, hub: FakeHub) -> None:
    assert meyrin("submit", "--wrap", "echo 1 && date") == 0
    assert hub.jobs[1].request.script == "#!/bin/sh\necho 1 && date\n"


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ({"state": "completed", "exit_code": 0}, 0),
        ({"state": "failed", "exit_code": 7}, 7),
        ({"state": "failed", "signal": 15, "reason": "wall time"}, 143),
        ({"state": "cancelled"}, 1),
    ],
)
def test_wait_ends_with_the_jobs_exit_code(
    meyrin: Meyrin,
    hub: FakeHub,
    capsys: Capture,
    ending: dict[str, object],
    code: int,
) -> None:
    hub.on_submit = lambda job: hub.end(job, **ending)  # type: ignore[arg-type]
    assert meyrin("submit", "--wait", "train.sh") == code
    said = capsys.readouterr()
    assert said.out == "Submitted batch job 1\n"
    assert str(ending.get("reason", "")) in said.err


def test_a_hub_that_is_lost_while_waiting_leaves_the_jobs_number(
    meyrin: Meyrin, hub: FakeHub, capsys: Capture
) -> None:
    """Without it a program could only submit again, and pay twice."""
    hub.fail("GET /jobs/1", "drop", times=999)
    assert meyrin("submit", "--wait", "--json", "train.sh") == 6
    said = capsys.readouterr()
    error = json.loads(said.out)["error"]
    assert (error["facts"]["job"], error["retry"]) == ("1", False)
    assert "job 1 was submitted, don't submit it again" in error["hint"]
    assert AGAIN not in said.err


def test_wait_for_an_array_is_its_worst_element(
    meyrin: Meyrin, hub: FakeHub, capsys: Capture
) -> None:
    codes = iter([0, 9, 2])

    def end(job: object) -> None:
        code = next(codes)
        hub.end(job, "failed" if code else "completed", exit_code=code)  # type: ignore[arg-type]

    hub.on_submit = end
    assert meyrin("submit", "--wait", "--json", "--array=0-2", "train.sh") == 9
    answer = json.loads(capsys.readouterr().out)
    assert (answer["elements"], answer["state"], answer["exit_status"]) == (3, "array", 9)


def test_where_and_when_without_a_job(meyrin: Meyrin, hub: FakeHub, capsys: Capture) -> None:
    assert meyrin("submit", "--test-only", "train.sh") == 0
    said = capsys.readouterr()
    assert said.out == "would start now at alps/gpu\n"
    assert "or jura/cpu" in said.err
    assert "what helps: a shorter --time" in said.err
    assert meyrin("submit", "--test-only", "--json", "train.sh") == 0
    assert json.loads(capsys.readouterr().out)["where"]["site"] == "alps"
    assert not hub.jobs


def test_the_parsed_request_and_nothing_sent(meyrin: Meyrin, hub: FakeHub, capsys: Capture) -> None:
    assert meyrin("submit", "--dry-run", "--gpus=a100:2", "--array=1-3", "train.sh") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["resources"]["accelerators"] == 2
    assert answer["array"]["indices"] == [1, 2, 3]
    assert not hub.calls


def test_inputs_go_first(meyrin: Meyrin, hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("1")
    assert meyrin("submit", "--input", "data", "--input", "train.sh=t.sh", "train.sh") == 0
    sent = [file.name for file in hub.jobs[1].request.inputs]
    assert sent == ["data/a.csv", "t.sh"]
    assert len(hub.whole) == 2


def test_an_option_that_can_not_be_honoured(
    meyrin: Meyrin, hub: FakeHub, script: Path, capsys: Capture
) -> None:
    script.write_text("#!/bin/sh\n#SBATCH --time=10\n#SBATCH --qos=high\n")
    assert meyrin("submit", "train.sh") == 2
    said = capsys.readouterr().err
    assert "--qos" in said
    assert "line 3" in said
    assert "hint:" in said
    assert not hub.calls


def test_a_refusal_says_every_reason(meyrin: Meyrin, hub: FakeHub, capsys: Capture) -> None:
    hub.fail("POST /jobs", refused(), times=2)
    assert meyrin("submit", "train.sh") == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert "no partition has 9 accelerators" in said.err
    assert "alps/gpu: accelerators_per_node (asked 9, limit 4)" in said.err
    assert "hint: ask for 4 or fewer" in said.err
    assert meyrin("submit", "--json", "train.sh") == 3
    assert json.loads(capsys.readouterr().out)["error"]["refusals"][1]["site"] == "jura"


def test_a_lost_reply_gives_one_job(meyrin: Meyrin, hub: FakeHub, capsys: Capture) -> None:
    hub.fail("POST /jobs", "lose", times=2)
    assert meyrin("submit", "--parsable", "train.sh") == 0
    assert capsys.readouterr().out == "1\n"
    assert len(hub.jobs) == 1


def test_when_all_replies_are_lost_the_key_is_told(
    meyrin: Meyrin, hub: FakeHub, capsys: Capture
) -> None:
    hub.fail("POST /jobs", "lose", times=5)
    assert meyrin("submit", "train.sh") == 6
    said = capsys.readouterr().err
    (key,) = hub.keys
    assert f"--idempotency-key={key}" in said
    assert AGAIN not in said, "without the key it would be a second job"
    assert meyrin("submit", f"--idempotency-key={key}", "train.sh") == 0
    said_now = capsys.readouterr()
    assert said_now.out == "Submitted batch job 1\n"
    assert "submitted before" in said_now.err
    assert len(hub.jobs) == 1


@pytest.mark.parametrize("got_through", [True, False])
def test_ctrl_c_says_whether_there_is_a_job(
    meyrin: Meyrin,
    hub: FakeHub,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    got_through: bool,
) -> None:
    whole = Client.submit
    calls = []

    def interrupted(self: Client, request: object, key: str) -> object:
        calls.append(key)
        if len(calls) > 1 or got_through:
            answer = whole(self, request, key)  # type: ignore[arg-type]
        if len(calls) == 1:
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(Client, "submit", interrupted)
    assert meyrin("submit", "train.sh") == 130
    said = capsys.readouterr().err
    if got_through:
        assert "job 1 was submitted; `meyrin cancel 1` ends it" in said
        assert hub.jobs[1].state == "admitted"
    else:
        assert "job 1 was cancelled before it went anywhere" in said
        assert hub.jobs[1].state == "cancelled"


def test_ctrl_c_twice_tells_the_key(
    meyrin: Meyrin,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "submit", interrupted)
    assert meyrin("submit", "train.sh") == 130
    assert "the job may exist" in capsys.readouterr().err


def test_ctrl_c_in_an_upload_submits_nothing(
    meyrin: Meyrin,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "upload", interrupted)
    assert meyrin("submit", "--input", "train.sh", "train.sh") == 130
    assert "nothing was submitted" in capsys.readouterr().err


def test_no_hub(meyrin: Meyrin, environ: dict[str, str], capsys: Capture) -> None:
    del environ["MEYRIN_HUB"]  # whose the token is
    assert meyrin("submit", "--hub", "http://127.0.0.1:9", "train.sh") == 6
    said = capsys.readouterr().err
    assert "no hub answers at http://127.0.0.1:9" in said
    assert "nothing was submitted" in said


def test_the_folder_may_be_said_first(meyrin: Meyrin, tmp_path: Path, capsys: Capture) -> None:
    empty = str(tmp_path / "empty")
    assert meyrin("submit", "--dir", empty, "train.sh") == 6
    assert meyrin("--dir", empty, "submit", "train.sh") == 6
    assert meyrin("submit", f"--dir={empty}", "train.sh") == 6
    assert capsys.readouterr().err.count("no hub is known") == 3


def test_help_lists_the_options_of_sbatch(meyrin: Meyrin, capsys: Capture) -> None:
    assert meyrin("submit", "--help") == 0
    said = capsys.readouterr().out
    assert "--cpus-per-task" in said
    assert "--output-files" in said
    missing = [o.name for o in HONOURED if o.letter and f"-{o.letter}, " not in said]
    assert missing == ["input"], "its long name is Meyrin's own"
    assert "-i …" in said


def test_a_key_of_another_request_is_not_to_be_repeated(
    meyrin: Meyrin, hub: FakeHub, capsys: Capture
) -> None:
    new = errors.Conflict("used for another", hint="take a new one", idempotency_key="abc")
    hub.fail("POST /jobs", new)
    assert meyrin("submit", "train.sh") == 1
    assert capsys.readouterr().err.endswith("used for another\nhint: take a new one\n")


@pytest.mark.parametrize("form", ["--parsable", "--json"])
def test_a_number_that_can_not_be_printed_is_said(
    meyrin: Meyrin, capsys: Capture, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """As with `>/dev/full`: the job is there, whatever became of the words."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(submit, "data_json" if form == "--json" else "data", full)
    assert meyrin("submit", form, "train.sh") == 1
    said = capsys.readouterr().err
    assert "job 1 was submitted: `meyrin logs -f 1`" in said
    assert "No space left on device" in said


def test_a_key_of_an_earlier_try_may_have_made_a_job(
    meyrin: Meyrin, environ: dict[str, str], capsys: Capture
) -> None:
    environ["MEYRIN_HUB"] = "http://127.0.0.1:9"
    assert meyrin("submit", "train.sh") == 6
    assert "nothing was submitted" in capsys.readouterr().err
    assert meyrin("submit", "--idempotency-key=a-key-of-mine", "train.sh") == 6
    said = capsys.readouterr().err
    assert "nothing was submitted" not in said
    assert "repeat the same command with --idempotency-key=a-key-of-mine" in said


def test_errors_after_sending_are_still_their_own_class(
    meyrin: Meyrin, hub: FakeHub, capsys: Capture
) -> None:
    hub.fail("POST /jobs", errors.Conflict("used for another request"))
    assert meyrin("submit", "--json", "train.sh") == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "conflict"
