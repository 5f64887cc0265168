"""Many worlds, on every core (`make world SEEDS=2000`); or one with its trace (`SEED=17`).

Seeds that went well are noted beside the sources that they went well with, so that a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

from tests.world.lives import Outcome, Place, replay_command, shrink
from tests.world.settings import Settings, draw

ROOT = Path(__file__).resolve().parents[2]
_place: list[Place] = []


def main() -> int:
    """The command. Ends with 1 when a law was broken."""
    words = _words()
    if words.seed is not None:
        return _one(_settings(words, words.seed))
    seeds = range(words.first, words.first + words.seeds)
    return _many(words, seeds)


def _words() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, help="live one world and print its trace")
    parser.add_argument("--seeds", type=int, default=50, help="how many worlds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--without", default="", help="faults left out, with commas between")
    parser.add_argument("--requests", type=int, help="at most so many requests")
    parser.add_argument("--steps", type=int, help="at most so many steps")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--stop-after", type=int, default=5, help="stop after so many failures")
    return parser.parse_args()


def _settings(words: argparse.Namespace, seed: int) -> Settings:
    without = frozenset(filter(None, words.without.split(",")))
    return draw(seed, without=without, steps=words.steps, requests=words.requests)


def _one(settings: Settings) -> int:
    place = Place()
    try:
        outcome = place.live(settings)
        print("\n".join(outcome.trace))
        print(f"seed {settings.seed}: {outcome.words or 'every law held'} (trace {outcome.digest})")
        if not outcome.good:
            smaller, again = shrink(place, settings)
            print(f"smaller: {replay_command(smaller)}\n  {again.words}")
    finally:
        place.close()
    return 0 if outcome.good else 1


def _many(words: argparse.Namespace, seeds: range) -> int:
    noted = _noted(words)
    done = {int(line) for line in noted.read_text().split()} if noted.exists() else set()
    todo = [_settings(words, seed) for seed in seeds if seed not in done]
    print(f"{len(todo)} worlds to live, {len(seeds) - len(todo)} were well before", flush=True)
    failed: list[Outcome] = []
    lived, begun = 0, time.monotonic()
    with noted.open("a") as file:
        for outcome in _live_all(todo, words.cores):
            lived += 1
            if outcome.good:
                file.write(f"{outcome.seed}\n")
                file.flush()
            else:
                failed.append(outcome)
                _tell(outcome, _settings(words, outcome.seed))
            if lived % 25 == 0 or lived == len(todo):
                _progress(lived, len(todo), len(failed), time.monotonic() - begun)
            if len(failed) >= words.stop_after:
                print(f"stopped after {len(failed)} failures")
                break
    print(f"{lived} worlds, {len(failed)} failed")
    return 1 if failed else 0


def _live_all(todo: list[Settings], cores: int) -> Iterator[Outcome]:
    """Outcomes as they come; a few worlds are handed out ahead, so that stopping is quick."""
    if cores <= 1:
        yield from map(_live, todo)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, mp_context=spawn) as pool:
        rest = iter(todo)
        under_way = [pool.submit(_live, each) for each in islice(rest, 4 * cores)]
        try:
            while under_way:
                outcome = under_way.pop(0).result()
                under_way += [pool.submit(_live, each) for each in islice(rest, 1)]
                yield outcome
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _live(settings: Settings) -> Outcome:
    if not _place:
        import atexit

        _place.append(Place())
        atexit.register(_place[0].close)
        multiprocessing.util.Finalize(None, _place[0].close, exitpriority=10)
    return _place[0].live(settings)


def _tell(outcome: Outcome, settings: Settings) -> None:
    print(f"\nseed {outcome.seed}: {outcome.words}")
    print("\n".join(outcome.trace[-30:]))
    print(f"the whole of it: {replay_command(settings)}\n", flush=True)


def _progress(lived: int, of: int, failed: int, seconds: float) -> None:
    left_s = int(seconds / lived * (of - lived))
    left = f"{left_s // 60} min {left_s % 60} s left" if left_s else "done"
    print(f"{lived} of {of}, {failed} failed, {seconds / lived:.2f} s each, {left}", flush=True)


def _noted(words: argparse.Namespace) -> Path:
    """Where seeds that went well with these very sources, in worlds of this kind, are noted."""
    digest = hashlib.sha256(f"{words.without} {words.steps} {words.requests}".encode())
    for path in sorted([*ROOT.glob("src/meyrin/**/*.py"), *ROOT.glob("tests/world/*.py")]):
        digest.update(path.read_bytes())
    folder = ROOT / "build" / "world"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{digest.hexdigest()[:16]}.txt"


if __name__ == "__main__":
    sys.exit(main())
