"""When a process started is known without asking /proc, and is what /proc says."""

from __future__ import annotations

import os

import pytest

from meyrin.agent.keeper_proc import StartTimes, ticks, up_ns


@pytest.fixture
def started():
    """Starts a process that stays a zombie, between two readings of the clock."""
    pids = []

    def start():
        before_ns = up_ns()
        pid = os.posix_spawn("/bin/true", ["/bin/true"], {})
        pids.append(pid)
        return pid, before_ns, up_ns()

    yield start
    for pid in pids:
        os.waitpid(pid, 0)


def test_a_start_time_is_what_proc_says(started):
    times = StartTimes()
    for _ in range(40):  # one tick is ten of them, so some begin in one and end in the next
        pid, before_ns, after_ns = started()
        assert times.of(pid, before_ns, after_ns) == ticks(pid)


def test_where_proc_counts_from_elsewhere_proc_is_asked(started):
    times = StartTimes()
    for _ in range(3):
        pid, before_ns, after_ns = started()
        hour_ns = 3600 * 1_000_000_000
        assert times.of(pid, before_ns + hour_ns, after_ns + hour_ns) == ticks(pid)
