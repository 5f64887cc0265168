"""One run of a suite on this machine: shards in the jail, resumed after a kill, merged as facts.

Whatever is missing at the end, there are no facts to sign: a run is whole or it is no evidence.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from meyrin.domain.errors import Conflict, Failed, InvalidInput
from meyrin.suites import facts as all_facts
from meyrin.suites import jail as jails
from meyrin.suites import probe, relay
from meyrin.suites.environment import model_files, weights_digest
from meyrin.suites.facts import NO_SITE, Facts, Fingerprints, Isolation, RunFacts, SampleFact
from meyrin.suites.jail import Jail
from meyrin.suites.relay import Relay
from meyrin.suites.spec import LINES, META, MOCK, PROBLEM, REACHED, Spec, read_lines
from meyrin.suites.suite import Suite

FACTS, STATE = "facts.jsonl", "run.json"
LOOK_S = 0.1
GOES_ON = "what is finished is kept; the same command goes on from there"
OnProgress = Callable[[int, int], None]  # finished samples, planned


@dataclass(frozen=True, slots=True)
class Asked:
    """What to run. `model` is a folder, the address of a served model, or `mock`."""

    suite: Suite
    model: str
    out: Path
    seed: int = 1
    samples: int = 0  # 0: as many as the suite says
    shards: int = 1
    concurrency: int = 16
    site: str = NO_SITE
    plan: str | None = None
    jailed: bool = True
    at_once: int = 1
    model_name: str = ""
    data: tuple[Path, ...] = ()
    source: str = ""  # the address and digest of the archive that the folder came from
    model_key: str = field(default="", repr=False)  # for the relay to a served model alone

    @property
    def folder(self) -> Path | None:
        return None if self.served or self.model == MOCK else Path(self.model).resolve()

    @property
    def served(self) -> bool:
        return self.model.startswith(("http://", "https://"))


def run(ask: Asked, progress: OnProgress = lambda _done, _of: None) -> Facts:
    """Run, or go on with, a suite; the facts, which are also saved in the out folder.

    Raises Failed when the run is not whole, Conflict when the folder holds another run.
    """
    if not 1 <= ask.shards <= 1024 or not 1 <= ask.concurrency <= 1024:
        raise InvalidInput("shards and concurrency are 1 to 1024", field="shards")
    ask.out.mkdir(parents=True, exist_ok=True)
    by = jails.check() if ask.jailed else "none"
    weights = _weights(ask)
    with _alone(ask.out):
        state = _state(ask, weights)
        name = f"meyrin-{os.getpid()}-{state['started_ms']}"
        with ExitStack() as stack:
            groups = stack.enter_context(jails.control_groups(name, ask.suite.limits))
            relayed = (
                stack.enter_context(relay.opened(ask.model, ask.model_key)) if ask.served else None
            )
            made = [_jail(ask, shard, groups, relayed) for shard in range(ask.shards)]
            isolation = _isolation(ask, made[0], by, relayed)
            stack.callback(_note, ask.out / REACHED, relayed)
            _run_shards(ask, made, progress, relayed)
        if _weights(ask) != weights:
            raise Failed("the model's files changed during the run: this is no evidence")
        found = _merge(ask, made, weights, isolation, state["started_ms"])
        if ask.served and all(sample.error for sample in found.samples):
            raise _unanswered(relayed)
        all_facts.save(found, ask.out / FACTS)
    return found


def _weights(ask: Asked) -> str:
    if ask.folder is not None:
        return weights_digest(model_files(ask.folder))
    return f"unmeasured: {ask.model}"


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(
                f"somebody else runs a suite into {out}", hint="wait, or choose another --out"
            ) from None
        yield


def _state(ask: Asked, weights: str) -> dict[str, Any]:
    """What this folder is for: written once, and held against every later call."""
    wanted = {
        "suite": ask.suite.name,
        "version": ask.suite.version,
        "weights": weights,
        "seed": ask.seed,
        "samples": ask.samples,
        "shards": ask.shards,
        "plan": ask.plan,
        "jailed": ask.jailed,
    }
    path = ask.out / STATE
    if path.exists():
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        other = [name for name, value in wanted.items() if known.get(name) != value]
        if other:
            raise Conflict(
                f"{ask.out} holds a run with another {', '.join(other)}",
                hint="choose another --out, or repeat the command as it was to go on",
            )
        return known
    state = {**wanted, "started_ms": time.time_ns() // 1_000_000}
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(state), encoding="utf-8")
    draft.replace(path)
    return state


def _isolation(ask: Asked, jail: Jail, by: str, relayed: Relay | None) -> Isolation:
    """What the probe measured, before a sample is asked."""
    if not ask.jailed:
        return Isolation()
    if relayed is None:
        return probe.measure(jail, by)
    found = probe.measure(jail, f"{by} with a relay to {relayed.address} alone", relayed.socket)
    relayed.refused = 0  # the probe's own; what follows is the run's
    return found


def _unanswered(relayed: Relay | None) -> Failed:
    """Nothing was tested: a server that is away, or that answers nobody without its key."""
    status = relayed.failed if relayed else 0
    why = f": its last answer was {status}" if status else ""
    way_out = "is it up, and is the name after the last / the model's name there?"
    if status in (401, 403):
        way_out = "it asks for a key: --model-key with --local, or one that the site keeps for it"
    return Failed(
        f"no evidence: the model's server answered no question{why}",
        hint=f"{way_out} With another --out it is asked again",
    )


def _note(path: Path, relayed: Relay | None) -> None:
    """How often a served model was asked: one line for each time that the run went on."""
    if relayed is not None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(relayed.told(), sort_keys=True) + "\n")


def _jail(ask: Asked, shard: int, groups: tuple[Path, ...], relayed: Relay | None) -> Jail:
    out = (ask.out / f"shard-{shard}").resolve()
    out.mkdir(exist_ok=True)
    also = (Path(ask.suite.folder).resolve(),) if ask.suite.folder else ()
    also = (*also, *ask.data, *((relayed.folder,) if relayed else ()))
    kind = "bubblewrap" if ask.jailed else "none"
    jail = Jail(ask.suite.limits, out, ask.folder, also, kind, groups)
    if ask.data:
        jail = replace(jail, environment={"HF_HOME": str(ask.data[0])})
    return jail


def _spec(ask: Asked, jail: Jail, shard: int, relayed: Relay | None) -> Spec:
    model = relayed.name if relayed else jail.model_inside if ask.folder else ask.model
    return Spec(
        ask.suite.name, ask.suite.folder, ask.suite.package, model, ask.seed, ask.samples,
        shard, ask.shards, ask.concurrency, jail.out_inside, str(relayed.socket) if relayed else "",
    )  # fmt: skip


def _run_shards(
    ask: Asked, made: list[Jail], progress: OnProgress, relayed: Relay | None = None
) -> None:
    deadline = time.monotonic() + ask.suite.limits.walltime_s
    waiting = list(range(ask.shards))
    running: dict[int, subprocess.Popen[bytes]] = {}
    troubles: list[str] = []
    try:
        while waiting or running:
            while waiting and len(running) < ask.at_once:
                shard = waiting.pop(0)
                running[shard] = _start(ask, made[shard], shard, relayed)
            time.sleep(LOOK_S)
            for shard, process in list(running.items()):
                if process.poll() is None:
                    continue
                del running[shard]
                if process.returncode:
                    troubles.append(_trouble(made[shard].out, shard, process.returncode))
            progress(sum(_count(jail.out) for jail in made), _planned(made))
            if running and time.monotonic() > deadline:
                troubles.append(f"it took longer than {ask.suite.limits.walltime_s} s")
                waiting = []
                break
    finally:
        for process in running.values():
            _end(process)
    if troubles:
        raise Failed(
            f"no evidence: {'; '.join(dict.fromkeys(troubles))}",
            hint=GOES_ON,
        )


def _start(
    ask: Asked, jail: Jail, shard: int, relayed: Relay | None = None
) -> subprocess.Popen[bytes]:
    (jail.out / PROBLEM).unlink(missing_ok=True)
    _spec(ask, jail, shard, relayed).save(jail.out / "spec.json")
    argv = [sys.executable, "-m", "meyrin.suites.runner", f"{jail.out_inside}/spec.json"]
    return jails.start(jail, argv, jail.out / "words.log")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a shard and all that it started: the jail dies with its first process."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _trouble(out: Path, shard: int, code: int) -> str:
    path = out / PROBLEM
    if path.exists():
        told = json.loads(path.read_text(encoding="utf-8"))
        return str(told["message"])
    with (out / "words.log").open("rb") as file:  # however long it is
        file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
        words = file.read().decode(errors="replace").strip().splitlines()
    how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
    return f"shard {shard + 1} {how}: {words[-1][:300] if words else 'no words'}"


def _count(out: Path) -> int:
    path = out / LINES
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _planned(made: list[Jail]) -> int:
    for jail in made:
        try:
            return int(json.loads((jail.out / META).read_text(encoding="utf-8"))["planned"])
        except (OSError, ValueError):
            continue
    return 0


def _merge(
    ask: Asked, made: list[Jail], weights: str, isolation: Isolation, started_ms: int
) -> Facts:
    metas = [json.loads((jail.out / META).read_text(encoding="utf-8")) for jail in made]
    if any(meta != metas[0] for meta in metas):
        raise Conflict("the shards saw different data or packages: this is no evidence")
    meta = metas[0]
    samples: list[SampleFact] = []
    for jail in made:
        samples += read_lines(jail.out / LINES).values()
    ordered = all_facts.in_order(samples)
    if len(ordered) != meta["planned"] or not ordered:
        raise Failed(
            f"no evidence: {len(ordered)} of {meta['planned']} samples are finished",
            hint=GOES_ON,
        )
    prints = Fingerprints(weights, meta["data"], meta["environment"], meta["engine"], ask.plan)
    run = RunFacts(
        suite=ask.suite.name,
        version=ask.suite.version,
        seed=ask.seed,
        model=ask.model_name or (ask.folder.name if ask.folder else ask.model),
        fingerprints=prints,
        planned=meta["planned"],
        started_ms=started_ms,
        ended_ms=time.time_ns() // 1_000_000,
        finished=True,
        site=ask.site,
        isolation=isolation,
    )
    return Facts(run, ordered)
