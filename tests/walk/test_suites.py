"""A test of a model as a job: at two sites with one root, charged, explained; or no evidence."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from tests.suites.conftest import trained
from tests.suites.test_models import Served, served, tarred
from tests.suites.test_runner import IGNORED, run
from tests.walk.facility import Facility, facility, wait_for

from meyrin.suites import facts
from meyrin.suites.tiny import load

__all__ = ["served"]  # a fixture
pytestmark = [
    pytest.mark.usefixtures("bubblewrap"),
    pytest.mark.slow,
    pytest.mark.filterwarnings(*IGNORED),
]
FEW = "20"
SITES = ("alpha", "beta")
RUNS = int(os.environ.get("MEYRIN_SUITE_RUNS", "4"))
WAYS = (  # where, concurrency, shards
    ("alpha", 16, 1), ("beta", 1, 2), ("outside", 64, 1), ("outside", 4, 8),
    ("jail", 64, 1), ("outside", 1, 1), ("alpha", 64, 3), ("outside", 32, 5),
    ("jail", 1, 2), ("outside", 2, 7), ("beta", 8, 1), ("outside", 16, 6),
    ("jail", 16, 8), ("outside", 1, 4), ("outside", 48, 2), ("alpha", 1, 1),
    ("jail", 4, 1), ("outside", 64, 8), ("beta", 64, 4), ("outside", 8, 3),
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Facility]:
    with facility(tmp_path_factory.mktemp("suite")) as made:
        made.hub.start()
        made.grant(10**6)
        for name in ("alpha", "beta"):
            made.agent(name).start()
        made.joined("alpha", "beta")
        yield made


def run_at(place: Facility, site: str, model: Path, *more: str) -> dict[str, object]:
    done = place.meyrin(
        "suite", "run", "capability", "--model", str(model), "--seed", "7", "--samples", FEW,
        "--site", site, "--json", *more,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def one_way(place: Facility, number: int, way: tuple[str, int, int]) -> dict[str, object]:
    """A run at a site, in the jail of this machine, or outside of any, so and so spread out."""
    where, concurrency, shards = way
    out = place.root / f"out-{number}"
    spread = ("--shards", str(shards), "--concurrency", str(concurrency))
    if where in SITES:
        return run_at(place, where, trained("good"), "--out", str(out), *spread)
    if where == "jail":
        return run_at_home(place, out, *spread)
    found = run(out, trained("good"), shards=shards, concurrency=concurrency, samples=int(FEW))
    return {"root": facts.root(found.values())}


def run_at_home(place: Facility, out: Path, *more: str) -> dict[str, object]:
    done = place.meyrin(
        "suite", "run", "capability", "--model", str(trained("good")), "--seed", "7",
        "--samples", FEW, "--local", "--out", str(out), "--json", *more,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def trust(place: Facility) -> Path:
    """An administrator names the sites' keys; a file with all that the hub publishes."""
    for site in SITES:
        public = place.meyrin("evidence", "key", str(place.root / site / "site.key")).stdout.strip()
        assert place.meyrin("gate", "trust", site, public).returncode == 0
    path = place.root / "trust.json"
    path.write_text(place.meyrin("evidence", "keys", "--json").stdout)
    return path


@pytest.mark.timeout(300 if RUNS <= 4 else 7200)
def test_one_root_at_two_sites_in_and_out_of_the_jail_however_spread_out(place: Facility) -> None:
    """One series, and each site is paid; `MEYRIN_SUITE_RUNS=20` for the full size."""
    first = one_way(place, 0, WAYS[0])  # before anybody trusts its key
    known = trust(place)
    made = [first, *(one_way(place, n, way) for n, way in enumerate(WAYS[1:RUNS], start=1))]
    assert len(made) == RUNS
    assert len({found["root"] for found in made}) == 1
    at_sites = [found for found in made if "job" in found]
    assert {found["run"]["site"] for found in at_sites} == set(SITES)  # type: ignore[index]
    assert {found["run"]["isolation"]["level"] for found in at_sites} == {2}  # type: ignore[index]
    with place.hub.client() as client:
        for found in at_sites:
            job = client.job(str(found["job"]))
            assert job.job.state == "completed"
            assert job.used_s > 0
            assert client.explain(str(found["job"])).summary
        assert not client.verify().findings
    known.write_text(place.meyrin("evidence", "keys", "--json").stdout)
    for found in at_sites:
        done = place.meyrin("evidence", "verify", str(found["evidence"]), "--trust", str(known))
        if found is first:
            assert done.returncode == 4
            assert "no hub that you trust has countersigned it" in done.stderr
            continue
        assert done.returncode == 0, done.stderr
        assert f"signed by site {found['run']['site']} and hub hub" in done.stdout  # type: ignore[index]
        assert "the site's key was not separated" in done.stdout  # these agents share their account


def end_site(place: Facility, name: str) -> None:
    """As if the power of the whole site was cut: agent, keeper, jobs and jails."""
    agent = place.agents[name]
    here = os.fsencode(agent.folder)
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            mine = here in (folder / "cmdline").read_bytes()
            if mine or (folder / "cwd").readlink().is_relative_to(agent.folder):
                os.kill(int(folder.name), signal.SIGKILL)
    agent.process.ended()


def test_a_model_at_an_address_and_a_served_one_as_jobs(place: Facility, served: Served) -> None:
    """The archive is what its hash names, or nothing runs; of a served model the evidence says
    that nobody measured its weights. Neither has a network, and a plan takes only what is sure to
    be one model."""
    raw = tarred(trained("good"), "m/")
    served.files["/m.tar.gz"] = raw
    served.model = load(trained("good"))
    address, good = f"{served.url}/m.tar.gz", hashlib.sha256(raw).hexdigest()
    few = ("suite", "run", "capability", "--seed", "7", "--samples", FEW, "--site", "alpha")
    with place.hub.client() as client:
        before = client.jobs(limit=1).jobs[0].job if client.jobs(limit=1).jobs else 0
        wrong = place.meyrin(*few, "--model", f"{address}#sha256={'0' * 64}")
        assert (wrong.returncode, "is not what #sha256=000" in wrong.stderr) == (2, True)
        for plain, words in ((address, f"{address}#sha256={good}"),
                             (f"{served.url}/v1/tiny", "give the model's folder")):  # fmt: skip
            refused = place.meyrin(*few, "--model", plain, "--plan", "0" * 64)
            assert (refused.returncode, words in refused.stderr) == (2, True)
        jobs = client.jobs(limit=1).jobs
        assert (jobs[0].job if jobs else 0) == before, "nothing was submitted"
    roots = set()
    for name, model in (("url", f"{address}#sha256={good}"), ("end", f"{served.url}/v1/tiny")):
        out = place.root / f"out-{name}"
        done = place.meyrin(*few, "--model", model, "--out", str(out), "--json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        roots.add(found["root"])
        said = place.meyrin("evidence", "verify", str(found["evidence"])).stdout
        unmeasured = f"nobody measured the model's weights (unmeasured: {model})" in said
        assert found["run"]["isolation"]["level"] == 2
        assert unmeasured == (name == "end"), said
        assert (f"says that the model came from {model}" in said) == (name == "url")
        assert (f"with a relay to {served.url}/v1 alone" in said) == (name == "end")
    assert len(roots) == 1, "the same model, however it came"


def test_a_site_that_is_lost_in_the_middle_leaves_no_evidence(place: Facility) -> None:
    """Its power is cut while the run goes on; the words and the page say so when it is back."""
    out = place.root / "out-lost"
    command = ("suite", "run", "safety", "--model", str(trained("good")), "--site", "alpha",
               "--out", str(out), "--json")  # fmt: skip
    with place.hub.client() as client, ThreadPoolExecutor(1) as pool:
        running = pool.submit(place.meyrin, *command)

        def newest() -> bool:
            found = client.jobs(limit=1).jobs
            return bool(found) and (found[0].name, found[0].state) == ("suite-safety", "running")

        wait_for(newest, "the job to run")
        job = client.jobs(limit=1).jobs[0].job
        work = place.agents["alpha"].folder / "work"
        wait_for(lambda: any(work.glob("*/run/shard-0/spec.json")), "the run to begin")
        end_site(place, "alpha")
        place.agents["alpha"].start()
        done = running.result()
        ended = client.job(job)
    assert done.returncode == 1, done.stdout
    assert "no evidence" in json.loads(done.stdout)["error"]["message"]
    assert ended.job.state == "failed"
    assert not ended.files
    for path in (f"/jobs/{job}", f"/projects/{ended.job.project}/models"):
        said = place.hub.page(path)
        assert "No evidence: the job ended before its run was whole: " in said
        assert "makes a new job; --site NAME sends it to another site" in said
    assert not list(out.rglob("*")) if out.exists() else True


def test_a_model_that_is_no_model_is_said_to_be_none(place: Facility) -> None:
    model = place.root / "nomodel"
    model.mkdir()
    (model / "readme.txt").write_text("no weights")
    done = place.meyrin("suite", "run", "capability", "--model", str(model), "--samples", FEW)
    assert done.returncode == 1
    assert "no evidence" in done.stderr
    assert "config.json" in done.stderr
    with place.hub.client() as client:
        job = client.jobs(limit=1).jobs[0]
    for path in (f"/jobs/{job.job}", f"/projects/{job.project}", f"/projects/{job.project}/models"):
        said = place.hub.page(path)
        assert re.search(r"No evidence: .*config\.json.* Mend that, or choose another site", said)
