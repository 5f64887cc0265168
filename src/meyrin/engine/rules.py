"""The rules of one cluster's scheduler as plain numbers and switches. It never decides anything.

`engine.cluster` plays by them; `sim.policy` reads them from a TOML file. Names and defaults that
begin with `priority_` or `bf_` are Slurm's, with the meaning of its manual (slurm.conf(5), and
the pages priority_multifactor, fair_tree, classic_fair_share and sched_config of
slurm.schedmd.com). All times are in seconds, also those that Slurm takes in minutes. Where each
formula comes from and what is left out stands in docs/explanation/cluster-model.md.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

ORDERS = ("submit", "multifactor", "dominant-share")
BACKFILLS = ("none", "easy", "easy-sjf", "conservative", "slurm")
PREEMPTIONS = ("off", "requeue", "cancel")
PACKINGS = ("packed", "spread")
FAIR_SHARES = ("fair-tree", "classic")

_AT_LEAST_ONE = (
    "priority_max_age",
    "priority_calc_period",
    "bf_interval",
    "bf_resolution",
    "bf_window",
    "bf_max_job_test",
    "sched_interval",
)


@dataclass(frozen=True, slots=True)
class Rules:
    """Who goes first, who may pass, who is put off, and on which nodes.

    - `order`: `submit` is the log's order; `multifactor` is Slurm's priority; `dominant-share`
      lets the user with the smallest dominant share go first (DRF, Ghodsi et al., NSDI 2011).
    - `backfill`: `none` is first come first served; `easy` and `easy-sjf` reserve for the first
      waiting job of each partition (Lifka 1995), the second tries short limits first;
      `conservative` keeps a reservation for every job (Mu'alem and Feitelson 2001); `slurm` is
      Slurm's main pass and its backfill pass.
    - `preemption`: what happens to a running job that a job of a higher class needs out of the way
      (PreemptMode). `requeue` cancels the jobs that may not be requeued.
    - `packing`: `packed` takes the nodes with the least free, `spread` those with the most.
    - `fair_share`: what the fair-share factor of `multifactor` is. `fair-tree` is Slurm's Fair
      Tree, its default since 19.05: a person's rank. `classic` is the formula before it, Slurm's
      with PriorityFlags=NO_FAIR_TREE.

    Raises ValueError, naming field and value, for a number or a word that has no meaning.
    """

    order: str = "submit"
    backfill: str = "easy"
    preemption: str = "off"
    packing: str = "packed"
    fair_share: str = "fair-tree"

    # PriorityType=priority/multifactor: the sum of weight times factor, less nice
    priority_weight_age: int = 0
    priority_weight_fair_share: int = 0
    priority_weight_job_size: int = 0
    priority_weight_partition: int = 0
    priority_weight_qos: int = 0
    priority_max_age: int = 7 * 86400
    priority_favor_small: bool = False
    priority_decay_half_life: int = 7 * 86400  # 0: usage never fades
    priority_calc_period: int = 300  # priorities and usage change at multiples of it
    fair_share_dampening_factor: int = 1  # of the classic formula

    # SchedulerParameters of Slurm's main pass and of sched/backfill
    default_queue_depth: int = 100  # jobs looked at by a main pass; 0: all
    sched_interval: int = 60  # when a main pass that the depth cut short is made in full
    bf_interval: int = 30  # a backfill pass is made at multiples of it, if anything changed
    bf_resolution: int = 60  # ends are rounded up to multiples of it
    bf_window: int = 86400  # a job that can't start within it gets no reservation
    bf_max_job_test: int = 500  # jobs looked at by one backfill pass
    bf_max_job_start: int = 0  # jobs started by one backfill pass; 0: no limit
    bf_max_job_user: int = 0  # jobs of one user looked at by one backfill pass; 0: no limit

    def __post_init__(self) -> None:
        for name, words in (
            ("order", ORDERS),
            ("backfill", BACKFILLS),
            ("preemption", PREEMPTIONS),
            ("packing", PACKINGS),
            ("fair_share", FAIR_SHARES),
        ):
            if getattr(self, name) not in words:
                raise ValueError(f"{name}={getattr(self, name)!r} is none of {', '.join(words)}")
        for field in fields(self):
            value = getattr(self, field.name)
            least = 1 if field.name in _AT_LEAST_ONE else 0
            if field.type == "int" and (type(value) is not int or not least <= value < 2**32):
                raise ValueError(
                    f"{field.name}={value!r} is no whole number from {least} to 2**32-1"
                )
        if self.fair_share_dampening_factor < 1:
            raise ValueError("fair_share_dampening_factor=0 would divide by zero; 1 is neutral")
