"""A log played on a running hub: submitted, decided, leased, run and ended by the clock of the log.

At an instant first what ends is reported, then what arrives is submitted, then the broker steps.
A scripted agent starts at once what it leases and lets each job run as long as the log says.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import groupby

from tests.hub.facility import NOW_MS, SCRIPT, Facility

from meyrin.domain.job import JobRequest, Resources
from meyrin.domain.site import Partition
from meyrin.sim.prepare import Arrivals
from meyrin.wire.agents import Report, UsageBody
from meyrin.wire.jobs import JobList, Submission, SubmitBody

COLUMNS = "job_id,submit_s,start_s,end_s"


def pool(size: int) -> Partition:
    """A pool of processors: one node with so many cores."""
    return Partition("pool", nodes=1, cores_per_node=size, memory_mb_per_node=size)


def whole_nodes(size: int) -> Partition:
    """Each processor of the log is a node that no two jobs share."""
    return Partition("nodes", size, cores_per_node=4, memory_mb_per_node=1000, whole_node=True)


@dataclass
class Play:
    """The state of a play; `row` counts the jobs of the log, `work` is what runs of them."""

    hub: Facility
    log: Arrivals
    partition: Partition
    ending: list[tuple[int, int]] = field(default_factory=list)
    work: dict = field(default_factory=dict)

    def __post_init__(self):
        self.agent = self.hub.site("alps", self.partition)
        self.hub.award("lab", hours=10**9, days=10_000)
        self.client = self.hub.client("ada")
        answer = self.hub.client("root").put(
            "/api/v1/policy", json={"reserve_depth": 1, "pace_ahead_s": 0}
        )
        assert answer.status_code == 200, answer.text

    def run(self) -> None:
        arrivals = groupby(range(len(self.log)), key=lambda row: int(self.log.submit[row]))
        coming = next(arrivals, None)
        while coming or self.ending:
            now_s = min([coming[0]] if coming else [], default=1 << 60)
            now_s = min(now_s, self.ending[0][0] if self.ending else now_s)
            self.hub.clock.now_ms = NOW_MS + now_s * 1000
            self.end(now_s)
            if coming and coming[0] == now_s:
                self.submit(coming[1])
                coming = next(arrivals, None)
            assert self.agent.lease().work == []  # the agent is alive
            if self.hub.steps():
                self.start(now_s)

    def submit(self, rows) -> None:
        sent = [
            Submission(request=self.request(row), idempotency_key=self.hub.key()) for row in rows
        ]
        body = SubmitBody(submissions=sent).model_dump_json()
        headers = {"content-type": "application/json"}
        answer = self.client.post("/api/v1/jobs", content=body, headers=headers)
        assert answer.status_code == 200, answer.text

    def request(self, row: int) -> JobRequest:
        size = int(self.log.processors[row])
        resources = (
            Resources(nodes_min=size, nodes_max=size, memory_mb=10)
            if self.partition.whole_node
            else Resources(cores_per_task=size, memory_mb=1, memory_per="core")
        )
        return JobRequest(
            script=SCRIPT,
            project="lab",
            name=str(row),
            resources=resources,
            walltime_s=int(self.log.limit[row]),
        )

    def start(self, now_s: int) -> None:
        reply = self.agent.lease()
        reports = []
        for work in reply.work:
            row = int(reply.requests[work.request_id].name)
            self.work[row] = work
            heapq.heappush(self.ending, (now_s + int(self.log.duration[row]), row))
            reports += [self.agent.queued(work), self.agent.running(work)]
        assert self.agent.report(*reports) == []

    def end(self, now_s: int) -> None:
        reports: list[Report] = []
        while self.ending and self.ending[0][0] == now_s:
            row = heapq.heappop(self.ending)[1]
            elapsed_s = int(self.log.duration[row])
            known = {} if elapsed_s < self.log.limit[row] else {"end": "timeout", "exit_code": None}
            usage = UsageBody(elapsed_s=elapsed_s)
            work = self.work.pop(row)
            reports.append(self.agent.ended(work, elapsed_s=elapsed_s, usage=usage, **known))
        if reports:
            assert self.agent.report(*reports) == []

    def csv(self) -> str:
        """What the hub tells of its jobs, a line each in the order of the trace."""
        lines = {}
        following = ""
        while True:
            asked = {"limit": 200, "after": following}
            page = JobList.model_validate_json(
                self.client.get("/api/v1/jobs", params=asked).content
            )
            for job in page.jobs:
                row = int(job.name)
                times = (job.submit_ms, job.start_ms, job.end_ms)
                values = [(at_ms - NOW_MS) / 1000 for at_ms in times if at_ms is not None]
                assert all(value == int(value) for value in values)
                said = [int(self.log.job_id[row]), *map(int, values)]
                lines[int(self.log.row[row])] = ",".join(map(str, said))
            following = page.next
            if not following:
                return "\n".join([COLUMNS, *(lines[row] for row in sorted(lines))]) + "\n"
