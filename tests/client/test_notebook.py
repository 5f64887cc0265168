"""`meyrin.submit` and `meyrin.run` for notebooks."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.client.fakehub import FakeHub

import meyrin
from meyrin import Client


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
