"""What the site's file proposes to lend, beside what is lent: only the hub's administrator lends.

An edit of `[[offer]]` changes nothing that is lent; here is said where the two differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from itertools import combinations

import structlog

from meyrin.agent.config import AgentConfig, Offer
from meyrin.domain.errors import MeyrinError
from meyrin.wire.agents import LentOffer, SelfReply

log = structlog.get_logger("meyrin.agent")


def first_second(day: date | None) -> int | None:
    return None if day is None else int(datetime.combine(day, time(), UTC).timestamp())


def differences(offers: Sequence[Offer], reply: SelfReply) -> Iterator[tuple[str, str]]:
    """Where the file differs from what is lent, each with the way out."""
    lent = reply.offers or ()
    now_s = reply.now_ms // 1000
    as_said = {each.id for each in lent for one in offers if _same(one, each, now_s)}
    for one in offers:
        if any(_same(one, each, now_s) for each in lent):
            continue
        # what stands as another [[offer]] says, or at another time, is not in its way
        ours = [each for each in lent if each.id not in as_said and _meets(one, each)]
        words = f"[[offer]] of {one.partition} ({_told(one.owners, first_second(one.until))}) "
        if not ours:
            words += "is not lent"
        else:
            words += f"differs from what is lent: {'; '.join(_lent(each) for each in ours)}"
        ends = [f"meyrin site end-offer {reply.site} {each.id}" for each in ours]
        yield words, _administrator(*ends, _command(reply.site, one))
    proposed = {one.partition for one in offers}
    for each in lent:
        if each.partition not in proposed:
            words = f"no [[offer]] proposes {each.partition}, and it is lent: {_lent(each)}"
            yield words, _administrator(f"meyrin site end-offer {reply.site} {each.id}")


def tell(who: Callable[[], SelfReply], offers: Sequence[Offer]) -> None:
    """Say in the log where the file differs from what is lent, if the hub answers."""
    try:
        reply = who()
    except MeyrinError:
        return
    if reply.offers is None:  # a hub of before does not say
        return
    for words, way_out in differences(offers, reply):
        log.warning("agent.offer_differs", words=words, hint=way_out)


def shared(config: AgentConfig, nodes: Mapping[str, frozenset[str]]) -> Iterator[tuple[str, str]]:
    """Pairs of partitions that are offered for the same time and have nodes in common."""
    for one, other in combinations(config.offer, 2):
        both = nodes.get(one.partition, frozenset()) & nodes.get(other.partition, frozenset())
        if both and one.partition != other.partition and one.meets(other):
            yield one.partition, other.partition


def _meets(one: Offer, lent: LentOffer) -> bool:
    until_s = first_second(one.until)
    begins = until_s is None or lent.start_s < until_s
    return (
        one.partition == lent.partition
        and begins
        and (lent.end_s is None or (first_second(one.start) or 0) < lent.end_s)
    )


def _same(one: Offer, lent: LentOffer, now_s: int) -> bool:
    if one.partition != lent.partition:
        return False
    start_s = first_second(one.start) or 0
    begins = lent.start_s == start_s or max(lent.start_s, start_s) <= now_s
    owners = {each.owner: each.weight for each in lent.owners}
    return begins and owners == one.owners and lent.end_s == first_second(one.until)


def _lent(one: LentOffer) -> str:
    owners = {each.owner: each.weight for each in one.owners}
    return f"{_told(owners, one.end_s)}, offer {one.id}"


def _told(owners: Mapping[str, int], end_s: int | None) -> str:
    parts = ", ".join(f"{owner} = {weight}" for owner, weight in sorted(owners.items()))
    return f"{parts}, {'on and on' if end_s is None else f'until {_day(end_s)}'}"


def _day(at_s: int) -> str:
    at = datetime.fromtimestamp(at_s, UTC)
    return f"{at:%Y-%m-%d}" if at.time() == time() else f"{at:%Y-%m-%d %H:%M} UTC"


def _command(site: str, one: Offer) -> str:
    owners = "".join(f" --owner {name}={weight}" for name, weight in sorted(one.owners.items()))
    start = "" if one.start is None else f" --from {one.start}"
    until = "" if one.until is None else f" --until {one.until}"
    return f"meyrin site offer {site} {one.partition}{owners}{start}{until}"


def _administrator(*commands: str) -> str:
    return f"ask the hub's administrator: {'; '.join(commands)}"
