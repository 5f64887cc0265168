"""Who signed a bundle: whose keys count, since when they do not any more, and why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from meyrin.domain.errors import NotAllowed
from meyrin.suites.facts import NO_SITE
from meyrin.suites.keys import Trusted
from meyrin.suites.receipt import Receipt


@dataclass(frozen=True, slots=True)
class Signer:
    """A signature as site or hub. `name` is "" unless the key counts; `why` says why not."""

    name: str
    role: str
    public: str
    why: str = ""


def who_signed(
    as_site: Sequence[Mapping[str, str]],
    as_hub: Sequence[Mapping[str, str]],
    receipt: Receipt | None,
    site: str,
    trust: Sequence[Trusted],
) -> tuple[Signer, ...]:
    """Each signature, and whether its key counts for what it signed, at the time it did."""
    known = {(each.role, each.public): each for each in trust}
    hubs = [_hub(known.get(("hub", each["public"])), each["public"], receipt) for each in as_hub]
    received_ms = receipt.received_ms if receipt and any(each.name for each in hubs) else None
    sites = [
        _site(known.get(("site", each["public"])), each["public"], site, received_ms)
        for each in as_site
    ]
    return (*sites, *hubs)


def check_trust(signers: Sequence[Signer], site: str, hub: bool) -> None:
    """NotAllowed unless the site's key counts, and a hub's where one is wanted."""
    wanted = {"site": f"nobody whom you trust signed it for the site {site}"}
    if hub:
        wanted["hub"] = "no hub that you trust has countersigned it"
    for role, words in wanted.items():
        mine = [each for each in signers if each.role == role]
        if any(each.name for each in mine):
            continue
        why = next((f": {each.why}" for each in mine if each.why), "")
        hint = f"is the {role}'s key among those that `meyrin evidence keys` shows?"
        if site == NO_SITE:
            hint = "it was run with --local, behind which is no job; without --local it is one"
        raise NotAllowed(f"{words}{why}", hint=hint, site=site)


def words(signers: Sequence[Signer]) -> str:
    named = [f"{each.role} {each.name}" for each in signers if each.name]
    return f"signed by {' and '.join(named)}"


def _hub(known: Trusted | None, public: str, receipt: Receipt | None) -> Signer:
    why = _why_not(known, receipt.received_ms if receipt else None)
    return Signer("" if why or known is None else known.name, "hub", public, why)


def _site(known: Trusted | None, public: str, site: str, received_ms: int | None) -> Signer:
    why = _why_not(known, received_ms)
    if known is not None and known.name != site:
        why = why or f"the key is that of {known.name}"
    return Signer("" if why or known is None else known.name, "site", public, why)


def _why_not(known: Trusted | None, received_ms: int | None) -> str:
    if known is None:
        return ""
    if known.revoked_ms is not None:
        return f"the key was revoked on {_day(known.revoked_ms)}, and nothing it signed counts"
    if known.ended_ms is None:
        return ""
    if received_ms is None:
        return f"the key ended on {_day(known.ended_ms)}, and no trusted hub says it came before"
    if received_ms >= known.ended_ms:
        return f"the key ended on {_day(known.ended_ms)}, and it came later"
    return ""


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, tz=UTC).date().isoformat()
