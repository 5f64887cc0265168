"""A test of a model as a job: at two sites with one root, charged, explained; or no evidence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.suites.conftest import trained
from tests.walk.facility import Facility, facility, wait_for

pytestmark = [pytest.mark.usefixtures("bubblewrap"), pytest.mark.slow]
FEW = "20"


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
        "--site", site, "--out", str(place.root / f"out-{site}"), "--json", *more,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_two_sites_have_one_root_and_each_is_paid(place: Facility) -> None:
    model = trained("good")
    one, other = run_at(place, "alpha", model), run_at(place, "beta", model, "--shards", "2")
    assert one["root"] == other["root"]
    runs = [found["run"] for found in (one, other)]
    assert [run["site"] for run in runs] == ["alpha", "beta"]  # type: ignore[index]
    assert {run["isolation"]["level"] for run in runs} == {2}  # type: ignore[index]
    with place.hub.client() as client:
        for found in (one, other):
            job = client.job(str(found["job"]))
            assert job.job.state == "completed"
            assert job.used_s > 0
            assert client.explain(str(found["job"])).summary
        assert not client.verify().findings
    trust = place.root / "trust.json"
    for site in ("alpha", "beta"):
        public = place.meyrin("evidence", "key", str(place.root / site / "site.key")).stdout.strip()
        assert place.meyrin("gate", "trust", site, public).returncode == 0
    three = run_at(place, "alpha", model, "--out", str(place.root / "out-both"))
    trust.write_text(place.meyrin("evidence", "keys", "--json").stdout)
    said = place.meyrin("evidence", "verify", str(three["evidence"]), "--trust", str(trust))
    assert said.returncode == 0, said.stderr
    assert "signed by site alpha and hub hub" in said.stdout
    assert "the site's key was not separated" in said.stdout  # these agents share their account
    # those from before an administrator named the keys have the site's signature alone
    for found in (one, other):
        done = place.meyrin("evidence", "verify", str(found["evidence"]), "--trust", str(trust))
        assert done.returncode == 4, done.stderr
        assert "no hub that you trust has countersigned it" in done.stderr


def test_a_job_that_is_lost_in_the_middle_leaves_no_evidence(place: Facility) -> None:
    """Cancelled while it runs, as a site's end would do: the words say so, and there is no file."""
    import threading

    out = place.root / "out-lost"
    done = []

    def test() -> None:
        done.append(
            place.meyrin(
                "suite", "run", "safety", "--model", str(trained("good")), "--site", "alpha",
                "--out", str(out), "--json",
            )
        )  # fmt: skip

    running = threading.Thread(target=test)
    running.start()
    with place.hub.client() as client:

        def newest() -> bool:
            job = client.jobs(limit=1).jobs[0]
            return job.name == "suite-safety" and job.state == "running"

        wait_for(newest, "the job to run")
        client.cancel(client.jobs(limit=1).jobs[0].job)
    running.join()
    assert done[0].returncode == 1
    assert "no evidence" in json.loads(done[0].stdout)["error"]["message"]
    assert not list(out.rglob("*")) if out.exists() else True


def test_a_model_that_is_no_model_is_said_to_be_none(place: Facility) -> None:
    model = place.root / "nomodel"
    model.mkdir()
    (model / "readme.txt").write_text("no weights")
    done = place.meyrin("suite", "run", "capability", "--model", str(model), "--samples", FEW)
    assert done.returncode == 1
    assert "no evidence" in done.stderr
    assert "config.json" in done.stderr
