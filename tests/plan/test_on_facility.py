"""A sweep as jobs: taken up again, handed in again, given up; whatever ends them in the middle."""

from __future__ import annotations

import io
import json
import pickle
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.plan import points as cases
from tests.plan.test_sweep import Steps, outcomes

from meyrin.domain.errors import Conflict, Failed, InvalidInput, Refused, Unreachable
from meyrin.plan import batch, on_facility, sweep
from meyrin.plan.on_facility import Notes, OnFacility, Seen, pack, unpack
from meyrin.plan.sweep import Here, Kept, Work

COMPLETED = Seen("ended", "completed at alps")
FAILED = Seen("ended", "failed at alps: exit code 1")
CANCELLED = Seen("ended", "cancelled: by ada", cancelled=True)
RUNS = Seen("runs", "running")
WAITS = Seen("waits", "alps takes no new jobs at present")


class Left(BaseException):
    """What nobody catches: the command is killed."""


@dataclass
class Jobs:
    """A facility whose jobs run here, when they are looked at first. `script` says how each ends:
    as it is, with some points only, or in words; what is not in it completes."""

    folder: Path
    script: dict[str, list[Seen]] = field(default_factory=dict)
    points: dict[str, int] = field(default_factory=dict)
    away: list[int] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    left: dict[str, bytes] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    lose_answer: bool = False
    refuse: str = ""
    interrupt: bool = False
    calls: int = 0

    def submit(self, key: str, batch_file: bytes, command: Sequence[str]) -> str:
        assert list(command[1:]) == ["-m", "meyrin.plan.batch", "points.bin", "outcomes.tar"]
        if key not in self.keys:
            if self.refuse:
                raise Refused(self.refuse)
            self.keys[key] = label = str(len(self.keys) + 1)
            self._run(label, batch_file)
        if self.lose_answer:
            self.lose_answer = False
            raise Left
        return self.keys[key]

    def _run(self, label: str, batch_file: bytes) -> None:
        code, work, points = pickle.loads(batch_file)
        self.sizes.append(len(points))
        folder = self.folder / label
        folder.mkdir(parents=True)
        some = points[: self.points.get(label, len(points))]
        (folder / "points.bin").write_bytes(pickle.dumps((code, work, some)))
        batch.main(folder / "points.bin", folder / "outcomes.tar")
        left = (folder / "outcomes.tar").read_bytes() if some else b""
        self.left.setdefault(label, left)

    def known(self, key: str, label: str) -> bool:
        return self.keys.get(key) == label

    def look(self, labels: Sequence[str]) -> Mapping[str, Seen]:
        self.calls += 1
        if self.calls in self.away:
            raise Unreachable("no hub answers")
        return {label: self._next(label) for label in labels}

    def _next(self, label: str) -> Seen:
        steps = self.script.get(label) or [COMPLETED]
        return steps.pop(0) if len(steps) > 1 else steps[0]

    def result(self, label: str) -> bytes | None:
        return self.left[label]

    def last_words(self, label: str) -> str:
        return "Killed" if label in self.points else ""

    def cancel(self, labels: Sequence[str]) -> None:
        self.cancelled += labels

    def pause(self) -> None:
        if self.interrupt:
            self.interrupt = False
            raise KeyboardInterrupt


@dataclass
class Heard:
    said: list[str] = field(default_factory=list)
    under_way: list[tuple[int, str]] = field(default_factory=list)

    def place(self, jobs: Jobs, folder: Path, per_job: int = 4) -> OnFacility:
        return OnFacility(
            jobs, per_job, Notes(folder), sys.executable, self.said.append,
            lambda done, words: self.under_way.append((done, words)),
        )  # fmt: skip


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, bytes]]:
    return outcomes(tmp_path_factory.mktemp("one"), Here(1))


@pytest.fixture
def heard() -> Heard:
    return Heard()


def run(heard: Heard, jobs: Jobs, out: Path, work: Work = cases.replayed) -> list[dict[str, bytes]]:
    return outcomes(out, heard.place(jobs, out), work)


def test_a_facility_gives_the_same_bytes(
    tmp_path: Path, heard: Heard, right: list[dict[str, bytes]]
) -> None:
    jobs = Jobs(tmp_path / "jobs", {"1": [WAITS, RUNS, COMPLETED], "2": [RUNS, COMPLETED]})
    assert run(heard, jobs, tmp_path / "out") == right
    assert heard.said == ["job 1: 4 points", "job 2: 2 points"]
    waits = "alps takes no new jobs at present"
    assert heard.under_way[0] == (0, f"1 job runs, 1 waits ({waits})")
    assert jobs.cancelled == []
    assert not (tmp_path / "out" / "jobs.json").exists()


def test_a_job_that_dies_gives_what_it_had_and_the_rest_is_handed_in_again(
    tmp_path: Path, heard: Heard, right: list[dict[str, bytes]]
) -> None:
    jobs = Jobs(tmp_path / "jobs", {"1": [FAILED]}, points={"1": 3})
    assert run(heard, jobs, tmp_path / "out") == right
    assert jobs.sizes == [4, 2, 1]
    assert heard.said[-1] == ("job 1 failed at alps: exit code 1 (Killed); 1 point again as job 3")


def test_an_archive_torn_anywhere_gives_its_whole_points(
    tmp_path: Path, heard: Heard, right: list[dict[str, bytes]]
) -> None:
    whole = Jobs(tmp_path / "whole")
    run(heard, whole, tmp_path / "out")
    archive = whole.left["1"]
    for size in (1, 600, 2000, len(archive) // 2, len(archive) - 12_000):
        jobs = Jobs(tmp_path / f"jobs{size}", {"1": [FAILED]}, left={"1": archive[:size]})
        assert run(heard, jobs, tmp_path / f"out{size}") == right
        assert len(jobs.sizes) == 3


def test_what_is_no_archive_of_ours_ends_the_sweep(tmp_path: Path, heard: Heard) -> None:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("song.mp3"))
    jobs = Jobs(tmp_path / "jobs", {"2": [RUNS]}, left={"1": into.getvalue()})
    with pytest.raises(Failed, match="what job 1 left is no archive of outcomes"):
        run(heard, jobs, tmp_path / "out")
    assert jobs.cancelled == ["1", "2"]


def test_a_killed_command_comes_back_to_its_jobs(
    tmp_path: Path, heard: Heard, right: list[dict[str, bytes]]
) -> None:
    jobs, out = Jobs(tmp_path / "jobs", {"1": [RUNS], "2": [RUNS]}), tmp_path / "out"
    jobs.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        run(heard, jobs, out)
    assert heard.said[-1] == (
        "jobs 1, 2 go on; the same command comes back to them, `meyrin cancel 1 2` ends them"
    )
    assert jobs.cancelled == []
    jobs.script = {}
    assert run(heard, jobs, out) == right
    assert "jobs 1, 2 of an earlier run: taken up again" in heard.said
    assert jobs.sizes == [4, 2]


def test_a_lost_answer_is_asked_for_again(
    tmp_path: Path, heard: Heard, right: list[dict[str, bytes]]
) -> None:
    jobs, out = Jobs(tmp_path / "jobs", lose_answer=True), tmp_path / "out"
    with pytest.raises(Left):
        run(heard, jobs, out)
    assert run(heard, jobs, out) == right
    assert jobs.sizes == [4, 2]


def test_jobs_of_another_hub_are_handed_in_here(
    tmp_path: Path, heard: Heard, right: list[dict[str, bytes]]
) -> None:
    there, out = Jobs(tmp_path / "there", {"1": [RUNS]}), tmp_path / "out"
    there.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        run(heard, there, out)
    here = Jobs(tmp_path / "here")
    assert run(heard, here, out) == right
    assert here.sizes == [4]  # those of job 2 had come


def test_a_cancelled_job_is_not_handed_in_again_until_the_command_is(
    tmp_path: Path, heard: Heard, right: list[dict[str, bytes]]
) -> None:
    jobs, out = Jobs(tmp_path / "jobs", {"1": [CANCELLED]}, points={"1": 1}), tmp_path / "out"
    with pytest.raises(Failed, match=r"job 1 cancelled: by ada \(Killed\): 3 points without"):
        run(heard, jobs, out)
    assert jobs.sizes == [4, 2]
    assert run(heard, jobs, out) == right
    assert jobs.sizes == [4, 2, 3]


def test_a_job_cancelled_between_two_runs_is_handed_in_again(
    tmp_path: Path, heard: Heard, right: list[dict[str, bytes]]
) -> None:
    jobs, out = Jobs(tmp_path / "jobs", {"1": [RUNS]}, points={"1": 2}), tmp_path / "out"
    jobs.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        run(heard, jobs, out)
    jobs.script = {"1": [CANCELLED]}
    assert run(heard, jobs, out) == right
    assert jobs.sizes == [4, 2, 2]


def test_jobs_that_never_bring_anything_end_the_sweep(tmp_path: Path, heard: Heard) -> None:
    none = {str(label): 0 for label in range(1, 9)}
    jobs = Jobs(tmp_path / "jobs", {label: [FAILED] for label in none}, points=none)
    with pytest.raises(Failed, match=r"job 4 failed .* 2 points without an outcome") as raised:
        run(heard, jobs, tmp_path / "out")
    assert "--python names" in raised.value.hint
    assert jobs.sizes == [4, 2, 4, 2]  # each twice, then enough


def test_a_facility_that_is_away_is_waited_for(
    tmp_path: Path, heard: Heard, right: list[dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Jobs(tmp_path / "jobs", {"1": [RUNS, COMPLETED]}, away=[2, 3, 4])
    assert run(heard, jobs, tmp_path / "out") == right
    assert heard.said[2:] == [
        "no hub answers; waiting for it, jobs go on meanwhile",
        "the facility answers again",
    ]
    monkeypatch.setattr(on_facility, "SILENT_LOOKS", 2)
    gone = Jobs(tmp_path / "gone", away=list(range(1, 9)))
    with pytest.raises(Unreachable) as raised:
        run(heard, gone, tmp_path / "out2")
    assert raised.value.hint == "the same command later takes the jobs up again"
    assert gone.cancelled == []


def test_a_point_that_can_not_be_run_says_why(tmp_path: Path, heard: Heard) -> None:
    jobs = Jobs(tmp_path / "jobs")
    with pytest.raises(InvalidInput, match=r"three is no number \(job 1\)") as raised:
        run(heard, jobs, tmp_path / "out", cases.refuses)
    assert raised.value.hint == "count again"
    assert jobs.cancelled == ["1", "2"]
    kept = [sweep.key(point, cases.refuses) for point in cases.points(3)]
    assert all(Kept(tmp_path / "out").has(name) for name in kept)


def test_a_refused_job_leaves_no_note(tmp_path: Path, heard: Heard) -> None:
    jobs = Jobs(tmp_path / "jobs", refuse="project lab has no hours of core")
    with pytest.raises(Refused, match="has no hours"):
        run(heard, jobs, tmp_path / "out")
    assert not (tmp_path / "out" / "jobs.json").exists()


def test_a_changed_study_leaves_jobs_that_it_does_not_want(tmp_path: Path, heard: Heard) -> None:
    jobs, out = Jobs(tmp_path / "jobs", {"1": [RUNS], "2": [RUNS]}), tmp_path / "out"
    jobs.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        run(heard, jobs, out)
    jobs.script = {}
    found = sweep.sweep(cases.points(2), cases.replayed, Kept(out), heard.place(jobs, out), Steps())
    assert len(found) == 2
    assert jobs.sizes == [4, 2]


def test_notes_that_can_not_be_read_are_told(tmp_path: Path, heard: Heard) -> None:
    (tmp_path / "jobs.json").write_text(json.dumps([{"label": 3}]))
    with pytest.raises(Failed, match=r"jobs\.json can't be read"):
        run(heard, Jobs(tmp_path / "jobs"), tmp_path)


def test_a_job_of_other_code_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    points = [("0" * 64, cases.points(1)[0])]
    (tmp_path / "points.bin").write_bytes(pack(cases.replayed, points))
    monkeypatch.setattr(batch, "code_version", lambda: "f" * 16)
    assert batch.main(tmp_path / "points.bin", tmp_path / "outcomes.tar") == 1
    assert "not the same" in capsys.readouterr().err
    assert not (tmp_path / "outcomes.tar").exists()


def test_outcomes_of_other_code_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "points.bin").write_bytes(pack(cases.replayed, [("ab", cases.points(1)[0])]))
    assert batch.main(tmp_path / "points.bin", tmp_path / "outcomes.tar") == 0
    monkeypatch.setattr(on_facility, "code_version", lambda: "f" * 16)
    with pytest.raises(Conflict, match="ran with another Meyrin"):
        list(unpack((tmp_path / "outcomes.tar").read_bytes(), "7"))
