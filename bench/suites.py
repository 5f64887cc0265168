"""What a run of a suite costs beside bare Inspect, with the same mock model, in one run.

    python bench/suites.py                 1,000 samples
    python bench/suites.py --samples 200

Processor seconds of whole processes, each three times, in turn; the least counts. Bare Inspect
does what a person would write: the same samples, scorers and concurrency, its log as it likes it.
The aim: at most 5 % more at 1,000 samples, plus 2 s for the jail, its probe and the signatures.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

AIM, FIXED_S = 0.05, 2.0
OWN = """
name = "sized"
version = "1"
title = "as many sums as wanted"
cluster_key = "the sum"
seed_rule = "none"
samples = 1000
[data]
licence = "CC0-1.0"
[[task]]
name = "sums"
items = "items:sums"
scores = ["exact"]
"""
ITEMS = """
from meyrin.suites.item import Item

def sums(seed, count):
    return [Item(str(n), f"what is {n} plus 1 ?", str(n + 1), str(n // 5)) for n in range(count)]
"""
BARE = """
import json, sys
from inspect_ai import Task, eval
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import match
from inspect_ai.solver import generate

def answer(*_):
    made = ModelOutput.from_content("mockllm", "Default output from mockllm/model")
    made.usage = ModelUsage(input_tokens=5, output_tokens=4, total_tokens=9)
    return made

count, out = int(sys.argv[1]), sys.argv[2]
made = [Sample(id=str(n), input=f"what is {n} plus 1 ?", target=str(n + 1)) for n in range(count)]
task = Task(dataset=MemoryDataset(made), solver=generate(), scorer=match())
(log,) = eval(task, model=get_model("mockllm/model", custom_outputs=answer), log_dir=out,
              display="none", max_samples=16)
assert log.status == "success" and len(log.samples) == count
"""
OURS = """
import sys
from pathlib import Path
from meyrin.suites import evidence
from meyrin.suites.execute import Asked
from meyrin.suites.suite import find
count, out, suite, jailed = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4] == "1"
ask = Asked(find(suite), "mock", out, samples=count, jailed=jailed)
found, _ = evidence.make(ask, out / "key", lambda done, of: None)
assert len(found.samples) == count
"""


GROUPS = {
    "/sys/fs/cgroup/cpuacct": ("cpuacct.usage", 1e-9),
    "/sys/fs/cgroup": ("cpu.stat", 1e-6),
}
JOIN = 'echo $$ > "$0/cgroup.procs"; exec "$@"'


def spent(command: list[str]) -> float:
    """Processor seconds of a command and of all that it started, by a control group.

    What a jail's processes use is never told to the parent of the jail, so `getrusage` won't do.
    """
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    quiet = subprocess.DEVNULL
    for place, (file, unit) in GROUPS.items():
        folder = Path(place, f"meyrin-bench-{os.getpid()}")
        if not Path(place, "cgroup.procs").exists():
            continue
        folder.mkdir()
        try:
            joined = ["sh", "-c", JOIN, str(folder), *command]
            subprocess.run(joined, check=True, stdout=quiet, stderr=quiet, env=env)
            words = (folder / file).read_text().split()
            return int(words[-1] if len(words) == 1 else words[1]) * unit
        finally:
            folder.rmdir()
    raise SystemExit("bench: needs a control group that counts processor time (as root)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    count = str(asked.samples)
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        suite = folder / "sized"
        suite.mkdir()
        (suite / "suite.toml").write_text(OWN)
        (suite / "items.py").write_text(ITEMS)

        def ours(jailed: str) -> Callable[[str], list[str]]:
            return lambda out: [sys.executable, "-c", OURS, count, out, str(suite), jailed]

        ways: dict[str, Callable[[str], list[str]]] = {
            "bare Inspect": lambda out: [sys.executable, "-c", BARE, count, out],
            "a run, no jail": ours("0"),
            "a run in the jail": ours("1"),
        }
        best: dict[str, float] = {}
        for turn in range(asked.rounds):
            for number, (way, command) in enumerate(ways.items()):
                out = folder / f"{turn}-{number}"
                out.mkdir()
                seconds = spent(command(str(out)))
                best[way] = min(best.get(way, seconds), seconds)
    bare = best["bare Inspect"]
    for way, seconds in best.items():
        each = 1000 * seconds / asked.samples
        print(f"{way:18} {seconds:7.2f} CPU s  {each:6.2f} ms a sample  {seconds - bare:+6.2f} s")
    most = bare * (1 + AIM) + FIXED_S
    held = best["a run in the jail"] <= most
    print(f"aim: at most {most:.2f} CPU s: {'held' if held else 'NOT held'}")
    print(json.dumps({"samples": asked.samples, "cpu_s": best, "most_s": most, "held": held}))
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
