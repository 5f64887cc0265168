"""What a hub holds of the machine's memory when it has little to do (issue 2: below 150 MB)."""

from __future__ import annotations

import re
from pathlib import Path

from tests.walk.facility import facility

MOST_MB = 150


def test_a_hub_that_has_run_a_few_jobs_and_is_idle_again_is_small(tmp_path: Path) -> None:
    with facility(tmp_path) as made:
        made.hub.start()
        made.grant(10_000_000)
        made.agent("alps").start()
        made.joined("alps")
        for _ in range(3):
            done = made.meyrin("run", "--account=home", "--time=1", "--", "true")
            assert done.returncode == 0, done
        running = made.hub.process.running
        assert running is not None
        status = Path(f"/proc/{running.pid}/status").read_text(encoding="ascii")
    (held_kb,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
    assert int(held_kb) < MOST_MB * 1000
