"""A site added in a scenario and the same site enrolled in a live hub: the same placements."""

from __future__ import annotations

import heapq
import io
from dataclasses import dataclass, field
from itertools import groupby

import pandas as pd
import pyarrow.parquet as pq
import pytest
from tests.hub import facility as hubs
from tests.hub.facility import NOW_MS, SCRIPT

from meyrin.domain.job import JobRequest, Resources
from meyrin.domain.site import Partition
from meyrin.plan import outcome
from meyrin.plan.scenario import load_scenario
from meyrin.plan.study import points, run_point
from meyrin.wire.agents import UsageBody
from meyrin.wire.jobs import Submission, SubmitBody

NODE, KIND = 4, "h100"
HOMES = {"alps": 8, "bern": 5}  # nodes
NEW = {"como": 6}

QUANTITY = 'source = "assumption: for this test"'
SITE = """
[[{table}]]
name = "{name}"
country = "CH"
accelerator = "h100"
accelerators = {{ value = {count}, unit = "accelerators", {q} }}
node = {{ value = 4, unit = "accelerators/node", {q} }}
price = {{ value = 100, unit = "EUR/MWh", {q} }}
carbon = {{ value = 40, unit = "gCO2/kWh", {q} }}
temperature = {{ value = 10, unit = "degC", {q} }}
link = {{ value = 100, unit = "Gbit/s", {q} }}
owners = [{{ owner = "union", share = {{ value = 1, unit = "1", {q} }} }}]
"""
FACILITY = """
name = "for this test"
[[accelerator]]
name = "h100"
speed = { value = 1, unit = "H100e/accelerator", Q }
draw = { value = 1000, unit = "W/accelerator", Q }
price = { value = 30, unit = "kEUR/accelerator", Q }
[climate]
pue_base = { value = 1.1, unit = "1", Q }
pue_from = { value = 5, unit = "degC", Q }
pue_slope = { value = 0, unit = "1/degC", Q }
season = { value = 0, unit = "degC", Q }
day = { value = 0, unit = "degC", Q }
idle = { value = 0, unit = "1", Q }
[money]
life = { value = 5, unit = "a", Q }
upkeep = { value = 0, unit = "%/a", Q }
building = { value = 9, unit = "MEUR", Q }
building_life = { value = 20, unit = "a", Q }
"""
SCENARIO = """
name = "a new site"
facility = "facility.toml"
begin = 2026-01-05
length = { value = 60, unit = "h", Q }
warm_up = { value = 0, unit = "s", Q }
promise = { value = 1, unit = "h", Q }
seeds = [7]
sizes = ["recorded"]
[rules]
whole_nodes = true
[failures]
rate = { value = 0, unit = "1/(accelerator.d)", Q }
repair = { value = 0, unit = "s", Q }
checkpoint = { value = 0, unit = "s", Q }
restart = { value = 0, unit = "s", Q }
[transfer]
data = { value = 0, unit = "GB/accelerator-h", Q }
use = { value = 1, unit = "1", Q }
[[group]]
name = "all"
share = { value = 1, unit = "1", Q }
[[demand]]
country = "CH"
weight = { value = 1, unit = "1", Q }
[[workload]]
name = "work"
generator = "batch"
median = { value = 5, unit = "h", Q }
spread = { value = 0.8, unit = "1", Q }
largest = { value = 16, unit = "accelerators", Q }
small = { value = 0.9, unit = "1", Q }
overstated = { value = 1.5, unit = "1", Q }
load = { value = 1.2, unit = "1", Q }
[[option]]
name = "new site"
one_queue = true
"""


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenario")
    sites = "".join(
        SITE.format(table="site", name=name, count=NODE * nodes, q=QUANTITY)
        for name, nodes in HOMES.items()
    )
    new = "".join(
        SITE.format(table="option.site", name=name, count=NODE * nodes, q=QUANTITY)
        for name, nodes in NEW.items()
    )
    (folder / "facility.toml").write_text(FACILITY.replace("Q }", QUANTITY + " }") + sites)
    (folder / "scenario.toml").write_text(SCENARIO.replace("Q }", QUANTITY + " }") + new)
    point = points(load_scenario(folder / "scenario.toml"))[1]
    files = run_point(point)
    return pq.read_table(io.BytesIO(files[outcome.JOBS_FILE])).to_pandas()


@dataclass
class Play:
    """A hub with several sites plays jobs by their clock: ends, arrivals, then the broker steps."""

    hub: hubs.Facility
    jobs: pd.DataFrame
    sites: dict[str, int]
    agents: dict = field(default_factory=dict)
    work: dict = field(default_factory=dict)
    ending: list = field(default_factory=list)
    placed: dict = field(default_factory=dict)

    def run(self) -> None:
        for name, nodes in self.sites.items():
            partition = Partition(
                "gpu",
                nodes,
                8,
                1000,
                accelerators_per_node=NODE,
                accelerator_type=KIND,
                whole_node=True,
            )
            self.agents[name] = self.hub.site(name, partition)
        self.hub.award("lab", charged_type=KIND, hours=10**9, days=10_000)
        answer = self.hub.client("root").put("/api/v1/policy", json={"reserve_depth": 1})
        assert answer.status_code == 200, answer.text
        arrivals = groupby(self.jobs.itertuples(), key=lambda job: job.submit_s)
        coming = next(arrivals, None)
        while coming or self.ending:
            now_s = min([coming[0]] if coming else [], default=1 << 60)
            now_s = min(now_s, self.ending[0][0] if self.ending else now_s)
            self.hub.clock.now_ms = NOW_MS + now_s * 1000
            self.end(now_s)
            if coming and coming[0] == now_s:
                self.submit(coming[1])
                coming = next(arrivals, None)
            for agent in self.agents.values():
                assert agent.lease().work == []  # alive
            if self.hub.steps():
                self.start(now_s)

    def submit(self, jobs) -> None:
        sent = [
            Submission(request=self.request(job), idempotency_key=self.hub.key()) for job in jobs
        ]
        answer = self.hub.client("ada").post(
            "/api/v1/jobs",
            content=SubmitBody(submissions=sent).model_dump_json(),
            headers={"content-type": "application/json"},
        )
        assert answer.status_code == 200, answer.text

    def request(self, job) -> JobRequest:
        nodes = -(-job.accelerators // NODE)
        resources = Resources(
            nodes_min=nodes,
            nodes_max=nodes,
            memory_mb=10,
            accelerators=NODE,
            accelerators_per="node",
        )
        return JobRequest(
            script=SCRIPT,
            project="lab",
            name=str(job.job),
            resources=resources,
            walltime_s=int(job.requested_s),
        )

    def start(self, now_s: int) -> None:
        for name, agent in self.agents.items():
            reply = agent.lease()
            reports = []
            for work in reply.work:
                job = int(reply.requests[work.request_id].name)
                run_s = int(self.jobs.run_s[job])
                self.placed[job] = (name, now_s, now_s + run_s)
                self.work[job] = (agent, work)
                heapq.heappush(self.ending, (now_s + run_s, job))
                reports += [agent.queued(work), agent.running(work)]
            if reports:
                assert agent.report(*reports) == []

    def end(self, now_s: int) -> None:
        while self.ending and self.ending[0][0] == now_s:
            job = heapq.heappop(self.ending)[1]
            agent, work = self.work.pop(job)
            run_s = int(self.jobs.run_s[job])
            known = {"end": "timeout", "exit_code": None}
            known = known if run_s >= self.jobs.requested_s[job] else {}
            usage = UsageBody(elapsed_s=run_s)
            assert agent.report(agent.ended(work, elapsed_s=run_s, usage=usage, **known)) == []


END_S = 60 * 3600


def within(site: str, start_s: int, end_s: int) -> tuple[str, int, int]:
    """What a run that ends at END_S sees of a placement."""
    return (site, start_s, end_s) if start_s < END_S else ("", -1, -1)


def csv(rows) -> bytes:
    return "".join(",".join(map(str, row)) + "\n" for row in rows).encode()


@pytest.mark.slow
def test_the_scenario_and_the_hub_place_every_job_alike(planned, sqlite_hub_url, tmp_path):
    """Byte for byte, with jobs at every site, the new one too, and some that had to wait."""
    hub = hubs.make(sqlite_hub_url, tmp_path)
    try:
        play = Play(hub, planned, HOMES | NEW)
        play.run()
        hub.books_balance()
    finally:
        hub.close()
    live = csv((job, *within(*play.placed[job])) for job in planned.job)
    columns = (planned.job, planned.site.astype(str), planned.start_s, planned.end_s)
    assert live == csv(zip(*columns, strict=True))
    assert {*HOMES, *NEW} <= set(planned.site)
    assert (planned.start_s > planned.submit_s).sum() > 5
    assert len(planned) > 60
