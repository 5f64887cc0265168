"""AccaSim as bench/replay.py measures it: one SWF log, one pool, one policy, no files written.

Run by the benchmark's own environment: `python bench/replay_peer.py fcfs LOG.swf PROCESSORS`
prints one JSON object. Its reader runs inside its loop, so its time can't be had without reading.
AccaSim 1.1.3 is of 2021 and asks `collections` for a name that Python 3.10 moved: it gets it back.
"""

from __future__ import annotations

import collections
import collections.abc
import json
import logging
import os
import resource
import sys
import tempfile
import time
from pathlib import Path


def replay(policy: str, log: str, processors: int) -> dict[str, object]:
    collections.Mapping = collections.abc.Mapping
    from accasim.base.allocator_class import FirstFit
    from accasim.base.scheduler_class import EASYBackfilling, FirstInFirstOut
    from accasim.base.simulator_class import Simulator

    scheduler = {"fcfs": FirstInFirstOut, "easy": EASYBackfilling}[policy]
    with tempfile.TemporaryDirectory(prefix="accasim-") as folder:
        machine = Path(folder, "machine.json")
        machine.write_text(
            json.dumps(
                {
                    "groups": {"pool": {"core": processors}},
                    "resources": {"pool": 1},
                    "equivalence": {"processor": {"core": 1}},
                    "start_time": 0,
                }
            )
        )
        begun = time.process_time()
        simulator = Simulator(
            log,
            str(machine),
            scheduler(FirstFit()),
            scheduling_output=False,
            statistics_output=False,
            show_statistics=False,
            RESULTS_FOLDER_PATH=folder,
            LOG_LEVEL="ERROR",
        )
        simulator.start_simulation()
        took = time.process_time() - begun
    waits = simulator.mapper.wtimes
    return {
        "seconds": [took],
        "jobs": len(waits),
        "wait_s": sum(waits),
        "peak_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever it prints is not the answer
    print(json.dumps(replay(sys.argv[1], sys.argv[2], int(sys.argv[3]))), file=answer)
