"""A sweep gives the same bytes wherever it runs, computes each point once, and can be stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.plan import points as cases

from meyrin.domain.errors import Conflict, Failed, InvalidInput, Unreachable
from meyrin.plan import places, sweep
from meyrin.plan.places import OnDask
from meyrin.plan.sweep import Here, Kept, Point, Standing, Work


@dataclass
class Counted:
    """A place that notes what it was given."""

    place: sweep.Place
    given: list[str] = field(default_factory=list)

    def run(
        self, work: Work, points: Sequence[tuple[str, Point]]
    ) -> Iterator[tuple[str, sweep.Files]]:
        for name, outcome in self.place.run(work, points):
            self.given.append(name)
            yield name, outcome


class Steps:
    """A clock that goes on by a second at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def outcomes(
    folder: Path, place: sweep.Place, work: Work = cases.replayed
) -> list[dict[str, bytes]]:
    paths = sweep.sweep(cases.points(), work, Kept(folder), place, Steps())
    return [{file.name: file.read_bytes() for file in path.iterdir()} for path in paths]


def test_one_core_and_two_give_the_same_bytes(tmp_path: Path) -> None:
    one = outcomes(tmp_path / "one", Here(1))
    assert len({each["starts.parquet"] for each in one}) == 6
    assert outcomes(tmp_path / "two", Here(2)) == one


@pytest.mark.slow
def test_dask_gives_the_same_bytes(tmp_path: Path) -> None:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        found = outcomes(tmp_path / "dask", OnDask(cluster.scheduler_address))
        place = Counted(OnDask(cluster.scheduler_address))
        assert outcomes(tmp_path / "dask", place) == found
        with pytest.raises(InvalidInput, match="three is no number"):
            outcomes(tmp_path / "bad", OnDask(cluster.scheduler_address), cases.refuses)
    assert place.given == []
    assert outcomes(tmp_path / "one", Here(1)) == found


def test_no_dask_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(places, "REACH_S", 0.3)
    with pytest.raises(Unreachable, match="no Dask scheduler answers at tcp"):
        outcomes(tmp_path, OnDask("tcp://127.0.0.1:1"))


def test_dask_workers_of_other_code_are_refused() -> None:
    place = OnDask("tcp://x:1")
    place._check({"a": sweep.code_version()})
    with pytest.raises(Conflict, match="worker b has another Meyrin"):
        place._check({"a": sweep.code_version(), "b": "0" * 16})
    with pytest.raises(Unreachable, match="has no workers"):
        place._check({})


def test_finished_points_are_not_repeated(tmp_path: Path) -> None:
    kept, told = Kept(tmp_path), list[Standing]()
    first = Counted(Here(1))
    sweep.sweep(cases.points(2), cases.replayed, kept, first, Steps())
    second = Counted(Here(1))
    sweep.sweep(cases.points(5), cases.replayed, kept, second, Steps(), told.append)
    assert len(first.given) == 2
    assert len(second.given) == 3
    assert [(each.done, each.total, each.kept) for each in told] == [
        (2, 5, 2),
        (3, 5, 2),
        (4, 5, 2),
        (5, 5, 2),
    ]
    assert [each.left_s for each in told] == [None, 2.0, 1.0, 0.0]


def test_large_files_that_are_the_same_are_one_on_disk(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    large, other = b"x" * sweep.LARGE, b"y" * sweep.LARGE
    kept.put("aa", {"jobs": large, "note": b"1"})
    kept.put("bb", {"jobs": large, "note": b"2"})
    kept.put("cc", {"jobs": other, "note": b"3"})
    one, same, else_ = (kept.path(name) / "jobs" for name in ("aa", "bb", "cc"))
    assert one.samefile(same)
    assert not one.samefile(else_)
    assert (kept.path("bb") / "note").read_bytes() == b"2"


def test_equal_points_run_once(tmp_path: Path) -> None:
    place = Counted(Here(1))
    twice = [*cases.points(2), *cases.points(2)]
    paths = sweep.sweep(twice, cases.replayed, Kept(tmp_path), place, Steps())
    assert len(place.given) == 2
    assert paths[:2] == paths[2:]


def test_what_decides_an_outcome_is_in_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    point = cases.points(1)[0]
    plain = sweep.key(point, cases.replayed)
    assert sweep.key(replace(point, name="other words"), cases.replayed) == plain
    assert sweep.key(replace(point, facts={"seed": 1}), cases.replayed) != plain
    assert sweep.key(point, cases.refuses) != plain
    monkeypatch.setattr(sweep, "code_version", lambda: "f" * 16)
    assert sweep.key(point, cases.replayed) != plain


@pytest.mark.parametrize("cores", [1, 2])
def test_one_bad_point_stops_the_sweep_and_keeps_the_good_ones(tmp_path: Path, cores: int) -> None:
    place = Counted(Here(cores))
    with pytest.raises(InvalidInput, match="three is no number") as raised:
        outcomes(tmp_path, place, cases.refuses)
    assert raised.value.hint == "count again"
    assert all(Kept(tmp_path).has(name) for name in place.given)
    assert not list(tmp_path.rglob("*.part"))


def test_a_killed_process_is_told(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="ended from outside"):
        outcomes(tmp_path, Here(2), cases.dies)


def test_a_stop_ends_the_processes_and_keeps_what_had_come(tmp_path: Path) -> None:
    kept = Kept(tmp_path)

    def told(standing: Standing) -> None:
        if standing.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep.sweep(cases.points(), cases.slow_after_two, kept, Here(2), Steps(), told)
    found = [kept.has(sweep.key(point, cases.slow_after_two)) for point in cases.points()]
    assert found == [True, True, False, False, False, False]


def test_cores_are_counted() -> None:
    assert sweep.check_cores(sweep.cores_here()) >= 1
    with pytest.raises(InvalidInput, match="--cores is 0"):
        sweep.check_cores(0)
