"""`meyrin.submit` and `meyrin.run` for notebooks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.client.fakehub import FakeHub

import meyrin
from meyrin import Client
from meyrin.client.connection import AGAIN
from meyrin.domain.errors import Unreachable


def test_a_script_as_text_or_as_a_file(client: Client, hub: FakeHub, tmp_path: Path) -> None:
    text = "#!/bin/sh\n#SBATCH --time=5\necho hi\n"
    job = meyrin.submit(text, "--arg", client=client, gpus=1, hold=True, exclusive=False)
    request = hub.jobs[1].request
    assert (request.arguments, request.held, request.walltime_s) == (("--arg",), True, 300)
    assert request.resources.accelerators == 1
    assert request.name == "notebook"
    assert "admitted" in repr(job)
    path = tmp_path / "train.sh"
    path.write_text(text)
    data = tmp_path / "data"
    data.write_text("1")
    meyrin.submit(path, client=client, input=[f"{data}=in/data"], time="10:00")
    request = hub.jobs[2].request
    assert (request.name, request.walltime_s) == ("train.sh", 600)
    assert [file.name for file in request.inputs] == ["in/data"]


def test_a_job_in_the_hand(client: Client, hub: FakeHub, tmp_path: Path) -> None:
    job = meyrin.submit("#!/bin/sh\n", client=client)
    hub.print(hub.jobs[1], b"hi\n")
    assert job.output() == "hi\n"
    assert job.explain().where is not None
    hub.end(hub.jobs[1], "failed", exit_code=2, results="complete", files={"m": b"1"})
    assert job.wait() == 2
    assert job.detail().job.exit_code == 2
    assert [place.name for place in job.fetch(tmp_path)] == ["m"]
    job.cancel()
    assert len(list(job.follow())) == 3


def test_a_command_prints_here(
    client: Client, hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(_: object) -> None:
        hub.print(hub.jobs[1], "ü\n".encode() * 5)
        hub.end(hub.jobs[1], "failed", exit_code=4)

    hub.on_submit = work
    assert meyrin.run(["echo", "x"], client=client, time=5) == 4
    assert capsys.readouterr().out == "ü\n" * 5
    assert hub.jobs[1].request.arguments == ("echo", "x")
    with pytest.raises(meyrin.InvalidInput, match="not an array"):
        meyrin.run(["echo"], client=client, array="0-3")
    with pytest.raises(meyrin.InvalidInput, match="list of words"):
        meyrin.run("echo x", client=client)
    with pytest.raises(meyrin.InvalidInput, match="5 is no word of a command") as caught:
        meyrin.run(["python", "train.py", "--epochs", 5], client=client)  # type: ignore[list-item]
    assert caught.value.hint == 'write it as "5"'
    hub.on_submit = lambda _: hub.end(hub.jobs[2])
    assert meyrin.run(["cat", Path("a b")], client=client) == 0
    assert hub.jobs[2].request.arguments == ("cat", "a b")


def test_a_command_that_prints_more_than_is_kept_says_so(
    client: Client, hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.on_submit = lambda job: hub.end(job, cut={"stdout": 2**20})
    assert meyrin.run(["yes"], client=client) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "job 1 printed more than the hub keeps of it (1 MiB)" in said.err


SCRIPT = "#!/bin/sh\n#SBATCH --time=5\n"


@pytest.mark.parametrize(
    "name", ["test_only", "dry_run", "wait", "json", "quiet", "parsable", "verbose", "test_on"]
)
def test_what_the_command_alone_knows_is_refused_and_submits_nothing(
    client: Client, hub: FakeHub, name: str
) -> None:
    for call in (meyrin.submit, meyrin.forecast):
        with pytest.raises(meyrin.InvalidInput, match=f"takes no {name}") as caught:
            call(SCRIPT, client=client, **{name: True})
        assert caught.value.hint
    with pytest.raises(meyrin.InvalidInput, match=f"takes no {name}"):
        meyrin.run(["true"], client=client, **{name: True})
    assert not hub.calls
    meyrin.submit(SCRIPT, client=client, **{name: False})
    assert len(hub.jobs) == 1


def test_a_script_that_only_tests_submits_nothing(client: Client, hub: FakeHub) -> None:
    with pytest.raises(meyrin.InvalidInput, match="--test-only") as caught:
        meyrin.submit(f"{SCRIPT}#SBATCH --test-only\n", client=client)
    assert "meyrin.forecast" in caught.value.hint
    assert not hub.calls


def test_where_a_script_would_go(client: Client, hub: FakeHub) -> None:
    found = meyrin.forecast(SCRIPT, client=client, gpus=1)
    assert found.where is not None
    assert found.where.site == "alps"
    assert not hub.jobs


def test_an_array_in_the_hand(client: Client, hub: FakeHub, tmp_path: Path) -> None:
    job = meyrin.submit(SCRIPT, client=client, array="0,5")
    hub.print(hub.jobs[2], b"five\n")
    assert job.state == "1 admitted, 1 running"
    for look in (job.output, job.follow):
        with pytest.raises(meyrin.InvalidInput, match="2 elements has its own output"):
            look()
    assert job.element(5).output() == "five\n"
    hub.end(hub.jobs[1], results="complete", files={"out": b"0"})
    with pytest.raises(meyrin.Failed, match="1 element of job 1 not ended yet"):
        job.fetch(tmp_path / "early", ["out"])
    assert (tmp_path / "early" / "0" / "out").read_bytes() == b"0"
    hub.end(hub.jobs[2], results="complete", files={"out": b"5"})
    assert job.fetch(tmp_path) == [tmp_path / "0" / "out", tmp_path / "5" / "out"]
    assert (tmp_path / "5" / "out").read_bytes() == b"5"
    assert job.state == "completed"


def test_results_that_are_not_all_there_are_no_silence(
    client: Client, hub: FakeHub, tmp_path: Path
) -> None:
    job = meyrin.submit(SCRIPT, client=client)
    with pytest.raises(meyrin.Failed, match="when it has ended"):
        job.fetch(tmp_path)
    hub.end(hub.jobs[1], results="disk full at the site", files={"a": b""})
    with pytest.raises(meyrin.Failed, match="disk full"):
        job.fetch(tmp_path)
    assert job.fetch(tmp_path, ["a"]) == [tmp_path / "a"]


def test_a_command_prints_both_streams_to_the_last_byte(
    client: Client, hub: FakeHub, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(_: object) -> None:
        hub.print(hub.jobs[1], b"out\xc3")
        hub.print(hub.jobs[1], "wrong: ü\n".encode(), "stderr")
        hub.end(hub.jobs[1], cut={"stderr": 10})

    hub.on_submit = work
    assert meyrin.run(["work"], client=client) == 0
    said = capsys.readouterr()
    assert said.out == "out\N{REPLACEMENT CHARACTER}"
    assert said.err.startswith("wrong: ü\n")
    assert "of its standard error (10 bytes)" in said.err


def test_waiting_no_longer_than_asked(client: Client, hub: FakeHub) -> None:
    job = meyrin.submit(SCRIPT, client=client)
    with pytest.raises(TimeoutError, match="job 1 has not ended after 0 s"):
        job.wait(timeout_s=0)
    client.connection.pause = lambda _: hub.end(hub.jobs[1], "failed", exit_code=3)
    assert job.wait(timeout_s=60) == 3


def test_nor_where_no_hub_answers(client: Client, hub: FakeHub) -> None:
    job = meyrin.submit(SCRIPT, client=client)
    hub.fail("GET /jobs/1", Unreachable("away"), times=1000)
    with pytest.raises(TimeoutError, match="no hub tells of job 1: away"):
        job.wait(timeout_s=0)


@pytest.mark.parametrize("value", [{"A": 1}, b"ALL", {"A"}, object()])
def test_values_that_no_option_has(client: Client, hub: FakeHub, value: object) -> None:
    with pytest.raises(meyrin.InvalidInput, match="export can't be") as caught:
        meyrin.submit(SCRIPT, client=client, export=value)
    assert caught.value.facts["field"] == "export"
    with pytest.raises(meyrin.InvalidInput, match="a script can't be"):
        meyrin.submit(b"#!/bin/sh\n", client=client)  # type: ignore[arg-type]
    assert not hub.calls


def test_text_is_no_list(client: Client, hub: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(meyrin.InvalidInput, match="names is a list") as caught:
        client.fetch(1, tmp_path, "o.txt")
    assert caught.value.hint == 'write ["o.txt"]'
    with pytest.raises(meyrin.InvalidInput, match="states is a list"):
        client.jobs(states="running")
    assert not hub.calls


@pytest.mark.parametrize(("url", "token"), [("foo", "t"), ("http://hub", "ü"), ("http://hub", "")])
def test_what_no_client_can_use_is_named(url: str, token: str) -> None:
    with pytest.raises(meyrin.InvalidInput) as caught:
        Client(url, token)
    assert caught.value.facts["field"] in {"url", "token"}


def test_a_closed_client_says_so(url: str) -> None:
    client = Client(f"{url}/", "myr_fake\n")
    client.jobs()
    client.close()
    with pytest.raises(meyrin.InvalidInput, match="was closed"):
        client.jobs()
    with pytest.raises(meyrin.InvalidInput, match="was closed"):
        list(client.follow(1))


def test_a_command_that_loses_the_hub_names_its_job(client: Client, hub: FakeHub) -> None:
    """The same call again would be a second job."""
    hub.fail("/follow", "drop", times=999)
    with pytest.raises(Unreachable) as caught:
        meyrin.run(["true"], client=client)
    assert "job 1 was submitted, don't submit it again" in caught.value.hint
    assert (AGAIN in caught.value.hint, caught.value.facts["job"]) == (False, "1")


@pytest.mark.parametrize(
    "come_back",
    [
        lambda job: job.wait(),
        lambda job: job.output(),
        lambda job: list(job.follow()),
        lambda job: job.fetch("."),
    ],
    ids=["wait", "output", "follow", "fetch"],
)
def test_a_job_in_the_hand_that_loses_the_hub_is_named(
    client: Client, hub: FakeHub, come_back: Callable[[meyrin.Job], object]
) -> None:
    job = meyrin.submit("#!/bin/sh\n", client=client)
    hub.fail("/jobs/1", "drop", times=999)
    with pytest.raises(Unreachable) as caught:
        come_back(job)
    assert caught.value.hint.count("job 1 was submitted, don't submit it again") == 1
    assert (AGAIN in caught.value.hint, caught.value.retry) == (False, False)
