"""Work of others, as sites tell of it: where a job goes then, when it is said to start, what pages
show."""

from __future__ import annotations

import pytest
from tests.hub.facility import CPU

from meyrin.domain.job import Resources
from meyrin.domain.units import LAST_S
from meyrin.hub.broker import service as broker
from meyrin.wire.queue import MOST_OTHERS, ForgetQueueBody, Others, OthersJob, QueueBody

NODE = Resources(nodes_min=1, tasks=1, cores_per_task=8, memory_mb=100)


def full(hub, left_s=300, nodes=4, **more):
    """Others run on all of a partition with four nodes of eight cores."""
    end_s = hub.clock.now_s + left_s
    one = OthersJob(nodes=nodes, cores=8, memory_mb=0, accelerators=0, walltime_s=3600, end_s=end_s)
    return (Others(partition="cpu", nodes=4, jobs=[one]), *more.values())


def tell(hub, *others, site="alps", ago_s=0):
    body = QueueBody(
        incarnation="first", at_ms=hub.clock() - ago_s * 1000, jobs=[], others=tuple(others)
    )
    assert hub.agents[site].post("queue", body).status_code == 200


@pytest.fixture
def two(hub):
    hub.site("baltic", CPU)
    return hub


def placed(hub):
    job = hub.submit(hub.ask(walltime_s=600, resources=NODE))
    hub.step()
    return hub.detail(job).attempts[-1]


def test_a_job_goes_where_others_leave_room(two):
    assert placed(two).site == "alps"
    tell(two, *full(two))
    assert [placed(two).site for _ in range(3)] == ["baltic"] * 3
    tell(two)
    assert placed(two).site == "alps"


def test_where_they_leave_none_it_waits_at_the_site_that_has_room_first(two):
    tell(two, *full(two, left_s=900))
    tell(two, *full(two, left_s=300), site="baltic")
    job = two.submit(two.ask(walltime_s=600, resources=NODE))
    two.step()
    one = two.detail(job).attempts[-1]
    assert (one.site, one.expected_start_s) == ("baltic", two.clock.now_s + 300)
    assert two.explain(job).summary == (
        "went to baltic/cpu, where it was to start in about 00:05:00;"
        " next best was alps/cpu, in about 00:15:00"
    )


def test_what_is_over_counts_no_longer(two):
    tell(two, *full(two, left_s=30))
    two.clock.pass_s(30)
    two.agents["alps"].lease()
    two.agents["baltic"].lease()
    assert placed(two).site == "alps"


def test_a_snapshot_that_comes_late_changes_nothing(two):
    tell(two, *full(two))
    tell(two, ago_s=5)
    assert placed(two).site == "baltic"


def test_where_the_queue_is_shared_no_longer_nothing_is_known(two):
    tell(two, *full(two))
    body = ForgetQueueBody(incarnation="first")
    assert two.agents["alps"].post("queue/forget", body).status_code == 200
    assert placed(two).site == "alps"


def test_of_a_partition_that_there_is_not_nothing_is_kept(two):
    (one,) = full(two)
    tell(two, one.model_copy(update={"partition": "moon"}))
    assert placed(two).site == "alps"


def test_it_costs_two_statements_however_many_they_are(hub):
    def spent(count):
        hub.clock.pass_s(1)
        (one,) = full(hub)
        many = one.model_copy(update={"jobs": one.jobs * count})
        with hub.counting() as statements:
            tell(hub, many, many.model_copy(update={"partition": "gpu"}))
        return len(list(statements))

    spent(1)
    assert spent(MOST_OTHERS) == spent(1)


def test_a_flood_is_refused(hub):
    (one,) = full(hub)
    raw = QueueBody(incarnation="first", at_ms=0, jobs=[], others=(one,)).model_dump(mode="json")
    raw["others"][0]["jobs"] *= MOST_OTHERS + 1
    client = hub.client(secret=hub.agents["alps"].secret)
    assert client.post("/api/v1/agent/queue", json=raw).status_code == 422


def test_no_site_is_larger_than_a_site_can_be(hub):
    """Or one snapshot could take the broker's time and memory."""
    (one,) = full(hub)
    vast = [
        one.model_copy(
            update={
                "nodes": 10**6,
                "jobs": [one.jobs[0].model_copy(update={"nodes": 10**6})] * MOST_OTHERS,
                "partition": name,
            }
        )
        for name in ("cpu", "gpu")
    ]
    tell(hub, *vast)
    with hub.read() as step:
        seen = broker.snapshot(step).state.partitions
    for each in seen:
        assert each.others.nodes == 500_000
        assert sum(job.nodes for job in each.others.jobs) <= 9 * 500_000
        assert len(each.others.jobs) <= 4, "each is a look at every node"
    tell(hub, one.model_copy(update={"nodes": 0}))
    assert placed(hub).site == "alps"


def test_no_time_is_further_away_than_a_year(hub):
    """Or no page could show when a job starts."""
    (one,) = full(hub)
    runs = one.jobs[0].model_copy(update={"end_s": LAST_S})
    waits = one.jobs[0].model_copy(update={"end_s": None, "walltime_s": 2**31})
    tell(hub, one.model_copy(update={"jobs": [runs, waits]}))
    job = hub.submit(hub.ask(walltime_s=600, resources=NODE))
    hub.step()
    assert hub.detail(job).attempts[-1].expected_start_s <= hub.clock.now_s + 2 * 366 * 86_400
    assert hub.client("ada").get(f"/jobs/{job}").status_code == 200


def test_those_of_whom_nothing_is_heard_wait_ahead_for_a_while(hub):
    (one,) = full(hub, left_s=7200)
    tell(hub, one.model_copy(update={"jobs": [one.jobs[0].model_copy(update={"end_s": None})]}))
    first = placed(hub)
    assert first.expected_start_s == hub.clock.now_s + 3600
    hub.clock.pass_s(901)
    hub.agents["alps"].lease()
    hub.cancel(hub.submit())  # nothing but a step
    later = placed(hub)
    assert later.expected_start_s <= hub.clock.now_s + 600


def test_pages_and_metrics_count_them(hub):
    (one,) = full(hub, nodes=1)
    tell(hub, one)
    text = hub.client("ada").get("/sites/alps").text
    assert '<strong class="num">24</strong> of <span class="num">32</span> cores free' in text
    assert '<span class="num">8</span> with work of others' in text
    lines = hub.client("ada").get("/metrics").text.splitlines()
    assert 'meyrin_site_capacity{site="alps",type="core",use="others"} 8' in lines
    # of six nodes that take work four are lent: theirs are the other two first
    tell(hub, one.model_copy(update={"nodes": 6}))
    assert "with work of others" not in hub.client("ada").get("/sites/alps").text
