"""Signatures of a plan: Ed25519 over its digest, who signs as what, and when.

A signature says its time, and a hub that keeps the plan says another; a plan counts from the
latest of them all. A key is a file of 64 hexadecimal digits that only its owner can read.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from meyrin.domain.errors import InvalidInput, NotAllowed, NotFound, Refused
from meyrin.suites.facts import canonical
from meyrin.suites.gate.plan import Plan, from_data, read_json

ROLES = ("owner", "reviewer")


@dataclass(frozen=True, slots=True)
class Signature:
    role: str
    name: str
    key: str
    signed_ms: int
    signature: str


@dataclass(frozen=True, slots=True)
class SignedPlan:
    """A plan with what was signed. `registered_ms` is a hub's own time of receipt, 0 without."""

    plan: Plan
    signatures: tuple[Signature, ...] = ()
    registered_ms: int = 0

    @property
    def since_ms(self) -> int | None:
        """From when on the plan counts; None as long as it is not signed by both."""
        good = {each.role: each for each in self.signatures if counts(self.plan, each)}
        if set(good) != set(ROLES):
            return None
        return max(self.registered_ms, *(each.signed_ms for each in good.values()))

    def as_data(self) -> dict[str, Any]:
        return {
            "plan": {"plan": 1, **self.plan.model_dump(mode="json")},
            "digest": self.plan.digest,
            "signatures": [asdict(each) for each in self.signatures],
            "registered_ms": self.registered_ms,
        }


def message(plan: Plan, role: str, name: str, signed_ms: int) -> bytes:
    """What is signed. Its first line keeps it from being taken for another signature."""
    told = {"digest": plan.digest, "name": name, "role": role, "signed_ms": signed_ms}
    return b"meyrin gate plan\n" + canonical(told)


def sign(signed: SignedPlan, secret: str, role: str, now_ms: int) -> SignedPlan:
    """The plan with one more signature. NotAllowed when the key is not the one that it names."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - slow to load
        Ed25519PrivateKey,
    )

    who = _signer(signed.plan, role)
    if public_of(secret) != who.key:
        raise NotAllowed(
            f"this key is not the one that the plan names for its {role} {who.name}",
            hint="sign with the key of that person, or write the plan with the right public key",
        )
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    mark = key.sign(message(signed.plan, role, who.name, now_ms)).hex()
    new = Signature(role, who.name, who.key, now_ms, mark)
    others = tuple(each for each in signed.signatures if each.role != role)
    if len(others) < len(signed.signatures):
        raise Refused(f"the {role} has signed already", hint="a changed plan is a new file")
    return SignedPlan(signed.plan, (*others, new), signed.registered_ms)


def counts(plan: Plan, each: Signature) -> bool:
    """Whether this is the signature of the person whom the plan names for the role."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - slow to load
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PublicKey,
    )

    if each.role not in ROLES:
        return False
    who = _signer(plan, each.role)
    if (each.name, each.key) != (who.name, who.key):
        return False
    told = message(plan, each.role, each.name, each.signed_ms)
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(who.key))
        key.verify(bytes.fromhex(each.signature), told)
    except (InvalidSignature, ValueError):
        return False
    return True


def new_key(path: Path) -> str:
    """Write a new secret key, readable by its owner alone; returns the public one."""
    secret = os.urandom(32).hex()
    try:
        place = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Refused(f"{path} is there already", hint="a key is never written over") from None
    with os.fdopen(place, "w", encoding="ascii") as out:
        out.write(secret + "\n")
    return public_of(secret)


def read_key(path: Path) -> str:
    try:
        secret = path.read_text(encoding="ascii").strip()
        if len(bytes.fromhex(secret)) == 32:
            return secret
    except FileNotFoundError:
        raise NotFound(
            f"there is no file {path}", hint="`meyrin gate key FILE` makes a key"
        ) from None
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} is no key", hint="`meyrin gate key FILE` makes one") from error
    raise InvalidInput(f"{path} is no key", hint="`meyrin gate key FILE` makes one")


def public_of(secret: str) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - slow to load
        Ed25519PrivateKey,
    )

    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret))
    return key.public_key().public_bytes_raw().hex()


def signed_from_data(told: Any, source: str = "plan") -> SignedPlan:
    """A signed plan from parsed JSON; a digest that is not the plan's own is refused."""
    if not isinstance(told, dict) or not isinstance(told.get("signatures"), list):
        raise InvalidInput(f"{source} is no signed plan", hint="`meyrin gate plan make` writes one")
    plan = from_data(told.get("plan"), source)
    if told.get("digest") != plan.digest:
        raise InvalidInput(
            f"{source}: the digest is not that of the plan",
            hint="it was changed after it was made; make it again and have it signed again",
        )
    try:
        marks = tuple(_typed(Signature(**each)) for each in told["signatures"])
        registered_ms = int(told.get("registered_ms", 0))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{source}: a signature can't be read") from error
    return SignedPlan(plan, marks, registered_ms)


def read_signed(path: Path) -> SignedPlan:
    return signed_from_data(read_json(path), str(path))


def _typed(mark: Signature) -> Signature:
    words = (mark.role, mark.name, mark.key, mark.signature)
    if not all(isinstance(each, str) for each in words) or type(mark.signed_ms) is not int:
        raise ValueError("a signature is words and a time")
    return mark


def _signer(plan: Plan, role: str) -> Any:
    if role not in ROLES:
        raise InvalidInput(f"{role!r} signs no plan", hint=f"one of {', '.join(ROLES)}")
    return plan.owner if role == "owner" else plan.reviewer
