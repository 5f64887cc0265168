"""Checks a bundle offline, from itself and a trust file, and says which claim rests on what.

Needs neither Inspect nor a hub nor the network. A check that can't be made is not passed, and a
signature that is missing is named with what its lack means. Who signed stands in `signers`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from meyrin.domain.errors import Failed
from meyrin.domain.units import show_count
from meyrin.suites import bundle, keys
from meyrin.suites import facts as all_facts
from meyrin.suites.bundle import (
    CRATE,
    FACTS,
    JOB,
    MODEL,
    MODEL_KEY,
    MODEL_SIGNATURE,
    RECEIPT,
    STATEMENT,
    Word,
)
from meyrin.suites.environment import model_files, weights_digest
from meyrin.suites.facts import Facts, canonical
from meyrin.suites.keys import Trusted
from meyrin.suites.receipt import JOB_KNOWN, Receipt, parse
from meyrin.suites.signers import Signer, check_trust, who_signed
from meyrin.suites.signers import words as _by


@dataclass(frozen=True, slots=True)
class Claim:
    """Something that was checked, and the files that it rests on."""

    says: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """A signature, or a vouching for one, that is not there, and what that means."""

    what: str
    means: str


@dataclass(frozen=True, slots=True)
class Verified:
    """A bundle that is whole. A signer without a name is one whom the trust file does not name."""

    facts: Facts
    claims: tuple[Claim, ...]
    signers: tuple[Signer, ...]
    word: Word
    receipt: Receipt | None
    missing: tuple[Missing, ...]

    @property
    def trusted(self) -> bool:
        """Whether the site of the run signed with a key that counts."""
        return any(each.role == "site" and each.name for each in self.signers)


def verify(
    raw: bytes,
    trust: Sequence[Trusted] | None = None,
    model: Path | None = None,
    *,
    hub: bool | None = None,
) -> Verified:
    """Check everything that the bundle says of itself, and who signed it.

    Raises Failed when anything is not as it was signed. With `trust`, raises NotAllowed unless
    the site of the run has signed with a key that counts, and a hub too: where `hub` says so, or
    by default where the trust names any. With `model`, that folder must be what was tested.
    """
    members = _checked("the bundle is not whole", lambda: bundle.unzipped(raw))
    if FACTS in members and STATEMENT not in members:
        raise _broken(
            "no site has signed it. It is what a job handed in, and anybody could have written it"
        )
    needed = {FACTS, STATEMENT, CRATE}
    if not needed <= set(members):
        raise _broken(f"it lacks {', '.join(sorted(needed - set(members)))}")
    payload, signatures = _checked(
        "the statement can't be read", lambda: bundle.opened(members[STATEMENT])
    )
    _check_signatures(payload, signatures)
    facts = _checked("the facts", lambda: all_facts.parse(members[FACTS], FACTS))
    word = _checked("the site's word", lambda: _word(payload, members))
    if canonical(bundle.statement(facts, members, word)) != payload:
        raise _broken(f"the signed statement is not about these files: {_first(payload, members)}")
    receipt, received_by = _receipt(members)
    claims = [
        Claim("nothing was changed since the site signed it", tuple(sorted(members))),
        Claim(
            f"{show_count(len(facts.samples), 'sample')}, with the root {facts.root[:16]}…",
            (FACTS, STATEMENT),
        ),
        Claim(_where(facts), (FACTS, STATEMENT)),
        Claim(_how_signed(word), (STATEMENT, *((JOB,) if JOB in members else ()))),
        *_weights(members, facts),
        *_source(members),
    ]
    if receipt is not None:
        claims.append(Claim(_how_received(receipt), (RECEIPT, STATEMENT)))
    if model is not None:
        if weights_digest(model_files(model)) != facts.run.fingerprints.weights:
            raise _broken(f"{model} is not the model that was tested")
        claims.append(Claim(f"{model} is the model that was tested", (MODEL, FACTS)))
    signers = who_signed(signatures, received_by, receipt, facts.run.site, trust or ())
    if trust is not None:
        wanted = any(each.role == "hub" for each in trust) if hub is None else hub
        check_trust(signers, facts.run.site, wanted)
        claims.append(Claim(_by(signers), (STATEMENT,)))
    missing = tuple(_missing(signers, word, receipt))
    return Verified(facts, tuple(claims), signers, word, receipt, missing)


def _word(payload: bytes, members: Mapping[str, bytes]) -> Word:
    """The site's word in the statement, which must be about what was handed in."""
    told = json.loads(payload)["predicate"]["meyrin"]["site"]
    return replace(bundle.word_of(members), attempt=str(told["attempt"]), job=str(told["job"]))


def _receipt(members: Mapping[str, bytes]) -> tuple[Receipt | None, list[dict[str, str]]]:
    if RECEIPT not in members:
        return None, []
    payload, signatures = _checked(
        "the receipt can't be read", lambda: bundle.opened(members[RECEIPT])
    )
    _check_signatures(payload, signatures)
    found = _checked("the receipt", lambda: parse(payload, members[STATEMENT]))
    return found, signatures


def _how_signed(word: Word) -> str:
    if not word.attempt:
        return "no attempt of a job is named: whoever ran it signed it"
    said = {
        bundle.APART: "the job tried to read the site's key and could not",
        bundle.SHARED: "the site's key was not separated: jobs there could read it",
    }.get(word.key, "nobody looked whether jobs could read the site's key")
    return f"signed by the agent of attempt {word.attempt} (job {word.job}) after it ended; {said}"


def _how_received(receipt: Receipt) -> str:
    job = "of a job that it knows" if JOB_KNOWN in receipt.checked else "of no job that it knows"
    when = datetime.fromtimestamp(receipt.received_ms // 1000, tz=UTC).isoformat(" ", "seconds")
    return f"the hub {receipt.hub} received it at {when[:19]} UTC, {job}"


def _missing(signers: Sequence[Signer], word: Word, receipt: Receipt | None) -> Iterator[Missing]:
    if receipt is None:
        yield Missing(
            "the hub's signature",
            "nobody but the site says when it was made, or that a job is behind it; "
            "no gate takes it",
        )
    for each in signers:
        if not each.name:
            yield Missing(
                f"somebody who vouches for the {each.role}'s key {each.public}",
                each.why or "anybody could have signed so: give --trust FILE",
            )
    if word.key == bundle.SHARED:
        yield Missing(
            "a key apart from the jobs",
            "whoever may run any script at this site could have signed in its name",
        )


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
        if name not in {STATEMENT, RECEIPT} and signed.get(name) != hashlib.sha256(raw).hexdigest():
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


def _source(members: Mapping[str, bytes]) -> Iterator[Claim]:
    told = json.loads(members.get(JOB, b"{}"))
    source = told.get("model_from") if isinstance(told, dict) else None
    if isinstance(source, str):
        yield Claim(f"whoever asked for the run says that the model came from {source}", (JOB,))


def _weights(members: Mapping[str, bytes], facts: Facts) -> Iterator[Claim]:
    """The list of the model's files is what the facts and model-signing's signature are about."""
    told = facts.run.fingerprints.weights
    if MODEL not in members:
        if len(told) == 64:
            raise _broken("it has no list of the model's files")
        yield Claim(f"nobody measured the model's weights ({told})", (FACTS,))
        return
    listed = _checked("the list of the model's files", lambda: _listed(members[MODEL]))
    if weights_digest(listed) != told:
        raise _broken("the list of the model's files is not that of the facts")
    signature = _checked(
        "the signature of the weights", lambda: json.loads(members[MODEL_SIGNATURE])
    )
    key = _checked("the key of the weights", lambda: members[MODEL_KEY])
    _checked("the signature of the weights", lambda: _check_weights(signature, key, listed))
    files = show_count(len(listed), "file")
    yield Claim(
        f"the weights are {told[:16]}…, {files} signed with model-signing",
        (MODEL, MODEL_SIGNATURE, MODEL_KEY, FACTS),
    )


def _listed(raw: bytes) -> list[tuple[str, str, int]]:
    return [(str(name), str(digest), int(size)) for name, digest, size in json.loads(raw)]


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


def as_data(found: Verified) -> dict[str, Any]:
    """For `--json`."""
    return {
        "run": asdict(found.facts.run),
        "root": found.facts.root,
        "samples": len(found.facts.samples),
        "trusted": found.trusted,
        "signers": [asdict(each) for each in found.signers],
        "site_signed": True,
        "hub_signed": found.receipt is not None,
        "site": asdict(found.word),
        "receipt": None if found.receipt is None else asdict(found.receipt),
        "missing": [asdict(each) for each in found.missing],
        "claims": [{"says": each.says, "files": list(each.files)} for each in found.claims],
    }
