"""`make demo`: the whole walk on this machine, from nothing to a charged job.

Everything shown is read back from the hub afterwards; the modules named are those whose functions
took the step.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from meyrin.agent import local, loop
from meyrin.cli.demo_gate import prepare, second_act
from meyrin.cli.machine import LocalSite, Machine
from meyrin.cli.up import end_on_signals, wait_for_end
from meyrin.client.admin import every
from meyrin.client.api import Client
from meyrin.domain.errors import Failed, MeyrinError
from meyrin.domain.site import OwnerShare, Partition
from meyrin.domain.states import JobState
from meyrin.domain.units import show_count, show_hours
from meyrin.engine import placement
from meyrin.hub.agents import service as hub_agents
from meyrin.hub.calls import service as hub_calls
from meyrin.hub.jobs import submit as hub_jobs
from meyrin.hub.ledger import service as hub_ledger
from meyrin.hub.plumbing import logs, settings
from meyrin.hub.reports import service as hub_reports
from meyrin.hub.usage import service as hub_usage
from meyrin.wire.ledger import EntryView

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"

# whose function writes each state of a job
STEP: dict[str, ModuleType] = {
    JobState.SUBMITTED: hub_jobs,
    JobState.ADMITTED: hub_jobs,
    JobState.PLACED: placement,
    JobState.LEASED: hub_agents,
    JobState.QUEUED: loop,
    JobState.RUNNING: local,
    JobState.COMPLETED: local,
    JobState.FAILED: local,
}


def sites() -> tuple[LocalSite, ...]:
    """Two sites of unlike size with declared accelerators; `virtual` says they are not real."""
    size = {"alpha": 2, "beta": 4}
    owners = {
        "alpha": (OwnerShare("union", 50), OwnerShare("country-a", 50)),
        "beta": (OwnerShare("union", 35), OwnerShare("country-b", 65)),
    }
    return tuple(
        LocalSite(
            name,
            f"Demo site {name}",
            Partition("gpu", 1, 2 * count, 4096, count, "virtual", max_walltime_s=3600),
            owners[name],
        )
        for name, count in size.items()
    )


def main() -> int:
    once = os.environ.get("ONCE") == "1"
    folder = Path(tempfile.mkdtemp(prefix="meyrin-demo-"))
    try:
        return _demo(folder, once)
    except MeyrinError as error:
        print(f"demo: {error.message}\n{error.hint}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _demo(folder: Path, once: bool) -> int:
    logs.configure(folder / "hub.log")
    modes = prepare(folder)
    machine = Machine(settings.load(folder, port=0, modes_dir=str(modes)), sites())
    machine.start()
    try:
        _title("A hub with two sites, each with its own agent")
        print(f"   hub      {machine.url}")
        for site in machine.local_sites:
            shown = f"{site.partition.accelerators_per_node} x {site.partition.accelerator_type}"
            shares = ", ".join(f"{o.owner} {o.weight} %" for o in site.owners)
            print(f"   {site.name:8} {shown}, paid for by {shares}")
        print(f"   granted  {machine.settings.starter_hours} hours of `virtual` to project home"
              f" by the starter rule  [{hub_calls.__name__}]")  # fmt: skip
        with Client.from_environment(os.environ, folder=folder) as client:
            good = _train(folder, client) and _sweep(folder, client)
            good = second_act(folder, client, _title) and good
            good = _statement(client) and good
        if not once:
            print(f"\nThe pages: {machine.login_link()}\nCtrl-C ends the demo.", flush=True)
            end_on_signals(machine.ended)
            wait_for_end(machine.ended)
        return 0 if good and not machine.broken else 1
    finally:
        machine.stop()


def _title(text: str) -> None:
    print(f"\n── {text}", flush=True)


def _meyrin(folder: Path, *arguments: str, cwd: Path, capture: bool = False) -> str:
    """Run the real command line as a user would, showing what is typed."""
    print(f"$ meyrin {' '.join(arguments)}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "meyrin", *arguments],
        cwd=cwd,
        env={**os.environ, "MEYRIN_DIR": str(folder)},
        stdout=subprocess.PIPE if capture else None,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Failed(f"`meyrin {arguments[0]}` ended with exit code {done.returncode}")
    if capture:
        print(done.stdout, end="", flush=True)
    return done.stdout or ""


def _train(folder: Path, client: Client) -> bool:
    _title("A real training script, submitted as it is")
    here = EXAMPLES / "train"
    said = _meyrin(
        folder, "submit", "--parsable", "--input=train.py", "--input=digits.csv.gz",
        "--output-files=metrics.json", "--output-files=model.npz",
        f"--export=PYTHON={sys.executable}", "train.sh", cwd=here, capture=True,
    )  # fmt: skip
    label = said.strip()
    _meyrin(folder, "logs", "-f", label, cwd=here)
    results = folder / "results"
    results.mkdir()
    _meyrin(folder, "fetch", label, "--into", str(results), cwd=here)
    metrics = json.loads((results / "metrics.json").read_text(encoding="utf-8"))
    _title("The walk of this job, and the module that took each step")
    detail = client.job(label)
    first_ms = detail.events[0].at_ms
    for event in detail.events:
        module = STEP[event.state].__name__
        print(f"   {(event.at_ms - first_ms) / 1000:8.3f} s  {event.state:10} {module:28} "
              f"{event.detail}")  # fmt: skip
    print(f"   {'':11} {'measured':10} {hub_usage.__name__:28} {detail.used_s} accelerator-seconds"
          f" of {detail.held_s or detail.attempts[-1].hold_s} held")  # fmt: skip
    print(f"   {'':11} {'settled':10} {hub_ledger.__name__:28} split between the owners")
    print(f"   why there: {client.explain(label).summary}")
    accuracy = metrics["accuracy"]
    print(f"   the model: {accuracy:.2%} of {metrics['held_out_samples']} held-out digits right"
          f" (model.npz, {(results / 'model.npz').stat().st_size} bytes)")  # fmt: skip
    return detail.job.state == JobState.COMPLETED and accuracy > 0.9


def _sweep(folder: Path, client: Client) -> bool:
    _title("An array of short jobs, spread over both sites")
    label = _meyrin(
        folder, "submit", "--parsable", "--wait", "sweep.sh", cwd=_copy(folder), capture=True
    ).strip()
    listed = client.jobs(limit=50).jobs
    mine = [job for job in listed if str(job.array_job) == label]
    where = Counter(f"{job.site}/{job.partition}" for job in mine)
    for place, count in sorted(where.items()):
        print(f"   {place:12} {show_count(count, 'job')}")
    return len(mine) == 8 and all(job.state == JobState.COMPLETED for job in mine)


def _copy(folder: Path) -> Path:
    """The array writes its output where it was submitted; keep the examples clean."""
    target = folder / "array"
    shutil.copytree(EXAMPLES / "array", target)
    return target


def _statement(client: Client) -> bool:
    _title(f"The statement of project home  [{hub_reports.__name__}, {hub_ledger.__name__}]")
    accounts: Counter[tuple[str, str]] = Counter()
    count = 0
    for entry in _entries(client):
        count += 1
        accounts[entry.debit_account, entry.charged_type] -= entry.amount_s
        accounts[entry.credit_account, entry.charged_type] += entry.amount_s
    for (account, kind), seconds in sorted(accounts.items()):
        if seconds:
            print(f"   {account:64} {seconds:>9} s {show_hours(seconds):>9} h {kind}")
    total = sum(accounts.values())
    print(f"   {f'sum over all accounts after {count} entries':64} {total:>9} s")
    findings = client.verify().findings
    print(f"   the ledger checked against its entries: {len(findings)} findings")
    return count > 0 and total == 0 and not findings


def _entries(client: Client) -> Iterator[EntryView]:
    for page in every(client.ledger.entries, project="home", limit=500):
        yield from page.entries


if __name__ == "__main__":
    sys.exit(main())
