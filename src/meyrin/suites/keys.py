"""Keys of sites and hubs: Ed25519 for evidence, an elliptic curve key beside it for weights.

A key is a file of 64 hexadecimal digits that only its owner can read; its public half is 64 more.
`model-signing` knows no Ed25519, so the weights are signed with a P-256 key drawn from the same
secret: one file to keep.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from meyrin.domain.errors import Failed, InvalidInput, NotFound

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ROLES = ("site", "hub")
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256


@dataclass(frozen=True, slots=True)
class Trusted:
    """Somebody whose signature counts, as what, under which public key.

    A key that was replaced has `ended_ms`: what a hub received before still counts. One that got
    into wrong hands has `revoked_ms`: nothing that it signed counts, whenever that was.
    """

    name: str
    role: str
    public: str
    ended_ms: int | None = None
    revoked_ms: int | None = None


def make(path: Path) -> str:
    """Write a new secret, or find the one that is there; the public key.

    The file appears whole or not at all: others may look for it at the same moment.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{os.urandom(8).hex()}")
        place = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(place, "w", encoding="ascii") as out:
                out.write(os.urandom(32).hex() + "\n")
                out.flush()
                os.fsync(out.fileno())
            with contextlib.suppress(FileExistsError):  # somebody else's was first
                os.link(fresh, path)
        finally:
            fresh.unlink()
    return public_of(read(path))


def read(path: Path) -> bytes:
    """The secret in a file."""
    try:
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        raise NotFound(
            f"there is no key {path}", hint="`meyrin evidence key FILE` makes one"
        ) from (None)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} is no key: 64 hexadecimal digits") from error
    if len(secret) != 32:
        raise InvalidInput(f"{path} is no key: 64 hexadecimal digits")
    return secret


def public_of(secret: bytes) -> str:
    return _signer(secret).public_key().public_bytes_raw().hex()


def sign(secret: bytes, message: bytes) -> bytes:
    return _signer(secret).sign(message)


def signed(public: str, message: bytes, signature: bytes) -> bool:
    """Whether this signature of the message is of that key."""
    _need()
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PublicKey,
    )

    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def _signer(secret: bytes) -> Ed25519PrivateKey:
    _need()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PrivateKey,
    )

    return Ed25519PrivateKey.from_private_bytes(secret)


def _need() -> None:
    try:
        import cryptography  # noqa: F401, PLC0415
    except ImportError as error:
        raise Failed(
            "signatures need the package cryptography, which is not installed",
            hint="pip install 'meyrin[suites]'",
        ) from error


def weights_key(secret: bytes) -> EllipticCurvePrivateKey:
    """The key that signs weights, always the same one of a secret."""
    _need()
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    drawn = hashlib.sha512(b"meyrin weights key\n" + secret).digest()
    return ec.derive_private_key(int.from_bytes(drawn) % (_ORDER - 1) + 1, ec.SECP256R1())


def read_trust(path: Path) -> tuple[Trusted, ...]:
    """A trust file: `{"keys": [{"name": …, "role": "site" or "hub", "public": …}, …]}`.

    `ended_ms` and `revoked_ms` may stand beside, as `meyrin evidence keys --json` writes them.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))["keys"]
        found = tuple(
            Trusted(
                str(each["name"]),
                str(each["role"]),
                str(each["public"]),
                _moment(each.get("ended_ms")),
                _moment(each.get("revoked_ms")),
            )
            for each in told
        )
    except OSError as error:
        raise NotFound(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{path} is no trust file",
            hint='{"keys": [{"name": "alpha", "role": "site", "public": "64 hex digits"}]}',
        ) from error
    for each in found:
        if each.role not in ROLES or len(each.public) != 64:
            raise InvalidInput(f"{path}: {each.name} is no key of a site or a hub")
    return found


def _moment(told: object) -> int | None:
    return None if told is None else int(str(told))
