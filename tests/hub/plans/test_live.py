"""A hub's sites and jobs for planners: who may, in pseudonyms, and back through a replay."""

from __future__ import annotations

import datetime as dt

import pyarrow.parquet as pq
import pytest
from tests.hub.facility import CPU, GPU

from meyrin.domain.errors import InvalidInput
from meyrin.hub.identity import service as identity
from meyrin.plan import facility as planned
from meyrin.plan.live import facility_toml
from meyrin.plan.live_trace import trace_of
from meyrin.sim.policy import load
from meyrin.sim.run import on_pool, replay
from meyrin.sim.trace.export import write_export
from meyrin.sim.trace.read import read
from meyrin.wire.plans import TraceJobs
from meyrin.wire.sites import SiteDetail

KEY = {"x-pseudonym-key": "k" * 32}


@pytest.fixture
def worked(empty_hub):
    """Two sites; four jobs that ended at `alps`, one after the other, and one that runs."""
    agent = empty_hub.site("alps", CPU)
    empty_hub.award("lab")
    for number in range(5):
        empty_hub.submit(by="ada" if number % 2 else "bob")
        empty_hub.steps()
        (work,) = agent.lease().work
        agent.report(agent.queued(work))
        agent.report(agent.running(work))
        empty_hub.clock.pass_s(60)
        if number < 4:
            agent.finish(work, elapsed_s=60)
    return empty_hub


def pages(client, **asked):
    found, after = [], ""
    while True:
        answer = client.get(
            "/api/v1/trace", params={"limit": 2, "after": after, **asked}, headers=KEY
        )
        assert answer.status_code == 200, answer.text
        one = TraceJobs.model_validate_json(answer.content)
        found += one.jobs
        after = one.next
        if not after:
            return found


def test_jobs_go_out_in_pseudonyms_and_come_back_through_a_replay(worked, tmp_path):
    jobs = pages(worked.client("root"))
    assert [one.job for one in jobs] == sorted(one.job for one in jobs)
    assert len(jobs) == 5
    assert len({one.person for one in jobs}) == 2
    text = "".join(one.model_dump_json() for one in jobs)
    for name in ("ada", "bob", "lab", *(who.id for who in worked.people.values())):
        assert name not in text
    trace = trace_of(jobs, "http://hub")
    assert len(trace) == 4
    assert trace.skipped == {"still there": 1}
    write_export(trace, tmp_path / "jobs.parquet")
    again = read(tmp_path / "jobs.parquet")
    assert again.run_s.tolist() == [60] * 4
    assert again.submit_s.tolist() == [0, 60, 120, 180]
    outcome = replay(on_pool(again, load("easy"), 32), "hub", load("easy"), lambda: 0.0)
    assert (outcome.start == outcome.jobs.submit).all()


def test_a_key_decides_the_pseudonyms(worked):
    root = worked.client("root")
    first = pages(root)
    other = root.get("/api/v1/trace", headers={"x-pseudonym-key": "z" * 32}).json()["jobs"]
    assert {one.person for one in first}.isdisjoint({one["person"] for one in other})
    assert pages(root) == first
    assert root.get("/api/v1/trace").status_code == 422
    assert root.get("/api/v1/trace", headers={"x-pseudonym-key": "short"}).status_code == 422


def test_operators_get_the_jobs_of_their_site_only(worked):
    worked.site("jura", GPU)
    worked.person("olga")
    with worked.write() as step:
        identity.add_operator(step, worked.agents["alps"].site_id, "olga")
    olga = worked.client("olga")
    assert len(pages(olga, site="alps")) == 5
    for asked in ({}, {"site": "jura"}):
        answer = olga.get("/api/v1/trace", params=asked, headers=KEY)
        assert answer.status_code == 403, asked
    assert worked.client("ada").get("/api/v1/trace", headers=KEY).status_code == 403
    assert pages(worked.client("root"), site="jura") == []


def test_a_page_takes_as_many_queries_whatever_its_length(worked):
    root = worked.client("root")
    counts = []
    for limit in (1, 5):
        with worked.counting() as statements:
            assert (
                root.get("/api/v1/trace", params={"limit": limit}, headers=KEY).status_code == 200
            )
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 6


PRIVATE = (
    "people", "identities", "tokens", "projects", "members", "allocations", "requests", "scripts",
    "jobs", "attempts", "entries", "usage_records",
)  # fmt: skip


def every_word(path):
    """All text of a Parquet file, unpacked: columns and what the schema says of them."""
    table = pq.read_table(path)
    about = {**(table.schema.metadata or {})}
    words = [f"{key.decode()} {value.decode()}" for key, value in about.items()]
    return "\n".join([*words, table.to_pandas().to_csv()])


def test_no_file_that_goes_out_says_who_what_or_where_from(empty_hub, tmp_path):
    """Every name, token and job's name of this world, its scripts and its folder, looked for in
    both files; and pseudonyms are the same within a key, others under another."""
    hub = empty_hub
    agent = hub.site("alps", CPU)
    hub.person("wilhelmina")
    hub.project("tigerproject", "wilhelmina", "bob")
    hub.award("tigerproject")
    script = "#!/bin/bash\n/home/wilhelmina/secretfolder/train --mail=w@secretmail.example\n"
    for name in ("secretrun", "othersecret"):
        asked = hub.ask(script, project="tigerproject", name=name)
        hub.submit(asked, by="wilhelmina")
        hub.steps()
        (work,) = agent.lease().work
        agent.report(agent.queued(work))
        agent.report(agent.running(work))
        hub.clock.pass_s(60)
        agent.finish(work, elapsed_s=60)
    trace = trace_of(pages(hub.client("root")), "http://hub")
    write_export(trace, tmp_path / "jobs.parquet")
    plan = facility_toml(
        details(hub, "alps"), {"alps": "CH"}, "http://hub", dt.date(2026, 1, 1), hub.clock.now_s
    )
    jobs = every_word(tmp_path / "jobs.parquet")
    rows = hub.everything()
    kept = {
        word
        for table in PRIVATE
        for row in rows[table]
        for word in row
        if isinstance(word, str) and len(word) > 7
    }
    assert len(kept) > 20
    told = ("wilhelmina", "tigerproject", "secret", "train", str(tmp_path), "k" * 32)
    kept |= {*hub.people, *(who.secret for who in hub.people.values())} - {"root"}
    kept |= set(told)
    kept -= {"completed"}  # a state
    for text in (jobs, plan):
        assert [word for word in kept if word in text] == []
    assert len(trace) == 2
    (person,) = trace.names["user"].values()
    again = hub.client("root").get("/api/v1/trace", headers={"x-pseudonym-key": "z" * 32}).json()
    assert person in jobs
    assert person not in {one["person"] for one in again["jobs"]}
    assert len({one["person"] for one in again["jobs"]}) == 1


# --- the facility


def details(hub, *names):
    client = hub.client("root")
    return [
        SiteDetail.model_validate_json(client.get(f"/api/v1/sites/{name}").content)
        for name in names
    ]


def written(hub, tmp_path, countries, *names):
    today = dt.datetime.fromtimestamp(hub.clock.now_s, dt.UTC).date()
    text = facility_toml(
        details(hub, *names), countries, "http://hub.example", today, hub.clock.now_s
    )
    path = tmp_path / "facility.toml"
    path.write_text(text)
    return planned.load_facility(path)[0]


def test_sites_become_a_facility_that_a_planner_reads(empty_hub, tmp_path):
    empty_hub.site("alps", CPU, GPU)
    empty_hub.site("jura", GPU)
    found = written(empty_hub, tmp_path, {"alps": "CH", "jura": "FR"}, "alps", "jura")
    sites = {site.name: site for site in found.site}
    assert sorted(sites) == ["alps-cpu", "alps-gpu", "jura"]
    gpu = sites["jura"]
    assert (gpu.country, gpu.accelerator) == ("FR", "gh200")
    assert (gpu.accelerators.value, gpu.node.value) == (8, 4)
    assert gpu.price.unknown
    assert gpu.accelerators.source == "hub"
    assert sites["alps-cpu"].accelerators.value == 32
    assert sum(owner.share.at() for owner in gpu.owners) == pytest.approx(1)


def test_a_site_needs_a_country_that_exists(empty_hub, tmp_path):
    empty_hub.site("alps", CPU)
    with pytest.raises(InvalidInput, match="country of alps is not known") as raised:
        written(empty_hub, tmp_path, {}, "alps")
    assert raised.value.hint == "--country alps=CODE"
    with pytest.raises(InvalidInput, match="'XX' is no country"):
        written(empty_hub, tmp_path, {"alps": "XX"}, "alps")
    with pytest.raises(InvalidInput, match="no site with a partition"):
        facility_toml([], {}, "http://hub", dt.date(2026, 1, 1), 0)
