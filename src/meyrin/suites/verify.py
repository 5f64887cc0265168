"""Checks a bundle offline, from itself and a trust file, and says which claim rests on what.

Needs neither Inspect nor a hub nor the network. A check that can't be made is not passed.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from meyrin.domain.errors import Failed, NotAllowed
from meyrin.suites import bundle, keys
from meyrin.suites import facts as all_facts
from meyrin.suites.bundle import CRATE, FACTS, MODEL, MODEL_KEY, MODEL_SIGNATURE, STATEMENT
from meyrin.suites.environment import model_files, weights_digest
from meyrin.suites.facts import Facts, canonical
from meyrin.suites.keys import Trusted


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that was checked, and the files that it rests on."""

    says: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verified:
    """A bundle that is whole. `signers` are (name, role, public key); names only if trusted."""

    facts: Facts
    claims: tuple[Claim, ...]
    signers: tuple[tuple[str, str, str], ...]

    @property
    def trusted(self) -> bool:
        return any(role == "site" for _, role, _ in self.signers)


def verify(
    raw: bytes, trust: Sequence[Trusted] | None = None, model: Path | None = None
) -> Verified:
    """Check everything that the bundle says of itself, and who signed it.

    Raises Failed when anything is not as it was signed. With `trust`, raises NotAllowed unless
    the site of the run, and a hub where the file names any, are among the signers. With `model`,
    that folder must be the model that was tested.
    """
    members = _checked("the bundle is not whole", lambda: bundle.unzipped(raw))
    needed = {FACTS, STATEMENT, CRATE}
    if not needed <= set(members):
        raise _broken(f"it lacks {', '.join(sorted(needed - set(members)))}")
    payload, signatures = _checked(
        "the statement can't be read", lambda: bundle.opened(members[STATEMENT])
    )
    _check_signatures(payload, signatures)
    facts = _checked("the facts", lambda: all_facts.parse(members[FACTS], FACTS))
    if canonical(bundle.statement(facts, members)) != payload:
        raise _broken(f"the signed statement is not about these files: {_first(payload, members)}")
    claims = [
        Claim(f"nothing was changed since {len(signatures)} signed it", tuple(sorted(members))),
        Claim(f"{len(facts.samples)} samples have the root {facts.root[:16]}…", (FACTS, STATEMENT)),
        Claim(_where(facts), (FACTS, STATEMENT)),
        *_weights(members, facts),
    ]
    if model is not None:
        if weights_digest(model_files(model)) != facts.run.fingerprints.weights:
            raise _broken(f"{model} is not the model that was tested")
        claims.append(Claim(f"{model} is the model that was tested", (MODEL, FACTS)))
    signers = _signers(signatures, trust or ())
    if trust is not None:
        _check_trust(signers, trust, facts)
        claims.append(Claim(_by(signers), (STATEMENT,)))
    return Verified(facts, tuple(claims), signers)


def _checked(what: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:
        raise _broken(f"{what}: {error}") from error


def _broken(why: str) -> Failed:
    return Failed(
        f"this is no evidence: {why}", hint="ask whoever made it for the file as it was signed"
    )


def _check_signatures(payload: bytes, signatures: list[dict[str, str]]) -> None:
    if not signatures:
        raise _broken("nobody signed it")
    for each in signatures:
        try:
            keyid = hashlib.sha256(bytes.fromhex(each["public"])).hexdigest()
            mark = base64.b64decode(each["sig"], validate=True)
        except ValueError as error:
            raise _broken("a signature can't be read") from error
        exact = base64.b64encode(mark).decode() == each["sig"] and keyid == each["keyid"]
        lower = each["public"] == each["public"].lower()
        if not (exact and lower and keys.signed(each["public"], bundle.pae(payload), mark)):
            raise _broken("a signature is not of this statement")


def _first(payload: bytes, members: Mapping[str, bytes]) -> str:
    """The first file that is not the one that was signed."""
    try:
        signed = {s["name"]: s["digest"]["sha256"] for s in json.loads(payload)["subject"]}
    except (ValueError, KeyError, TypeError):
        return "it is no statement"
    for name, raw in sorted(members.items()):
        if name != STATEMENT and signed.get(name) != hashlib.sha256(raw).hexdigest():
            return name
    missing = sorted(set(signed) - set(members))
    return missing[0] if missing else "what it says of the run is not what the facts say"


def _where(facts: Facts) -> str:
    run = facts.run
    held = run.isolation
    broken = f", not held: {', '.join(held.broken)}" if held.broken else ""
    return (
        f"suite {run.suite} {run.version} ran at {run.site} with seed {run.seed}, "
        f"isolation level {held.level} measured ({held.by}){broken}"
    )


# --- the weights


def _weights(members: Mapping[str, bytes], facts: Facts) -> Iterator[Claim]:
    """The list of the model's files is what the facts and model-signing's signature are about."""
    told = facts.run.fingerprints.weights
    if MODEL not in members:
        if len(told) == 64:
            raise _broken("it has no list of the model's files")
        yield Claim(f"nobody measured the model's weights ({told})", (FACTS,))
        return
    files = _checked("the list of the model's files", lambda: json.loads(members[MODEL]))
    listed = [(str(name), str(digest), int(size)) for name, digest, size in files]
    if weights_digest(listed) != told:
        raise _broken("the list of the model's files is not that of the facts")
    signature = _checked(
        "the signature of the weights", lambda: json.loads(members[MODEL_SIGNATURE])
    )
    key = _checked("the key of the weights", lambda: members[MODEL_KEY])
    _checked("the signature of the weights", lambda: _check_weights(signature, key, listed))
    yield Claim(
        f"the weights are {told[:16]}…, {len(listed)} files signed with model-signing",
        (MODEL, MODEL_SIGNATURE, MODEL_KEY, FACTS),
    )


def _check_weights(told: dict[str, Any], key: bytes, listed: list[tuple[str, str, int]]) -> None:
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    dsse = told["dsseEnvelope"]
    payload = base64.b64decode(dsse["payload"], validate=True)
    public = serialization.load_pem_public_key(key)
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise ValueError("its key is of another kind")
    mark = base64.b64decode(dsse["signatures"][0]["sig"], validate=True)
    public.verify(mark, bundle.pae(payload), ec.ECDSA(hashes.SHA256()))
    resources = json.loads(payload)["predicate"]["resources"]
    signed = {each["name"]: each["digest"] for each in resources}
    if signed != {name: digest for name, digest, _ in listed}:
        raise ValueError("it is about other files")


# --- who signed


def _signers(
    signatures: list[dict[str, str]], trust: Sequence[Trusted]
) -> tuple[tuple[str, str, str], ...]:
    known = {each.public: each for each in trust}
    found = []
    for each in signatures:
        who = known.get(each["public"])
        found.append((who.name, who.role, who.public) if who else ("", "", each["public"]))
    return tuple(found)


def _check_trust(
    signers: Sequence[tuple[str, str, str]], trust: Sequence[Trusted], facts: Facts
) -> None:
    site = any(role == "site" and name == facts.run.site for name, role, _ in signers)
    if not site:
        raise NotAllowed(
            f"nobody whom you trust signed it for the site {facts.run.site}",
            hint="is the site's key in the trust file?",
            site=facts.run.site,
        )
    wants_hub = any(each.role == "hub" for each in trust)
    if wants_hub and not any(role == "hub" for _, role, _ in signers):
        raise NotAllowed(
            "no hub that you trust has countersigned it", hint="`meyrin evidence sign` does"
        )


def _by(signers: Sequence[tuple[str, str, str]]) -> str:
    named = [f"{role} {name}" for name, role, _ in signers if role]
    return f"signed by {' and '.join(named)}"


def as_data(found: Verified) -> dict[str, Any]:
    """For `--json`."""
    return {
        "run": asdict(found.facts.run),
        "root": found.facts.root,
        "samples": len(found.facts.samples),
        "trusted": found.trusted,
        "signers": [{"name": n, "role": r, "public": p} for n, r, p in found.signers],
        "claims": [{"says": each.says, "files": list(each.files)} for each in found.claims],
    }
