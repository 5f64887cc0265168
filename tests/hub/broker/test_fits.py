"""Nothing is promised twice: what is placed fits beside what is there, whoever decided."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from meyrin.domain.job import Resources
from meyrin.domain.site import Partition
from meyrin.domain.units import NodeShape
from meyrin.engine.amounts import Freed, of_job
from meyrin.engine.model import Occupied, PartitionState, Placement, Policy
from meyrin.engine.placement import decide
from meyrin.hub.broker import service as broker
from meyrin.hub.broker.fits import fitting

# all of `alps`
FULL = Resources(nodes_min=4, nodes_max=4, tasks=32, memory_mb=100)
shapes = st.builds(NodeShape, st.integers(1, 4), st.integers(1, 1_000))
sizes = st.lists(st.tuples(shapes, st.integers(1, 2)), max_size=8)


def look(hub):
    with hub.read() as step:
        seen = broker.snapshot(step)
        return seen.state, decide(seen.state, seen.policy, step.now_s)


def write(hub, seen):
    with hub.write() as step:
        return broker.apply(step, *seen)


def test_two_hubs_that_decided_on_different_jobs_fill_a_site_once(hub):
    """Each believes that it is its turn; the second saw a job that goes before the first's."""
    later = hub.submit(resources=FULL, nice=100)
    first = _admitted(hub)
    before = hub.submit(resources=FULL, nice=0)
    second = _admitted(hub)
    assert [p.job for p in first[1].placements] == [later]
    assert [p.job for p in second[1].placements] == [before]
    assert write(hub, first) == 1
    assert write(hub, second) == 0
    assert hub.states(later, before) == ["placed", "admitted"]
    hub.books_balance()


def test_where_jobs_may_wait_at_the_site_more_is_sent(hub):
    with hub.write() as step:
        broker.set_policy(step, Policy(queue_ahead=4, send_ahead_s=10**6), "root")
    jobs = [hub.submit(resources=FULL) for _ in range(2)]
    hub.steps()
    assert hub.states(*jobs) == ["placed", "placed"]


def _admitted(hub):
    """What a broker decides once what was submitted is let in."""
    from meyrin.hub.jobs import eligible

    with hub.write() as step:
        eligible.advance(step)
    return look(hub)


@given(sizes, sizes, st.booleans())
def test_what_is_kept_fits_and_the_first_that_does_not_is_not_overtaken(there, wanted, whole):
    part = Partition("p", 2, 4, 1_000, whole_node=whole)
    occupied = tuple(Occupied(n, count, shape, 60, None) for n, (shape, count) in enumerate(there))
    state = PartitionState("alps", part)
    asked = [_placement(n, shape, count) for n, (shape, count) in enumerate(wanted)]
    kept = fitting([state], {("alps", "p"): _together(occupied)}, asked, Policy(), 0)
    assert list(kept) == asked[: len(kept)]
    rest = asked[len(kept) :]
    assert _fits(part, occupied, kept) or not kept
    assert not rest or not _fits(part, occupied, (*kept, rest[0]))


def test_only_what_starts_later_may_exceed_what_there_is():
    part, node = Partition("p", 4, 8, 1_000), NodeShape(8, 1_000)
    state = PartitionState("alps", part, freed_lately=Freed(of_job(node, 4), of_job(node, 1)))
    taken = {("alps", "p"): of_job(node, 3)}
    now = [_placement(n, node, 1) for n in range(3)]
    later = [replace(each, job=each.job + 10, expected_start_s=2) for each in now]

    def kept(*asked):
        return [each.job for each in fitting([state], taken, asked, Policy(), 0)]

    assert kept(*now) == [0]
    assert kept(*later, *later) == [10, 11, 12], "one in room, two ahead of it"
    assert kept(now[0], *later) == [0, 10, 11]
    assert kept(later[0], later[1], now[0], later[2]) == [10, 11]
    assert fitting([state], taken, later, Policy(pace_ahead_s=0), 0) == (later[0],)


def _together(occupied):
    each = [(o.nodes, o.asked.cores, o.asked.memory_mb, o.asked.accelerators) for o in occupied]
    return (sum(n for n, *_ in each), *(sum(n * shape[i] for n, *shape in each) for i in range(3)))


def _fits(part, occupied, placements):
    every = [*occupied, *placements]
    nodes = sum(each.nodes for each in every) if part.whole_node else 0
    cores = sum(each.nodes * each.asked.cores for each in every)
    memory = sum(each.nodes * each.asked.memory_mb for each in every)
    return (
        nodes <= part.nodes
        and cores <= part.nodes * part.cores_per_node
        and memory <= part.nodes * part.memory_mb_per_node
    )


def _placement(number, shape, nodes):
    return Placement(number, "alps", "p", nodes, shape, nodes, 60, "core", 60, 0)
