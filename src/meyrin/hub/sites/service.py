"""Sites, what they announce and what they lend: the verbs.

Agents speak by the id of their site (their credential says it); people and the broker speak by
its name. Whatever changes where a job could go moves the world, and nothing else does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import Any

from meyrin.domain.errors import Conflict, InvalidInput, NotAllowed, NotFound, StaleEpoch
from meyrin.domain.ids import new_id
from meyrin.domain.site import OwnerShare, Partition, check_name
from meyrin.domain.units import show_moment
from meyrin.engine.model import PartitionState
from meyrin.hub.identity import service as identity
from meyrin.hub.plumbing import world
from meyrin.hub.plumbing.authz import Actor
from meyrin.hub.plumbing.database import Step
from meyrin.hub.plumbing.paging import cut
from meyrin.hub.sites import capacity, others, presence, refusals, store, turnover
from meyrin.hub.sites.capacity import SILENT_AFTER_S, as_partition, silent_since

MAX_OWNERS = 200


@dataclass(frozen=True, slots=True)
class Site:
    """A site with the partitions that it has now. `allowed_projects` are ids; None is everyone.

    `not_now` is why its agent takes nothing new at present, `about` what it says of itself.
    """

    id: str
    name: str
    title: str
    batch_kind: str
    incarnation: str
    created_ms: int
    drained_reason: str | None
    last_heard_ms: int | None
    allowed_projects: tuple[str, ...] | None
    closed_ms: int | None
    not_now: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    lend_proposed: bool = False
    partitions: tuple[Partition, ...] = ()


@dataclass(frozen=True, slots=True)
class Offer:
    """What a site lends: a partition from `start_s` until just before `end_s`, and for whom."""

    id: str
    site: str
    partition: str
    start_s: int
    end_s: int | None
    shares: tuple[OwnerShare, ...]
    price_cents: int | None = None


# --- coming and looking


def enrol(step: Step, name: str, title: str = "") -> tuple[Site, str]:
    """A new site, and the secret of its agent's credential, shown this once."""
    site = add(step, name, title)
    return site, identity.new_agent_token(step, site.id, name)


def add(step: Step, name: str, title: str) -> Site:
    check_name("site", name)
    row = {
        "id": new_id("site", step.entropy),
        "name": name,
        "title": identity.check_label("title", title or name),
        "created_ms": step.now_ms,
    }
    added = step.add_new(store.sites, [row])
    if not added:
        raise Conflict(
            f"there is a site called {name} already",
            hint="choose another name, or give its agent a new token",
            name=name,
        )
    return as_site(added[0], ())


def site(step: Step, site_id: str) -> Site:
    """By id. Two queries."""
    return _with_partitions(step, [site_row(step, store.sites.c.id == site_id, site_id)])[0]


def site_by_name(step: Step, name: str) -> Site:
    """Two queries."""
    return _with_partitions(step, [site_row(step, store.sites.c.name == name, name)])[0]


def sites(step: Step, after: str, limit: int) -> tuple[list[Site], str]:
    """One page of the sites by name, with their partitions. Two queries."""
    rows, following = cut(store.sites_page(step, after, limit), limit, "name")
    return _with_partitions(step, rows), following


# --- what agents say


def announce(
    step: Step,
    site_id: str,
    batch_kind: str,
    partitions: Sequence[Partition],
    incarnation: str,
    about: Mapping[str, Any] | None = None,
) -> Site:
    """What the site has now: all its partitions; those left out are gone.

    From now on `incarnation` is the agent's. The world moves only if a partition or the site's
    own rules changed. `about` (None keeps what is known) is shown to people; its `shortages` say
    of which partitions fewer nodes take work.
    """
    capacity.check_announced(partitions)
    specs = {one.name: _spec(one) for one in partitions}
    kind = identity.check_label("batch_kind", batch_kind)
    start = identity.check_label("incarnation", incarnation)
    row = site_row(step, store.sites.c.id == site_id, site_id, hold=True)
    if _is_earlier(start, row.incarnation):
        raise StaleEpoch(
            "a later start of this site's agent has said hello already",
            hint="one agent per site; this is a late word of one that has ended",
        )
    known = None if about is None else dict(about)
    store.set_announced(step, site_id, kind, start, known)
    short = None if known is None else {s["partition"]: s for s in known.get("shortages", ())}
    moved = _replace_partitions(step, site_id, specs, short)
    other_rules = known is not None and refusals.mark_of(known) != refusals.mark_of(row.about)
    if moved or other_rules:
        world.moved(step)
    if moved or silent_since(row.last_heard_ms, step.now_s, SILENT_AFTER_S, 0) is not None:
        capacity.note(step)
    now = tuple(sorted(partitions, key=lambda one: one.name))
    site = replace(as_site(row, now), batch_kind=kind, incarnation=start, last_heard_ms=step.now_ms)
    return site if known is None else replace(site, about=known)


def _is_earlier(start: str, current: str) -> bool:
    """Whether both starts are of one journal (`NAME.NUMBER`) and `start` came before."""
    (own, _, number), (known, _, last) = start.rpartition("."), current.rpartition(".")
    if not own or own != known or not (number.isdecimal() and last.isdecimal()):
        return False
    return int(number) < int(last)


def _replace_partitions(
    step: Step,
    site_id: str,
    specs: dict[str, dict[str, Any]],
    short: dict[str, dict[str, Any]] | None,
) -> bool:
    """Write what is new, changed or gone; whether there was any of it. `short` None: as known."""
    known = store.all_partitions(step, site_id)
    if short is None:
        short = {name: row.shortage for name, row in known.items()}
    told = {name: (spec, short.get(name)) for name, spec in specs.items()}
    new = [name for name in specs if name not in known]
    gone = [name for name, row in known.items() if row.gone_ms is None and name not in specs]
    kept = {n: (row.spec, row.shortage) for n, row in known.items() if row.gone_ms is None}
    same = [name for name in specs if kept.get(name) == told[name]]
    changed = [name for name in specs if name in known and name not in same]
    step.add(
        store.partitions,
        [
            {
                "site_id": site_id,
                "name": name,
                "spec": specs[name],
                "shortage": short.get(name),
                "seen_ms": step.now_ms,
            }
            for name in new
        ],
    )
    for name in changed:
        store.change_partition(step, site_id, name, *told[name])
    if same:
        store.mark_seen(step, site_id, same)
    if gone:
        store.mark_gone(step, site_id, gone)
    return bool(new or changed or gone)


# --- what people say


def drain(step: Step, actor: Actor, name: str, reason: str) -> Site:
    """Send nothing new to a site; what runs there goes on. For its operators."""
    return _set(step, actor, name, "drained_reason", identity.check_label("reason", reason))


def resume(step: Step, actor: Actor, name: str) -> Site:
    """Undo `drain`. For its operators."""
    return _set(step, actor, name, "drained_reason", None)


def allow_projects(step: Step, actor: Actor, name: str, project_ids: Iterable[str] | None) -> Site:
    """Let only these projects use a site; None lets everyone. For its operators."""
    value = None if project_ids is None else sorted(set(project_ids))
    row = run_by(step, actor, name)
    if store.set_field(step, row.id, store.sites.c.allowed_projects, value):
        refusals.forget(step, row.id)
    return site(step, row.id)


def rotate_agent_token(step: Step, actor: Actor, name: str) -> str:
    """A new credential for the site's agent; the ones before are refused at once."""
    row = run_by(step, actor, name, hold=True)
    identity.revoke_site(step, row.id)
    return identity.new_agent_token(step, row.id, row.name)


def revoke(step: Step, actor: Actor, name: str) -> int:
    """Refuse the site's agent, and every enrolment, until a new one is made, and place nothing
    there meanwhile. Returns how many this ended."""
    row = run_by(step, actor, name, hold=True)
    ended = identity.revoke_site(step, row.id)
    if ended:
        presence.say_not_now(step, row.id, "its agent's credential was revoked")
        step.ring(f"site:{name}")  # a call that waits is refused now
    return ended


def add_operator(step: Step, name: str, person_name: str) -> bool:
    """Whether they did not run it before."""
    return identity.add_operator(step, id_of(step, name), person_name)


def remove_operator(step: Step, name: str, person_name: str) -> None:
    identity.remove_operator(step, id_of(step, name), person_name)


# --- offers


def lend(
    step: Step,
    name: str,
    partition: str,
    owners: Sequence[OwnerShare],
    *,
    start_s: int,
    end_s: int | None = None,
    price_cents: int | None = None,
) -> Offer:
    """Lend a partition for its owners, from `start_s` until just before `end_s` (None: on and on).
    It need not be announced yet. Conflict when it is lent in that time already. Its name may be
    Slurm's own, with capitals.
    `price_cents` is what an accelerator-hour (core-hour) costs who comes by the paid door.
    """
    partition = partition.lower()
    check_name("partition", partition)
    check_owners(owners)
    if start_s < 0 or (end_s is not None and end_s <= start_s):
        raise InvalidInput(
            f"an offer can't last from {show_moment(start_s)} to {show_moment(end_s)}",
            hint="the end after the start, which is not before 1970",
            field="end_s",
        )
    row = site_row(step, store.sites.c.name == name, name, hold=True)
    other = store.overlapping_offer(step, row.id, partition, start_s, end_s)
    if other is not None:
        raise Conflict(
            f"{name}/{partition} is lent in that time already, by offer {other}",
            hint="end that offer first, or choose another time",
            offer=other,
        )
    offer_id = new_id("offer", step.entropy)
    step.add(
        store.offers,
        [
            {
                "id": offer_id,
                "site_id": row.id,
                "partition": partition,
                "start_s": start_s,
                "end_s": end_s,
                "created_ms": step.now_ms,
                "price_cents": price_cents,
            }
        ],
    )
    step.add(
        store.offer_shares,
        [{"offer_id": offer_id, "owner": one.owner, "weight": one.weight} for one in owners],
    )
    refusals.forget(step, row.id)
    shares = tuple(sorted(owners, key=lambda share: share.owner))
    return Offer(offer_id, name, partition, start_s, end_s, shares, price_cents)


def end_offer(step: Step, name: str, offer_id: str, end_s: int | None = None) -> bool:
    """Let an offer end earlier than agreed: not in the past, and never later than before. Without
    `end_s` now; one that has not begun is then taken back. False where it ends so already."""
    row = site_row(step, store.sites.c.name == name, name, hold=True)
    offer = store.offer_end(step, row.id, offer_id)
    if offer is None:
        raise NotFound(f"{name} has no offer {offer_id}")
    earliest = max(offer.start_s, step.now_s)
    if offer.end_s is not None and (end_s or min(earliest, offer.end_s)) == offer.end_s:
        return False
    end_s = earliest if end_s is None else end_s
    if end_s < earliest or (offer.end_s is not None and end_s > offer.end_s):
        raise InvalidInput(
            f"this offer can't end at {show_moment(end_s)}",
            hint=f"from {show_moment(earliest)} to {show_moment(offer.end_s)}; make a new one",
            field="end_s",
        )
    store.set_offer_end(step, offer_id, end_s)
    refusals.forget(step, row.id)
    return True


def offers_of(step: Step, site: Site) -> list[Offer]:
    """The offers of a site that have not ended, by partition and start. One query."""
    return _offers(store.offers_after(step, site.id, step.now_s))


# --- what the broker and others ask


def ids_of(step: Step, names: Iterable[str]) -> dict[str, str]:
    """Ids by name. One query."""
    return store.ids_of(step, names)


def why_shut(step: Step, names: Iterable[str]) -> dict[tuple[str, str], str]:
    """Why partitions of these sites take nothing new, or less than they have, in the site's own
    words, by site and partition. One query at most."""
    rows = store.why_shut(step, names)
    found = {(row.site, row.name): row.why or (row.shortage or {}).get("why") for row in rows}
    return {place: why for place, why in found.items() if why}


def heard_of(step: Step) -> list[Any]:
    """Every open site (id, name, last_heard_ms, incarnation), by name. One query."""
    return store.heard_of(step)


def names_of(step: Step, ids: Iterable[str]) -> dict[str, str]:
    """Names by id. One query."""
    return store.names_of(step, ids)


def id_of(step: Step, name: str) -> str:
    return str(site_row(step, store.sites.c.name == name, name).id)


def offers_at(step: Step, now_s: int) -> dict[tuple[str, str], Offer]:
    """The offer that holds now, by (site name, partition); there is at most one. One query."""
    found = _offers(store.offers_at(step, now_s))
    return {(offer.site, offer.partition): offer for offer in found}


def partition_states(
    step: Step, now_s: int, *, silent_after_s: int = SILENT_AFTER_S, hub_start_s: int = 0
) -> list[PartitionState]:
    """Every partition of every site now, by name; the broker adds what occupies them. One query.

    Silence is counted from `hub_start_s` at the earliest: nobody could call while the hub was
    away.
    """
    return [
        PartitionState(
            site=row.site,
            partition=as_partition(row.spec),
            offered=bool(row.offered),
            drained=row.drained_reason is not None
            or row.not_now is not None
            or not capacity.usable_nodes(row),
            silent_since_s=silent_since(row.last_heard_ms, now_s, silent_after_s, hub_start_s),
            allowed_projects=_ids(row.allowed_projects),
            freed_lately=turnover.lately(row.turnover, step.now_ms),
            usable_nodes=capacity.usable_nodes(row) or None if row.shortage else None,
            others=others.at(row.others, now_s),
        )
        for row in store.partition_states(step, now_s)
    ]


def operated(step: Step, actor: Actor, name: str) -> str:
    """The id of a site that `actor` runs; NotAllowed to others. One query."""
    return str(run_by(step, actor, name).id)


# --- helpers


def site_row(step: Step, condition: Any, word: str, *, hold: bool = False) -> Any:
    row = store.site_where(step, condition, hold=hold)
    if row is None:
        raise NotFound(f"there is no site {word!r}", hint="`meyrin site list` shows them")
    return row


def run_by(step: Step, actor: Actor, name: str, *, hold: bool = False) -> Any:
    row = site_row(step, store.sites.c.name == name, name, hold=hold)
    if not actor.runs_site(row.id):
        raise NotAllowed(f"this needs an operator of {name}", hint="ask one of its operators")
    return row


def _set(step: Step, actor: Actor, name: str, column: str, value: Any) -> Site:
    row = run_by(step, actor, name)
    if store.set_field(step, row.id, store.sites.c[column], value):
        world.moved(step)
        capacity.note(step)
    return site(step, row.id)


def check_owners(owners: Sequence[OwnerShare]) -> None:
    """Raises InvalidInput for owners that an offer can't have."""
    for one in owners:
        check_name("owner", one.owner)
        if not 1 <= one.weight <= 10**12:
            raise InvalidInput(
                f"{one.owner} can't have the weight {one.weight}", hint="a whole number from 1 on"
            )
    if not 1 <= len(owners) <= MAX_OWNERS or len({one.owner for one in owners}) != len(owners):
        raise InvalidInput(
            f"an offer can't have these {len(owners)} owners",
            hint=f"each owner once, 1 to {MAX_OWNERS} of them",
            field="owners",
        )


def _with_partitions(step: Step, rows: list[Any]) -> list[Site]:
    found: dict[str, list[Partition]] = {row.id: [] for row in rows}
    for part in store.partitions_of(step, list(found)):
        found[part.site_id].append(as_partition(part.spec))
    return [as_site(row, tuple(found[row.id])) for row in rows]


def as_site(row: Any, partitions: tuple[Partition, ...]) -> Site:
    return Site(
        id=row.id,
        name=row.name,
        title=row.title,
        batch_kind=row.batch_kind,
        incarnation=row.incarnation,
        created_ms=row.created_ms,
        drained_reason=row.drained_reason,
        last_heard_ms=row.last_heard_ms,
        allowed_projects=_ids(row.allowed_projects),
        closed_ms=row.closed_ms,
        not_now=row.not_now,
        about=row.about or {},
        lend_proposed=bool(row.lend_proposed),
        partitions=partitions,
    )


def _spec(partition: Partition) -> dict[str, Any]:
    spec = asdict(partition) | {"features": list(partition.features)}
    if partition.max_accelerators_per_job is None:
        del spec["max_accelerators_per_job"]  # the release before knows no such field
    return spec


def _ids(stored: list[str] | None) -> tuple[str, ...] | None:
    return None if stored is None else tuple(stored)


def _offers(rows: list[Any]) -> list[Offer]:
    """Offers from one row per share; the rows of an offer stand together."""
    found = []
    for _, group in groupby(rows, key=lambda row: row.id):
        shares = list(group)
        first = shares[0]
        owners = tuple(OwnerShare(row.owner, row.weight) for row in shares)
        found.append(
            Offer(
                first.id,
                first.site,
                first.partition,
                first.start_s,
                first.end_s,
                owners,
                first.price_cents,
            )
        )
    return found
