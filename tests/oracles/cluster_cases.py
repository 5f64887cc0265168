"""Small random clusters with every feature on, from a seed."""

from __future__ import annotations

import random

from meyrin.engine.cluster import NEVER, Facility, Jobs, facility, jobs
from meyrin.engine.rules import BACKFILLS, FAIR_SHARES, ORDERS, PACKINGS, PREEMPTIONS, Rules


def random_rules(chance: random.Random, **fixed: object) -> Rules:
    """Rules of any kind; short periods, so that small cases meet them."""
    values: dict[str, object] = {
        "order": chance.choice(ORDERS),
        "backfill": chance.choice(BACKFILLS),
        "preemption": chance.choice(PREEMPTIONS),
        "packing": chance.choice(PACKINGS),
        "fair_share": chance.choice(FAIR_SHARES),
        "priority_weight_age": chance.choice([0, 100, 1000]),
        "priority_weight_fair_share": chance.choice([0, 1000, 10000]),
        "priority_weight_job_size": chance.choice([0, 100, 1000]),
        "priority_weight_partition": chance.choice([0, 0, 500]),
        "priority_weight_qos": chance.choice([0, 0, 500]),
        "priority_max_age": chance.choice([5, 50, 500]),
        "priority_favor_small": chance.random() < 0.3,
        "priority_decay_half_life": chance.choice([0, 10, 60]),
        "priority_calc_period": chance.choice([1, 7, 20]),
        "fair_share_dampening_factor": chance.choice([1, 1, 3]),
        "default_queue_depth": chance.choice([0, 1, 2, 100]),
        "sched_interval": chance.choice([3, 10]),
        "bf_interval": chance.choice([1, 4, 10]),
        "bf_resolution": chance.choice([1, 5]),
        "bf_window": chance.choice([10, 30, 1000]),
        "bf_max_job_test": chance.choice([1, 3, 100]),
        "bf_max_job_start": chance.choice([0, 0, 1]),
        "bf_max_job_user": chance.choice([0, 0, 1, 2]),
    }
    return Rules(**(values | fixed))


def random_facility(chance: random.Random, failures: bool = True) -> Facility:
    """1 to 4 nodes, alike or not, 1 to 3 partitions over them, closures and failures."""
    count = chance.randint(1, 4)
    shapes = [(0, 4, 0), (4, 8, 16), (2, 8, 32), (4, 4, 8)]
    alike = chance.choice(shapes)
    capacity = [alike if chance.random() < 0.6 else chance.choice(shapes) for _ in range(count)]
    partitions = [list(range(count))]
    for _ in range(chance.randint(0, 2)):
        partitions.append(chance.sample(range(count), chance.randint(1, count)))
    accounts = chance.randint(1, 5)
    windows = []
    for _ in range(chance.choice([0, 0, 1, 2])):
        begin = chance.randint(0, 60)
        nodes = chance.sample(range(count), chance.randint(1, count))
        windows.append((nodes, begin, begin + chance.randint(1, 25)))
    outages = []
    for _ in range(chance.choice([0, 0, 1, 3]) if failures else 0):
        begin = chance.randint(0, 60)
        end = NEVER if chance.random() < 0.1 else begin + chance.randint(1, 30)
        outages.append((chance.randrange(count), begin, end))
    return facility(
        capacity,
        partitions,
        whole=[chance.random() < 0.4 for _ in partitions],
        partition_priority=[chance.choice([0, 1, 5]) for _ in partitions],
        class_priority=chance.choice([[0], [1, 3], [0, 2, 2]]),
        account_parent=[chance.randint(-1, one - 1) for one in range(accounts)],
        account_shares=[chance.choice([0, 1, 1, 2, 5]) for _ in range(accounts)],
        reservations=windows,
        outages=outages,
    )


def random_jobs(chance: random.Random, place: Facility, most: int = 12) -> Jobs:
    """Jobs that all fit, many at the same moment, with all kinds of wishes."""
    rows: dict[str, list[object]] = {name: [] for name in Jobs._fields if name != "charge"}
    spread = chance.choice([3, 15, 50])
    for submit in sorted(chance.randint(0, spread) for _ in range(chance.randint(1, most))):
        partition = chance.randrange(len(place.partition_whole))
        first, last = place.partition_first[partition : partition + 2].tolist()
        nodes = place.partition_nodes[first:last].tolist()
        model = place.capacity[chance.choice(nodes)].tolist()
        asked = [chance.randint(0, chance.choice([1, part])) if part else 0 for part in model]
        if not any(asked):
            asked[1] = 1
        able = [n for n in nodes if all(place.capacity[n] >= asked)]
        limit = chance.randint(1, 25)
        before = len(rows["submit"])
        row = {
            "submit": submit,
            "nodes": chance.randint(1, len(able)),
            "asked": asked,
            "duration": limit if chance.random() < 0.4 else chance.randint(1, limit),
            "limit": limit,
            "partition": partition,
            "account": chance.randrange(len(place.account_parent)),
            "job_class": chance.randrange(len(place.class_priority)),
            "nice": chance.choice([0, 0, 0, 100, -50]),
            "after": chance.randrange(before) if before and chance.random() < 0.2 else -1,
            "after_ok": chance.random() < 0.5,
            "requeue": chance.random() < 0.7,
            "succeeds": chance.random() < 0.8,
        }
        for name, value in row.items():
            rows[name].append(value)
    return jobs(place, **rows)
