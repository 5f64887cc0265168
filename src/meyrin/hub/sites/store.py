"""Tables and queries of sites, their partitions and offers. Nothing here decides anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from meyrin.hub.plumbing.bulk import one_of
from meyrin.hub.plumbing.database import Json, Step, metadata
from meyrin.hub.plumbing.only_added import guard
from meyrin.hub.plumbing.paging import page

sites = sa.Table(
    "sites",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False, unique=True),
    sa.Column("title", sa.String, nullable=False),
    sa.Column("batch_kind", sa.String, nullable=False, server_default=""),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("drained_reason", sa.String),
    sa.Column("last_heard_ms", sa.BigInteger),
    sa.Column("incarnation", sa.String, nullable=False, server_default=""),
    sa.Column("allowed_projects", Json),  # ids of projects; SQL NULL lets everyone in
    sa.Column("closed_ms", sa.BigInteger),
    sa.Column("about", Json),  # what its agent says of itself: the fields of wire.agents.About
    # rises when what the site or the hub lets in there changes: old refusals no longer count
    sa.Column("rules_version", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("not_now", sa.String),  # why its agent takes nothing new at present
    sa.Column("terms_id", sa.String),  # the version of its terms that is in force
    sa.Column("lend_proposed", sa.Boolean, nullable=False, server_default=sa.false()),
)

partitions = sa.Table(
    "partitions",
    metadata,
    sa.Column("site_id", sa.ForeignKey("sites.id"), primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("spec", Json, nullable=False),  # the fields of domain.site.Partition
    sa.Column("seen_ms", sa.BigInteger, nullable=False),
    sa.Column("gone_ms", sa.BigInteger),
    sa.Column("turnover", Json),  # what short jobs freed there lately: see `sites/turnover.py`
    sa.Column("shortage", Json),  # fewer of its nodes take work: the fields of wire.sites.Shortage
    sa.Column("others", Json),  # what Meyrin did not send there: see `sites/others.py`
)

offers = sa.Table(
    "offers",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("site_id", sa.ForeignKey("sites.id"), nullable=False),
    sa.Column("partition", sa.String, nullable=False),
    sa.Column("start_s", sa.BigInteger, nullable=False),
    sa.Column("end_s", sa.BigInteger),  # the first second that is not lent any more
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("price_cents", sa.BigInteger),  # of an accelerator-hour (core-hour) for who pays
    sa.CheckConstraint("end_s IS NULL OR end_s >= start_s", name="order"),
    sa.Index("ix_offers_place", "site_id", "partition"),
)

offer_shares = sa.Table(
    "offer_shares",
    metadata,
    sa.Column("offer_id", sa.ForeignKey("offers.id"), primary_key=True),
    sa.Column("owner", sa.String, primary_key=True),
    sa.Column("weight", sa.BigInteger, nullable=False),
    sa.CheckConstraint("weight > 0", name="weight"),
)

# whose an offer is from a later date on; before the first one `offer_shares` hold
later_shares = sa.Table(
    "later_shares",
    metadata,
    sa.Column("offer_id", sa.ForeignKey("offers.id"), primary_key=True),
    sa.Column("from_s", sa.BigInteger, primary_key=True),
    sa.Column("owner", sa.String, primary_key=True),
    sa.Column("weight", sa.BigInteger, nullable=False),
    sa.CheckConstraint("weight > 0", name="weight"),
)

# how much of a partition could take work from a moment on: accelerators, or cores; 0 is nothing
capacities = sa.Table(
    "capacities",
    metadata,
    sa.Column("site_id", sa.ForeignKey("sites.id"), primary_key=True),
    sa.Column("partition", sa.String, primary_key=True),
    sa.Column("at_ms", sa.BigInteger, primary_key=True),
    sa.Column("units", sa.BigInteger, nullable=False),
    sa.Column("charged_type", sa.String, nullable=False),
    sa.CheckConstraint("units >= 0", name="units"),
)

_ONLY_ADDED = {
    "later_shares": "offer_id = NEW.offer_id AND from_s = NEW.from_s AND owner = NEW.owner",
    "capacities": "site_id = NEW.site_id AND partition = NEW.partition AND at_ms = NEW.at_ms",
}


@sa.event.listens_for(metadata, "after_create")
def _guard_new_tables(_target: Any, connection: sa.Connection, **options: Any) -> None:
    created = {table.name for table in options.get("tables") or ()}
    if created.issuperset(_ONLY_ADDED):
        guard(connection, _ONLY_ADDED)


# the latest snapshot of a site's queue; `jobs` is compressed JSON, `summary` is per partition
site_queues = sa.Table(
    "site_queues",
    metadata,
    sa.Column("site_id", sa.ForeignKey("sites.id"), primary_key=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("left_out", sa.BigInteger, nullable=False),
    sa.Column("summary", Json, nullable=False),
    sa.Column("jobs", sa.LargeBinary, nullable=False),
)

# the latest report of what a site's own accounts and limits lack
site_drifts = sa.Table(
    "site_drifts",
    metadata,
    sa.Column("site_id", sa.ForeignKey("sites.id"), primary_key=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("report", Json, nullable=False),
)


def _lent_at(now_s: Any) -> sa.ColumnElement[bool]:
    return sa.and_(
        offers.c.start_s <= now_s, sa.or_(offers.c.end_s.is_(None), offers.c.end_s > now_s)
    )


# built once: the broker asks these at every step
_STATES = (
    sa.select(
        sites.c.name.label("site"),
        sites.c.drained_reason,
        sites.c.not_now,
        sites.c.last_heard_ms,
        sites.c.allowed_projects,
        partitions.c.spec,
        partitions.c.turnover,
        partitions.c.shortage,
        partitions.c.others,
        sa.exists()
        .where(
            offers.c.site_id == partitions.c.site_id,
            offers.c.partition == partitions.c.name,
            _lent_at(sa.bindparam("now_s")),
        )
        .label("offered"),
    )
    .join(partitions, partitions.c.site_id == sites.c.id)
    .where(sites.c.closed_ms.is_(None), partitions.c.gone_ms.is_(None))
    .order_by(sites.c.name, partitions.c.name)
)
_OFFERS = (
    sa.select(
        offers.c.id,
        sites.c.name.label("site"),
        offers.c.partition,
        offers.c.start_s,
        offers.c.end_s,
        offers.c.price_cents,
        offer_shares.c.owner,
        offer_shares.c.weight,
    )
    .join(sites, sites.c.id == offers.c.site_id)
    .join(offer_shares, offer_shares.c.offer_id == offers.c.id)
    .order_by(sites.c.name, offers.c.partition, offers.c.start_s, offers.c.id, offer_shares.c.owner)
)
_OFFERS_NOW = _OFFERS.where(sites.c.closed_ms.is_(None), _lent_at(sa.bindparam("now_s")))


def partition_states(step: Step, now_s: int) -> list[sa.Row[Any]]:
    return step.rows(_STATES, now_s=now_s)


_TURNOVER = (
    sa.select(partitions.c.turnover)
    .where(
        partitions.c.site_id == sa.bindparam("site"), partitions.c.name == sa.bindparam("partition")
    )
    .with_for_update(skip_locked=True)
)


def turnover(step: Step, site: str, partition: str) -> sa.Row[Any] | None:
    """The row, locked; None while another has it: who comes last in the order of locks waits for
    none."""
    return step.one(_TURNOVER, site=site, partition=partition)


def set_turnover(step: Step, site: str, partition: str, kept: dict[str, Any]) -> None:
    ours = sa.and_(partitions.c.site_id == site, partitions.c.name == partition)
    step.change(sa.update(partitions).where(ours).values(turnover=kept))


def offers_at(step: Step, now_s: int) -> list[sa.Row[Any]]:
    """One row per owner's share of an offer."""
    return step.rows(_OFFERS_NOW, now_s=now_s)


def offers_after(step: Step, site: str, now_s: int) -> list[sa.Row[Any]]:
    """The offers of a site that have not ended, one row per owner's share."""
    return step.rows(
        _OFFERS.where(
            offers.c.site_id == site, sa.or_(offers.c.end_s.is_(None), offers.c.end_s > now_s)
        )
    )


def site_where(
    step: Step, condition: sa.ColumnElement[bool], *, hold: bool = False
) -> sa.Row[Any] | None:
    """`hold` keeps others from changing the row until the step ends; attempts may be added."""
    statement = sa.select(sites).where(condition)
    return step.one(statement.with_for_update(key_share=True) if hold else statement)


_IDS = sa.select(sites.c.id, sites.c.name).where(one_of(sites.c.name, "names"))


def ids_of(step: Step, names: Iterable[str]) -> dict[str, str]:
    wanted = sorted(set(names))
    if not wanted:
        return {}
    return {row.name: row.id for row in step.rows(_IDS, names=wanted)}


def why_shut(step: Step, names: Iterable[str]) -> list[sa.Row[Any]]:
    """Of every partition of these sites what may shut it."""
    wanted = sorted(set(names))
    if not wanted:
        return []
    found = sa.func.coalesce(sites.c.drained_reason, sites.c.not_now).label("why")
    return step.rows(
        sa.select(sites.c.name.label("site"), found, partitions.c.name, partitions.c.shortage)
        .join(partitions, partitions.c.site_id == sites.c.id)
        .where(sites.c.name.in_(wanted))
    )


def heard_of(step: Step) -> list[sa.Row[Any]]:
    """Every site that was not closed, by name, which start of its agent and when heard last."""
    columns = (sites.c.id, sites.c.name, sites.c.last_heard_ms, sites.c.incarnation)
    return step.rows(sa.select(*columns).where(sites.c.closed_ms.is_(None)).order_by(sites.c.name))


def names_of(step: Step, ids: Iterable[str]) -> dict[str, str]:
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    rows = step.rows(sa.select(sites.c.id, sites.c.name).where(sites.c.id.in_(wanted)))
    return {row.id: row.name for row in rows}


def terms_of(step: Step, offer_ids: Iterable[str]) -> list[sa.Row[Any]]:
    """Whose these offers are, from when on; `from_s` is 0 for the shares that they began with."""
    wanted = sorted(set(offer_ids))
    if not wanted:
        return []
    return step.rows(_TERMS, offers=wanted)


def _terms() -> sa.Select[Any]:
    first, later = offer_shares.c, later_shares.c
    zero = sa.literal(0, sa.BigInteger).label("from_s")
    both = sa.union_all(
        sa.select(first.offer_id, zero, first.owner, first.weight).where(
            one_of(first.offer_id, "offers")
        ),
        sa.select(later.offer_id, later.from_s, later.owner, later.weight).where(
            one_of(later.offer_id, "offers")
        ),
    ).subquery()
    return sa.select(both).order_by(both.c.offer_id, both.c.from_s, both.c.owner)


_TERMS = _terms()


def offers_between(step: Step, from_s: int, until_s: int, also: list[str]) -> list[sa.Row[Any]]:
    """Offers that share a second with this time, or are named, by site, partition and start."""
    o = offers.c
    inside = sa.and_(o.start_s < until_s, sa.or_(o.end_s.is_(None), o.end_s > from_s))
    wanted = sa.or_(inside, step.among(o.id, also)) if also else inside
    columns = (o.id, o.site_id, sites.c.name.label("site"), o.partition, o.start_s, o.end_s)
    listed = sa.select(*columns, o.price_cents).join(sites, sites.c.id == o.site_id).where(wanted)
    return step.rows(listed.order_by(sites.c.name, o.partition, o.start_s, o.id))


def capacity_facts(step: Step) -> list[sa.Row[Any]]:
    """All that says how much every partition could take now."""
    columns = (sites.c.drained_reason, sites.c.not_now, sites.c.last_heard_ms, sites.c.closed_ms)
    listed = sa.select(partitions, *columns).join(sites, sites.c.id == partitions.c.site_id)
    return step.rows(listed.order_by(partitions.c.site_id, partitions.c.name))


def _last(until_ms: int | None) -> sa.ScalarSelect[Any]:
    """When the last change of a partition's capacity up to then was."""
    c, past = capacities.c, capacities.alias("past")
    same = sa.and_(past.c.site_id == c.site_id, past.c.partition == c.partition)
    wanted = sa.select(sa.func.max(past.c.at_ms)).where(same)
    if until_ms is not None:
        wanted = wanted.where(past.c.at_ms <= until_ms)
    return wanted.correlate(capacities).scalar_subquery()


def last_capacities(step: Step) -> list[sa.Row[Any]]:
    return step.rows(sa.select(capacities).where(capacities.c.at_ms == _last(None)))


def capacities_between(step: Step, from_ms: int, until_ms: int) -> list[sa.Row[Any]]:
    """The changes of this time, and of each partition the last one before it."""
    c = capacities.c
    begins = sa.func.coalesce(_last(from_ms), from_ms)
    listed = sa.select(capacities).where(c.at_ms >= begins, c.at_ms < until_ms)
    return step.rows(listed.order_by(c.site_id, c.partition, c.at_ms))


def sites_page(step: Step, after: str, limit: int) -> list[Any]:
    return step.rows(page(sa.select(sites), sites.c.name, after, limit, newest=False))


_LAST_HEARD = sa.select(
    sites.c.name, sites.c.last_heard_ms, sites.c.incarnation, sites.c.not_now
).where(sites.c.id == sa.bindparam("site"))


def last_heard(step: Step, site: str) -> sa.Row[Any] | None:
    return step.one(_LAST_HEARD, site=site)


def set_heard(step: Step, site: str, before_ms: int | None) -> int:
    """Guarded by what was read: of several that hear a site at once, one writes."""
    same = sites.c.last_heard_ms.is_not_distinct_from(before_ms)
    return step.change(
        sa.update(sites).where(sites.c.id == site, same).values(last_heard_ms=step.now_ms)
    )


def set_announced(
    step: Step, site: str, batch_kind: str, incarnation: str, about: dict[str, Any] | None
) -> None:
    """`about` None keeps what is known."""
    values: dict[str, Any] = {} if about is None else {"about": about}
    step.change(
        sa.update(sites)
        .where(sites.c.id == site)
        .values(batch_kind=batch_kind, incarnation=incarnation, last_heard_ms=step.now_ms, **values)
    )


def set_field(step: Step, site: str, column: sa.Column[Any], value: Any) -> bool:
    """Set one column of a site; whether that changed anything."""
    asked = sa.select(column).where(sites.c.id == site)
    before = step.one(asked.with_for_update(key_share=True))  # attempts may be added
    if before is None or before[0] == value:
        return False
    step.change(
        sa.update(sites)
        .where(sites.c.id == site)
        .values({column: sa.null() if value is None else value})
    )
    return True


def partitions_of(step: Step, site_ids: list[str]) -> list[sa.Row[Any]]:
    """The partitions of some sites that are still there."""
    return step.rows(
        sa.select(partitions.c.site_id, partitions.c.spec)
        .where(partitions.c.site_id.in_(site_ids), partitions.c.gone_ms.is_(None))
        .order_by(partitions.c.site_id, partitions.c.name)
    )


def all_partitions(step: Step, site: str) -> dict[str, sa.Row[Any]]:
    """By name, those that are gone too."""
    rows = step.rows(sa.select(partitions).where(partitions.c.site_id == site))
    return {row.name: row for row in rows}


def change_partition(
    step: Step, site: str, name: str, spec: dict[str, Any], shortage: dict[str, Any] | None
) -> None:
    step.change(
        sa.update(partitions)
        .where(partitions.c.site_id == site, partitions.c.name == name)
        .values(spec=spec, shortage=shortage, seen_ms=step.now_ms, gone_ms=None)
    )


def mark_seen(step: Step, site: str, names: list[str]) -> None:
    step.change(
        sa.update(partitions)
        .where(partitions.c.site_id == site, partitions.c.name.in_(names))
        .values(seen_ms=step.now_ms)
    )


def mark_gone(step: Step, site: str, names: list[str]) -> None:
    step.change(
        sa.update(partitions)
        .where(partitions.c.site_id == site, partitions.c.name.in_(names))
        .values(gone_ms=step.now_ms)
    )


def overlapping_offer(
    step: Step, site: str, partition: str, start_s: int, end_s: int | None
) -> str | None:
    """The id of an offer of the same partition that shares a second with this span."""
    statement = sa.select(offers.c.id).where(
        offers.c.site_id == site,
        offers.c.partition == partition,
        sa.or_(
            offers.c.end_s.is_(None),
            sa.and_(offers.c.end_s > start_s, offers.c.end_s > offers.c.start_s),
        ),
    )
    if end_s is not None:
        statement = statement.where(offers.c.start_s < end_s)
    row = step.one(statement.limit(1))
    return None if row is None else str(row.id)


def offer_end(step: Step, site: str, offer: str) -> sa.Row[Any] | None:
    return step.one(
        sa.select(offers.c.start_s, offers.c.end_s).where(
            offers.c.id == offer, offers.c.site_id == site
        )
    )


def set_offer_end(step: Step, offer: str, end_s: int) -> None:
    step.change(sa.update(offers).where(offers.c.id == offer).values(end_s=end_s))


def put_latest(step: Step, table: sa.Table, row: dict[str, Any]) -> bool:
    """Keep `row` as the site's one row, unless what is there is later; whether it was kept."""
    if step.add_new(table, [row]):
        return True
    mine = (table.c.site_id == row["site_id"], table.c.at_ms <= row["at_ms"])
    return step.change(sa.update(table).where(*mine).values(**row)) > 0


def put_others(step: Step, site: str, told: dict[str, dict[str, Any]]) -> None:
    """Keep by partition what others have there; of those left out it is forgotten."""
    mine = partitions.c.site_id == site
    known = sa.and_(partitions.c.others.is_not(None), sa.not_(step.among(partitions.c.name, told)))
    step.change(sa.update(partitions).where(mine, known).values(others=sa.null()))
    if told:
        one = sa.update(partitions).where(mine, partitions.c.name == sa.bindparam("part"))
        step.conn.execute(
            one.values(others=sa.bindparam("kept")),
            [{"part": name, "kept": kept} for name, kept in sorted(told.items())],
        )


def drop_latest(step: Step, table: sa.Table, site: str) -> None:
    step.change(sa.delete(table).where(table.c.site_id == site))


def latest(step: Step, table: sa.Table, site: str, *, without: str = "") -> sa.Row[Any] | None:
    columns = [column for column in table.c if column.name != without]
    return step.one(sa.select(*columns).where(table.c.site_id == site))
