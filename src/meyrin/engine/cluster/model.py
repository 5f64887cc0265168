"""What a cluster is made of and what is asked of it, as arrays. No behaviour, no policy.

`facility` and `jobs` make the arrays and check them; the kernel and its twin read nothing else.
Times are whole seconds (or any other whole unit, the same everywhere).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

NEVER = 1 << 62  # the end of an outage that is not repaired

Whole = NDArray[np.int64]
Index = NDArray[np.int32]
Flag = NDArray[np.uint8]


class Facility(NamedTuple):
    """N nodes, P partitions over them, C classes, A accounts, V reservations, F outages."""

    capacity: Whole  # [N, 3] accelerators, cores, memory in MiB of each node
    partition_first: Whole  # [P + 1] where each partition's nodes begin in `partition_nodes`
    partition_nodes: Index  # the nodes of partition 0, then of 1, …; a node may be in several
    partition_whole: Flag  # [P] 1: its jobs get whole nodes
    partition_priority: Whole  # [P] PriorityJobFactor
    class_priority: Whole  # [C] a higher class goes first where Rules.preemption is on
    account_parent: Index  # [A] the account above, -1: the root; always a smaller number
    account_shares: Whole  # [A] against its siblings; 0: behind everyone else
    reserved_first: Whole  # [V + 1] where each reservation's nodes begin in `reserved_nodes`
    reserved_nodes: Index
    reserved_begin: Whole  # [V]
    reserved_end: Whole  # [V]
    outage_time: Whole  # [2 F] when a node fails or is repaired: by time, repairs first
    outage_node: Index  # [2 F]
    outage_step: Whole  # [2 F] 1: it fails, -1: it is repaired


class Jobs(NamedTuple):
    """n jobs in log order: by the time of submission, then as the log has them."""

    submit: Whole
    nodes: Whole  # how many nodes at once
    asked: Whole  # [n, 3] accelerators, cores, memory in MiB on each of them
    duration: Whole  # how long it runs if nothing stops it, at most its limit
    limit: Whole  # what the scheduler believes
    partition: Index
    account: Index  # the person, or whoever is charged: usually a leaf of the tree
    job_class: Index
    nice: Whole
    after: Index  # the job that must have ended before, -1: none; always a smaller number
    after_ok: Flag  # 1: and it must have succeeded (afterok), 0: no matter how (afterany)
    requeue: Flag  # 1: put off or struck by a failure it waits again, 0: it is lost
    succeeds: Flag  # 1: running to its end is a success
    charge: Whole  # what one second of it adds to the usage of its account


def facility(
    capacity: ArrayLike,
    partitions: Sequence[ArrayLike] | None = None,
    whole: ArrayLike = 0,
    partition_priority: ArrayLike = 0,
    class_priority: ArrayLike = (0,),
    account_parent: ArrayLike = (-1,),
    account_shares: ArrayLike = 1,
    reservations: Sequence[tuple[ArrayLike, int, int]] = (),
    outages: Sequence[tuple[int, int, int]] = (),
) -> Facility:
    """The arrays of a facility.

    `capacity` is [N, 3]; `partitions` lists the nodes of each, None is one partition of them all.
    `reservations` are (nodes, begin, end): no job runs there then. `outages` are (node, begin,
    end), with end `NEVER` where there is no repair. Raises ValueError, naming field and value.
    """
    room = np.array(capacity, np.int64).reshape(-1, 3)
    if not len(room) or (room < 0).any():
        raise ValueError("capacity: at least one node, and no amount below zero")
    if partitions is None:
        partitions = [np.arange(len(room))]
    first, members = _ragged("partitions", partitions, len(room))
    if not partitions or (np.diff(first) < 1).any():
        raise ValueError("partitions: each has at least one node")
    parent = np.array(account_parent, np.int32).reshape(-1)
    if (parent >= np.arange(len(parent))).any() or (parent < -1).any():
        raise ValueError("account_parent: an account comes after the one above it")
    shares = _spread("account_shares", account_shares, len(parent), 0)
    when = np.array([[begin, end] for _, begin, end in reservations], np.int64).reshape(-1, 2)
    if (when[:, 0] >= when[:, 1]).any():
        raise ValueError("reservations: each ends after it begins")
    reserved_first, reserved = _ragged("reservations", [one[0] for one in reservations], len(room))
    steps = []
    for node, begin, end in outages:
        if not 0 <= node < len(room) or begin >= end:
            raise ValueError(f"outages: node {node} from {begin} to {end}")
        steps += [(begin, 1, node)] + ([(end, -1, node)] if end < NEVER else [])
    table = np.array(sorted(steps), np.int64).reshape(-1, 3)
    classes = np.array(class_priority, np.int64).reshape(-1)
    if not len(classes) or (classes < 0).any():
        raise ValueError("class_priority: at least one class, and none below zero")
    return Facility(
        room,
        first,
        members,
        _spread("whole", whole, len(partitions), 0).astype(np.uint8),
        _spread("partition_priority", partition_priority, len(partitions), 0),
        classes,
        parent,
        shares,
        reserved_first,
        reserved,
        when[:, 0].copy(),
        when[:, 1].copy(),
        table[:, 0].copy(),
        table[:, 2].astype(np.int32),
        table[:, 1].copy(),
    )


def pool(processors: int) -> Facility:
    """A plain pool of identical processors: one node with as many cores."""
    return facility([[0, processors, 0]])


def jobs(
    place: Facility,
    submit: ArrayLike,
    asked: ArrayLike,
    duration: ArrayLike,
    limit: ArrayLike,
    nodes: ArrayLike = 1,
    partition: ArrayLike = 0,
    account: ArrayLike = 0,
    job_class: ArrayLike = 0,
    nice: ArrayLike = 0,
    after: ArrayLike = -1,
    after_ok: ArrayLike = 0,
    requeue: ArrayLike = 1,
    succeeds: ArrayLike = 1,
    charge: ArrayLike | None = None,
) -> Jobs:
    """The arrays of jobs for the facility `place`; a single number stands for all of them.

    `asked` is [n, 3]. Without `charge` a second costs as many accelerators as the job holds, or
    cores where the facility has no accelerators. Raises ValueError for what can never be: jobs
    out of log order, a job that no empty partition could hold, a limit below the duration.
    """
    when = np.array(submit, np.int64).reshape(-1)
    count = len(when)
    if (np.diff(when) < 0).any():
        raise ValueError("submit: jobs come in log order")
    each = np.array(asked, np.int64).reshape(-1, 3)
    if len(each) != count or (each < 0).any() or (each.sum(axis=1) < 1).any():
        raise ValueError("asked: [n, 3], nothing below zero, and something of each job")
    run = _spread("duration", duration, count, 1)
    most = _spread("limit", limit, count, 1)
    if (most < run).any():
        raise ValueError("limit: no less than the duration; the caller cuts what is killed")
    gang = _spread("nodes", nodes, count, 1)
    where = _index("partition", partition, count, 0, len(place.partition_whole))
    who = _index("account", account, count, 0, len(place.account_parent))
    rank = _index("job_class", job_class, count, 0, len(place.class_priority))
    before = _index("after", after, count, -1, count)
    if (before >= np.arange(count)).any():
        raise ValueError("after: a job depends on one that comes before it in the log")
    _check_fit(place, each, gang, where)
    if charge is None:
        charge = _charges(place, each, gang, where)
    return Jobs(
        when,
        gang,
        each,
        run,
        most,
        where,
        who,
        rank,
        np.broadcast_to(np.array(nice, np.int64), count).copy(),
        before,
        _spread("after_ok", after_ok, count, 0).astype(np.uint8),
        _spread("requeue", requeue, count, 0).astype(np.uint8),
        _spread("succeeds", succeeds, count, 0).astype(np.uint8),
        _spread("charge", charge, count, 0),
    )


def _ragged(name: str, lists: Sequence[ArrayLike], nodes: int) -> tuple[Whole, Index]:
    """Lists of nodes as one array and where each begins."""
    arrays = [np.unique(np.array(one, np.int32).reshape(-1)) for one in lists]
    for one in arrays:
        if len(one) and not (one[0] >= 0 and one[-1] < nodes):
            raise ValueError(f"{name}: a node that is not among the {nodes}")
    first = np.zeros(len(arrays) + 1, np.int64)
    np.cumsum([len(one) for one in arrays], out=first[1:])
    return first, np.concatenate([*arrays, np.zeros(0, np.int32)]).astype(np.int32)


def _spread(name: str, values: ArrayLike, count: int, least: int) -> Whole:
    array = np.broadcast_to(np.array(values, np.int64), count).copy()
    if (array < least).any():
        raise ValueError(f"{name}: {array.min()} is below {least}")
    return array


def _index(name: str, values: ArrayLike, count: int, least: int, end: int) -> Index:
    array = _spread(name, values, count, least)
    if (array >= end).any():
        raise ValueError(f"{name}: {array.max()} is none of {end}")
    return array.astype(np.int32)


def _check_fit(place: Facility, asked: Whole, gang: Whole, where: Index) -> None:
    """Each job fits its partition when that is empty and every node in service."""
    shapes, kind = np.unique(np.column_stack([where, asked]), axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    for one, (partition, *shape) in enumerate(shapes.tolist()):
        first, last = place.partition_first[partition : partition + 2]
        fitting = (place.capacity[place.partition_nodes[first:last]] >= shape).all(axis=1).sum()
        large = np.flatnonzero((kind == one) & (gang > fitting))
        if len(large):
            job = large[0]
            raise ValueError(
                f"job {job} asks for {gang[job]} nodes of {shape}; partition {partition} has "
                f"{fitting}"
            )


def _charges(place: Facility, asked: Whole, gang: Whole, where: Index) -> Whole:
    part = 0 if place.capacity[:, 0].any() else 1
    largest = np.array(
        [
            place.capacity[place.partition_nodes[first:last], part].max()
            for first, last in zip(
                place.partition_first[:-1], place.partition_first[1:], strict=True
            )
        ],
        np.int64,
    )
    whole = place.partition_whole[where] == 1
    return np.asarray(gang * np.where(whole, largest[where], asked[:, part]), np.int64)
