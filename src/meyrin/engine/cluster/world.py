"""All that the kernel reads and remembers, in a handful of arrays. It decides nothing.

Few arrays, because a named tuple counts references to each of its arrays whenever it goes from one
compiled function to another. Columns have names; a row is a job, a node, a partition, an account.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from meyrin.engine.cluster.model import NEVER, Facility, Index, Jobs, Whole
from meyrin.engine.rules import BACKFILLS, ORDERS, PREEMPTIONS, Rules

SUBMISSION, MULTIFACTOR, DOMINANT = range(len(ORDERS))
NONE, EASY, EASY_SJF, CONSERVATIVE, SLURM = range(len(BACKFILLS))
OFF, REQUEUE, CANCEL = range(len(PREEMPTIONS))

# what has become of a job
WAITING, RUNNING, ENDED, PUT_OFF, LOST, STRANDED = range(6)

# columns of `World.jobs`: what is asked, …
(
    SUBMIT, NODES, ASKED, CORES, MEMORY, DURATION, LIMIT, PARTITION, WHOLE, ACCOUNT, RANK, NICE,
    AFTER, AFTER_OK, REQUEUES, SUCCEEDS, CHARGE,
    # … and what became of it
    STATUS,
    ELIGIBLE,  # since when it may start, -1: not yet
    START,  # of its last attempt
    FIRST_START,
    END,
    ATTEMPTS,
    WASTED,  # for how long it ran in attempts that did not count
    PROMISE,  # the start that is kept for it, or one of the two below
    PRIORITY,
    PLACED,  # where its nodes begin in `World.placed`
    FIRST_AFTER,  # the first job that comes after this one, -1: none
    NEXT_AFTER,  # the next that comes after the same
    HEAP,  # where it stands in the heap of running jobs
    COLUMNS,
) = range(31)  # fmt: skip
NO_PROMISE, NO_ROOM = -1, -2

# rows of `World.lists`
(
    LINE,  # eligible jobs in order (by number, where the order is that of shares)
    BUSY,  # running jobs: a heap by end, then number
    BACK,  # put off: they wait again from the next events on
    GONE,  # ended for good since the last arrivals
    QUEUE,  # of one pass; scratch of sorting
    LATER,  # of one pass: those who may pass the first
    VICTIMS,  # of one eviction
    LISTS,
) = range(8)

# columns of `World.nodes`, after the three of its capacity
(
    DOWN,  # how many outages it has now
    CLOSED,  # whether it is kept for a job that goes first
    HOME,  # the counted partition that it belongs to, -1: none
    MARK,  # scratch, as all that follow
    SOONEST,
    HELD,  # the segment of its room at the start looked at
    SINCE_WHEN,  # around that start there is room since then
    UNTIL_WHEN,  # and until then
    NODE_COLUMNS,
) = range(3, 12)

# columns of `World.partitions`
(
    FIRST,
    LAST,
    FACTOR,
    BLOCKED,
    ALIKE,  # all of its nodes have the same capacity
    COUNTER,  # where in `World.members` its counter stands, -1: it is not counted
    PARTITION_COLUMNS,
) = range(7)

# columns of `World.kinds`
(
    REFUSED_IN,  # the last pass that asked whether one could start
    REFUSED,  # the shortest limit with which it could not
    BOUND_IN,  # the last pass that planned one
    BOUND,  # no later one with that limit, or a longer one, starts before
    BOUND_LIMIT,
    IN_LINE,  # how many of them wait
    SAMPLE,  # one of them
    KIND_COLUMNS,
) = range(8)
ASKS = 16  # how many refused kinds a pass remembers for those that ask for more

# columns of `World.accounts`; the last row is the root of the tree
ABOVE, SHARES, SIBLINGS, RATE, SINCE, PERIOD, FACTOR_TICK, SEEN, ON_LINE, TAKEN = range(10)

# columns of `World.usage`
USED, CURRENT, FAIR, EFFECTIVE, SHARE = range(5)

# rows of `World.tree`, of Fair Tree
(
    PERSON,  # 1: jobs are charged to it
    PERSONS,  # how many there are, with it and everyone beneath
    FIRST_BENEATH,  # where those right beneath it that are persons, or have some beneath, begin …
    LAST_BENEATH,  # … and end in …
    BENEATH,  # … this list of all accounts, which `rank` keeps in order
    RANKED,  # scratch of `rank`, as the next three
    BATCH_END,
    BATCH_LEFT,
    BATCH_TIED,
    TREE_ROWS,
) = range(10)

# places in `World.now`
(
    DONE,
    TIME,
    ARRIVED,  # how many jobs have been submitted
    STEPS,  # how many failures and repairs have happened
    OPENED,  # how many reservations have ended
    CHANGED,  # something happened since the last backfill pass
    CUT,  # the last main pass left out jobs because of `default_queue_depth`
    FREED,
    BROKEN,
    OUT,  # how many nodes are out of service
    TICK,  # the moment for which PRIORITY was computed
    FINISHED,
    LINE_NODES,  # how many nodes all jobs of LINE ask for, and all of BUSY have
    BUSY_NODES,
    STARTED,  # how many jobs of LINE have been started
    PROMISED,  # how many of them something is kept for
    PASS,  # the number of the pass
    ASKS_KEPT,  # how many refused jobs stand in ASK
    ROOMY,  # on how many nodes the job looked at last has room now, for however short
    CHANCE,  # somebody might start who could not in the last pass
    BEST_PARTITION,
    BEST_CLASS,
    SIZES,  # from here on: how long each list is
) = range(23)
MOST = SIZES + LISTS  # the most that one node has free now: accelerators, cores, memory
TOTAL = MOST + 3  # what all nodes together have free now
MACHINE = TOTAL + 3  # what they have when they are empty
MUCH = MACHINE + 3  # far more than any node has, three times
UNITS = MUCH + 3  # so many nodes of a counted partition, as an amount
ASK = UNITS + 3  # jobs that can't start in this pass whatever their limit
PLACES = ASK + ASKS
TOO_MUCH = 1 << 50  # thousands of them do not overflow


class Play(NamedTuple):
    """The rules as compiled code reads them: words are numbers."""

    order: int
    backfill: int
    preemption: int
    packed: bool
    weight_age: int
    weight_fair_share: int
    weight_job_size: int
    weight_partition: int
    weight_qos: int
    max_age: int
    favor_small: bool
    half_life: int
    calc_period: int
    fair_tree: bool
    dampening: int
    queue_depth: int
    sched_interval: int
    bf_interval: int
    bf_resolution: int
    bf_window: int
    bf_max_job_test: int
    bf_max_job_start: int
    bf_max_job_user: int


class World(NamedTuple):
    """n jobs, N nodes, P partitions, A accounts, C classes, V reservations, F outages."""

    jobs: Whole  # [n, COLUMNS]
    lists: Index  # [LISTS, n] numbers of jobs
    placed: Index  # the nodes that a job has, had last, or is to have
    nodes: Whole  # [N, NODE_COLUMNS]
    found: Index  # [N] scratch of searches
    partitions: Whole  # [P, PARTITION_COLUMNS]
    members: Index  # the nodes of partition 0, then of 1, …, then the counters
    kind: Index  # [n] the row of each job in `kinds`
    kinds: Whole  # [K, KIND_COLUMNS] jobs of equal partition, number of nodes and amount asked
    accounts: Whole  # [A + 1, TAKEN + 3]
    usage: NDArray[np.float64]  # [A + 1, 5]
    tree: Index  # [TREE_ROWS, A + 1]
    level: NDArray[np.float64]  # [A + 1] the level fairshare of Fair Tree
    steps: Whole  # [2 F, 3] time, 1 for a failure or -1 for a repair, node
    openings: Whole  # [V] when reservations end, in order
    now: Whole  # [PLACES]


def play(rules: Rules) -> Play:
    """The rules in numbers."""
    slurm = rules.backfill == "slurm"
    return Play(
        ORDERS.index(rules.order),
        BACKFILLS.index(rules.backfill),
        PREEMPTIONS.index(rules.preemption),
        rules.packing == "packed",
        rules.priority_weight_age,
        rules.priority_weight_fair_share,
        rules.priority_weight_job_size,
        rules.priority_weight_partition,
        rules.priority_weight_qos,
        rules.priority_max_age,
        rules.priority_favor_small,
        rules.priority_decay_half_life,
        rules.priority_calc_period,
        rules.fair_share == "fair-tree",
        rules.fair_share_dampening_factor,
        rules.default_queue_depth if slurm else 0,
        rules.sched_interval,
        rules.bf_interval,
        rules.bf_resolution if slurm else 1,
        rules.bf_window,
        rules.bf_max_job_test,
        rules.bf_max_job_start,
        rules.bf_max_job_user,
    )


def new(rules: Play, place: Facility, work: Jobs) -> World:
    """The world before the first event."""
    count = len(work.submit)
    begin = int(work.submit[0]) if count else 0
    now = np.zeros(PLACES, np.int64)
    now[TIME], now[TICK], now[CHANCE] = -NEVER, NEVER, 1
    now[BEST_PARTITION], now[BEST_CLASS] = (
        place.partition_priority.max(),
        place.class_priority.max(),
    )
    now[MACHINE : MACHINE + 3] = place.capacity.sum(axis=0)
    now[MUCH : MUCH + 3] = TOO_MUCH
    table = _jobs(place, work)
    partitions = _partitions(place)
    kind = _kind(table[:, [PARTITION, NODES, ASKED, CORES, MEMORY]])
    nodes = np.zeros((len(place.capacity), NODE_COLUMNS), np.int64)
    nodes[:, :3], nodes[:, HOME] = place.capacity, -1
    accounts = _accounts(place, begin, begin // rules.calc_period)
    for partition in np.flatnonzero(partitions[:, COUNTER] >= 0).tolist():
        nodes[_mine(place, partition), HOME] = partition
    return World(
        table,
        np.zeros((LISTS, count), np.int32),
        np.full(int(work.nodes.sum()), -1, np.int32),
        nodes,
        np.zeros(len(place.capacity), np.int32),
        partitions,
        np.concatenate([place.partition_nodes, counters(place)]),
        kind,
        _kinds(kind),
        accounts,
        np.zeros((len(accounts), 5)),
        _tree(accounts, work),
        np.zeros(len(accounts)),
        np.column_stack([place.outage_time, place.outage_step, place.outage_node]),
        np.sort(place.reserved_end),
        now,
    )


def counters(place: Facility) -> Index:
    """The rows of the room that count the nodes of each partition: they follow the nodes."""
    nodes = len(place.capacity)
    return np.arange(nodes, nodes + len(place.partition_whole), dtype=np.int32)


def capacity(world: World) -> Whole:
    """What there is in the empty room: on the nodes, then the number of nodes in each counter."""
    counts = np.zeros((len(world.partitions), 3), np.int64)
    counted = world.partitions[:, COUNTER] >= 0
    counts[counted, 1] = (world.partitions[:, LAST] - world.partitions[:, FIRST])[counted]
    return np.concatenate([world.nodes[:, :3], counts])


def _mine(place: Facility, partition: int) -> Index:
    return place.partition_nodes[slice(*place.partition_first[partition : partition + 2])]


def _partitions(place: Facility) -> Whole:
    """Partitions of equal whole nodes that no other shares and no reservation closes are counted:
    one node is as good as another there, at any time."""
    count = len(place.partition_whole)
    table = np.zeros((count, PARTITION_COLUMNS), np.int64)
    table[:, FIRST], table[:, LAST] = place.partition_first[:-1], place.partition_first[1:]
    table[:, FACTOR] = place.partition_priority
    shared = np.bincount(place.partition_nodes, minlength=len(place.capacity)) > 1
    shared[place.reserved_nodes] = True
    for partition in range(count):
        mine = _mine(place, partition)
        alike = (place.capacity[mine] == place.capacity[mine[0]]).all()
        counted = alike and place.partition_whole[partition] and not shared[mine].any()
        table[partition, ALIKE] = alike
        table[partition, COUNTER] = len(place.partition_nodes) + partition if counted else -1
    return table


def _jobs(place: Facility, work: Jobs) -> Whole:
    table = np.full((len(work.submit), COLUMNS), -1, np.int64)
    table[:, SUBMIT], table[:, NODES] = work.submit, work.nodes
    table[:, ASKED : MEMORY + 1] = work.asked
    table[:, DURATION], table[:, LIMIT] = work.duration, work.limit
    table[:, PARTITION], table[:, WHOLE] = work.partition, place.partition_whole[work.partition]
    table[:, ACCOUNT], table[:, RANK] = work.account, place.class_priority[work.job_class]
    table[:, NICE], table[:, CHARGE] = work.nice, work.charge
    table[:, AFTER], table[:, AFTER_OK] = work.after, work.after_ok
    table[:, REQUEUES], table[:, SUCCEEDS] = work.requeue, work.succeeds
    table[:, STATUS] = WAITING
    table[:, [ATTEMPTS, WASTED, PRIORITY]] = 0
    table[:, PLACED] = np.cumsum(work.nodes) - work.nodes
    for job in np.flatnonzero(work.after >= 0)[::-1].tolist():  # so that lists ascend
        before = work.after[job]
        table[job, NEXT_AFTER] = table[before, FIRST_AFTER]
        table[before, FIRST_AFTER] = job
    return table


def _kind(asked: Whole) -> Index:
    """Equal rows have equal numbers, from 0 on."""
    order = np.lexsort(asked.T)
    number = np.zeros(len(asked), np.int32)
    number[order[1:]] = np.cumsum((asked[order[1:]] != asked[order[:-1]]).any(axis=1))
    return number


def _kinds(kind: Index) -> Whole:
    table = np.full((1 + int(kind.max(initial=-1)), KIND_COLUMNS), -1, np.int64)
    table[:, IN_LINE] = 0
    table[kind, SAMPLE] = np.arange(len(kind))
    return table


def _accounts(place: Facility, begin: int, period: int) -> Whole:
    count = len(place.account_parent)
    table = np.zeros((count + 1, TAKEN + 3), np.int64)
    table[:count, ABOVE] = np.where(place.account_parent < 0, count, place.account_parent)
    table[count, ABOVE] = -1
    table[:count, SHARES] = place.account_shares
    shares = np.zeros(count + 1, np.int64)
    np.add.at(shares, table[:count, ABOVE], place.account_shares)
    table[:count, SIBLINGS] = shares[table[:count, ABOVE]]
    table[:, SINCE], table[:, PERIOD], table[:, FACTOR_TICK] = begin, period, NEVER
    return table


def _tree(accounts: Whole, work: Jobs) -> Index:
    """Who is a person, and who stands beneath whom, as `rank` walks it."""
    table = np.zeros((TREE_ROWS, len(accounts)), np.int32)
    table[PERSON, work.account] = 1
    table[PERSONS] = table[PERSON]
    for one in range(len(accounts) - 2, -1, -1):  # an account comes after the one above it
        table[PERSONS, accounts[one, ABOVE]] += table[PERSONS, one]
    peopled = np.flatnonzero(table[PERSONS, :-1])
    above = accounts[peopled, ABOVE]
    table[BENEATH, : len(peopled)] = peopled[np.argsort(above, kind="stable")]
    table[LAST_BENEATH] = np.cumsum(np.bincount(above, minlength=len(accounts)))
    table[FIRST_BENEATH, 1:] = table[LAST_BENEATH, :-1]
    return table
