"""kill -9 of keeper, guard, both, or the agent, at any moment.

MEYRIN_KILLED_JOBS sets between how many jobs each of ten kills falls (300 in the nightly run).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.agent.contract import read_line, run, start, until, wait_gone
from tests.agent.local.conftest import CPU, Make, guard_of, kill_both, wait_ended

from meyrin.agent.batch import Phase
from meyrin.agent.keeper_proc import kill_one
from meyrin.agent.local import LocalBatch
from meyrin.domain.site import Partition

JOBS = int(os.environ.get("MEYRIN_KILLED_JOBS", "120"))
KILLS = 10


def pipes(tmp_path: Path, count: int) -> list[Path]:
    made = [tmp_path / f"pipe{i}" for i in range(count)]
    for path in made:
        os.mkfifo(path)
    return made


def test_a_killed_keeper_comes_back_and_finds_every_exit_code(make: Make, tmp_path: Path) -> None:
    batch = make()
    (go, end_one, end_two) = pipes(tmp_path, 3)
    starts = [
        start(batch, tmp_path, f"echo go > {go}; read x < {end}; exit {code}")
        for end, code in ((end_one, 3), (end_two, 4))
    ]
    queued = start(batch, tmp_path, "exit 5")
    keeper = batch.start()
    for one in starts:
        batch.submit((one,))
        read_line(go)
    batch.submit((queued,))
    guard = guard_of(keeper)
    kill_one(keeper, signal.SIGKILL)
    wait_gone(keeper)
    end_one.write_text("end\n")
    again = batch.start()
    assert again != keeper
    assert guard_of(again) == guard
    end_two.write_text("end\n")
    ended = until(batch, [one.attempt for one in (*starts, queued)])
    codes = [ended[one.attempt].exit_code for one in (*starts, queued)]
    assert codes == [3, 4, 5]
    usage = ended[starts[0].attempt].usage
    assert usage is not None
    assert usage.cpu_ms is not None  # the guard saw it


def test_guard_and_keeper_killed_while_a_job_runs(make: Make, folder: Path, tmp_path: Path) -> None:
    batch = make()
    go, end = pipes(tmp_path, 2)
    one = start(batch, tmp_path, f"echo go > {go}; read x < {end}; exit 3")
    batch.submit((one,))
    read_line(go)
    kill_both(batch.start(), folder)
    batch.start()
    assert batch.look_up((one.attempt,))[one.attempt].phase is Phase.RUNNING
    end.write_text("end\n")
    job = until(batch, [one.attempt])[one.attempt]
    # where the kernel keeps the exit code it is found, elsewhere the job is lost
    assert (job.end, job.exit_code) in {("exit", 3), ("lost", None)}
    assert job.end != "lost" or "not known" in job.why


def test_what_ends_while_nobody_watches_is_lost_and_never_success(
    make: Make, folder: Path, tmp_path: Path
) -> None:
    batch = make()
    go, end = pipes(tmp_path, 2)
    script = f"echo $$ > {go}; sleep 1000 & echo $! > child; read x < {end}; exit 3"
    one = start(batch, tmp_path, script)
    batch.submit((one,))
    leader = int(read_line(go))
    keeper = batch.start()
    kill_both(keeper, folder)
    end.write_text("end\n")
    wait_gone(leader)
    job = until(batch, [one.attempt])[one.attempt]
    # whoever inherited it may be slow to reap it: then the kernel still tells
    assert (job.end, job.exit_code) in {("lost", None), ("exit", 3)}
    assert job.end != "lost" or job.usage is None
    wait_gone(int((tmp_path / "child").read_text()))


def test_a_killed_guard_is_not_missed(make: Make, tmp_path: Path) -> None:
    batch = make()
    guard = guard_of(batch.start())
    kill_one(guard, signal.SIGKILL)
    wait_gone(guard)
    assert run(batch, start(batch, tmp_path, "exit 3")).exit_code == 3


@pytest.mark.parametrize("both", [False, True])
def test_cancel_and_wall_time_hold_over_a_restart(
    make: Make, folder: Path, tmp_path: Path, both: bool
) -> None:
    batch = make()
    own = pipes(tmp_path, 2)  # one each: of two lines in one pipe a reader may get both at once
    script = "trap '' TERM; echo go > {}; while :; do sleep 1000; done"
    cancelled = start(batch, tmp_path, script.format(own[0]))
    late = start(batch, tmp_path, script.format(own[1]), walltime_s=1)
    batch.submit((cancelled, late))
    for pipe in own:
        read_line(pipe)
    batch.cancel((cancelled.attempt,))
    keeper = batch.start()
    if both:
        kill_both(keeper, folder)
    else:
        kill_one(keeper, signal.SIGKILL)
        wait_gone(keeper)
    ended = until(batch, [cancelled.attempt, late.attempt])
    ends = [ended[one.attempt].end for one in (cancelled, late)]
    assert ends == ["cancelled", "timeout"] or (
        both and set(ends) <= {"cancelled", "timeout", "lost"}
    )


def test_accelerators_stay_exclusive_over_a_restart(make: Make, tmp_path: Path) -> None:
    one_gpu = Partition("gpu", 1, 8, 1000, 1, "h100")
    batch = make((one_gpu,))
    go, end = pipes(tmp_path, 2)
    shape = {"asked": one_gpu.node, "stdout": str(tmp_path / "out"), "append_output": True}
    first = start(
        batch,
        tmp_path,
        f"echo go > {go}; read x < {end}; echo first $CUDA_VISIBLE_DEVICES",
        **shape,
    )
    second = start(batch, tmp_path, "echo second $CUDA_VISIBLE_DEVICES", **shape)
    batch.submit((first, second))
    read_line(go)
    kill_one(batch.start(), signal.SIGKILL)
    batch.start()
    assert batch.look_up((second.attempt,))[second.attempt].phase is Phase.QUEUED
    end.write_text("end\n")
    until(batch, [first.attempt, second.attempt])
    assert (tmp_path / "out").read_text() == "first 0\nsecond 0\n"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_random_kills(make: Make, folder: Path, tmp_path: Path, seed: int) -> None:
    """Every job ends once, runs at most once, and an exit code that is told is the right one."""
    chance = random.Random(seed)
    batch = make((Partition("cpu", 1, 4, 1000),))
    starts = [
        start(batch, tmp_path, f"echo ran >> ran{i}; exit {i % 7}", job=i) for i in range(JOBS)
    ]
    attempts = [one.attempt for one in starts]
    for i in range(0, JOBS, JOBS // KILLS):
        batch.submit(tuple(starts[i : i + JOBS // KILLS]))
        told = batch.changes("", 0)
        for _ in range(chance.randrange(6)):
            told = batch.changes(told.cursor, 5)
        if seed % 2 and chance.random() < 0.3:
            kill_both(batch.start(), folder)
        else:
            kill_one(batch.start(), signal.SIGKILL)
    ended = until(batch, attempts)
    lost = 0
    for i, one in enumerate(starts):
        job, ran = ended[one.attempt], tmp_path / f"ran{i}"
        assert not ran.exists() or ran.read_text() == "ran\n", f"job {i} ran twice"
        if job.end == "exit":
            assert job.exit_code == i % 7
            assert ran.exists()
        else:
            assert job.end == "lost", job
            lost += 1
    assert lost <= 6 * KILLS, "each kill may lose what ran just then, no more"


def test_the_agent_may_be_killed_and_misses_nothing(
    make: Make, folder: Path, tmp_path: Path
) -> None:
    (go,) = pipes(tmp_path, 1)
    code = (
        "import sys; from pathlib import Path; from tests.agent.contract import start\n"
        "from tests.agent.local.conftest import CPU, GPU\n"
        "from meyrin.agent.local import LocalBatch\n"
        "folder, tmp, go = map(Path, sys.argv[1:])\n"
        "batch = LocalBatch(folder, (CPU, GPU), grace_s=1.0)\n"
        "one = start(batch, tmp, f'echo go > {go}; exit 3', attempt='a' * 36)\n"
        "batch.submit((one,)); print('submitted', flush=True); sys.stdin.read()\n"
    )
    agent = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(tmp_path), str(go)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert agent.stdout is not None
    assert agent.stdin is not None
    assert agent.stdout.readline() == b"submitted\n"
    os.killpg(agent.pid, signal.SIGKILL)
    agent.wait()
    agent.stdin.close()
    agent.stdout.close()
    batch = make()
    read_line(go)
    assert until(batch, ["a" * 36])["a" * 36].exit_code == 3


def test_stop_waits_until_idle(make: Make, folder: Path, tmp_path: Path) -> None:
    batch = make()
    go, end = pipes(tmp_path, 2)
    one = start(batch, tmp_path, f"echo go > {go}; read x < {end}; exit 3")
    batch.submit((one,))
    read_line(go)
    assert batch.stop() is False
    end.write_text("end\n")
    wait_ended(folder)
    assert batch.stop() is True
    assert batch.look_up((one.attempt,))[one.attempt].exit_code == 3


def test_two_clients_start_one_keeper(make: Make, folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.agent.local.conftest import CPU, GPU\n"
        "from meyrin.agent.local import LocalBatch\n"
        "print(LocalBatch(Path(sys.argv[1]), (CPU, GPU), grace_s=1.0).start())\n"
    )
    several = [
        subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    keepers = {one.communicate()[0] for one in several}
    assert keepers == {f"{make().start()}\n".encode()}


def test_the_folder_may_have_a_long_path(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30) / ("längér" * 20)
    batch = LocalBatch(folder, (CPU,), grace_s=1.0)
    assert run(batch, start(batch, tmp_path, "exit 3")).exit_code == 3
    batch.stop(cancel=True)
    wait_ended(folder)
    batch.close()
