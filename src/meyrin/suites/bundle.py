"""Evidence in one file: a research object with facts, Inspect's log, statement and signatures.

A bundle is a zip in one form only: members stored, in the order of their names, no times, no
comments. So every byte of it is either a member's content, whose digest is signed, or follows
from the members: there is no byte that could be changed unseen.

    facts.jsonl              what happened: see `facts`
    log/…                    Inspect's own log of each shard
    model.json               the model's files
    model.sig, model.pub     model-signing's signature of them, and the key that it is checked with
    reached.jsonl            connections that the model asked for; how often a served one was asked
    job.json                 whether what ran it could read the key that it is signed with, and
                             the address and digest of the archive that the model came in
    ro-crate-metadata.json   which file is what, for people and archives
    statement.json           an in-toto test result about all files above, signed by the site
    receipt.json             the hub's signature of that, with when it came: see `receipt`

What a job hands in is a bundle without statement: a *draft*. The site's agent seals it, and binds
it to the attempt that left it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from meyrin.domain.errors import InvalidInput
from meyrin.domain.units import show_count
from meyrin.suites import facts as all_facts
from meyrin.suites import keys
from meyrin.suites.environment import model_files
from meyrin.suites.facts import Facts, SampleFact, canonical

STATEMENT, FACTS, CRATE = "statement.json", "facts.jsonl", "ro-crate-metadata.json"
MODEL, MODEL_SIGNATURE, REACHED = "model.json", "model.sig", "reached.jsonl"
MODEL_KEY, JOB, RECEIPT = "model.pub", "job.json", "receipt.json"
# where the key was while the run went on
APART, SHARED, WITH_RUN, UNKNOWN = "apart", "shared", "with the run", "unknown"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
MOST_BYTES = 256 * 2**20  # it is read whole, by sites, hubs and whoever verifies
ABOUT = {
    FACTS: "Facts of the run: one line for the run, one for each sample",
    MODEL: "The model's files with their SHA-256",
    MODEL_SIGNATURE: "Signature of the model's files by model-signing",
    MODEL_KEY: "Public key of that signature",
    REACHED: "Connections that the model asked for, and how often a served model was asked",
    JOB: "Whether what ran it could read the key that it is signed with",
    STATEMENT: "Signed in-toto statement about all other files",
}
_ADDED = {MODEL_SIGNATURE, MODEL_KEY, CRATE, STATEMENT, RECEIPT}  # by those who sign


@dataclass(frozen=True, slots=True)
class Word:
    """What a site says beside the facts. `attempt` and `job` are "" where no job was behind it;
    `handed_in` is the SHA-256 of the draft; `key` says where the key was."""

    attempt: str = ""
    job: str = ""
    handed_in: str = ""
    key: str = UNKNOWN


def draft(
    facts: Facts,
    model: Path | None,
    logs: Mapping[str, bytes],
    reached: bytes,
    key_is: str,
    source: str = "",
) -> bytes:
    """What a run hands in to be signed; `source` is where whoever asked says the model is from."""
    members = {FACTS: all_facts.dump(facts), **{f"log/{n}": raw for n, raw in logs.items()}}
    told = {"site_key": key_is, **({"model_from": source} if source else {})}
    members[JOB] = canonical(told)
    if reached:
        members[REACHED] = reached
    if model is not None:
        members[MODEL] = canonical([list(each) for each in model_files(model)])
    return _bounded(zipped(members))


def seal(
    handed_in: bytes, secret: bytes, model: Path | None, attempt: str = "", job: str = ""
) -> bytes:
    """The bundle of a draft, signed with the site's key. Whoever signs has checked it before."""
    members = drafted(unzipped(handed_in))
    facts = all_facts.parse(members[FACTS], FACTS)
    word = replace(word_of(members), attempt=attempt, job=job)
    if model is not None:
        members[MODEL_SIGNATURE] = _sign_weights(model, secret)
        members[MODEL_KEY] = weights_public(secret)
    members[CRATE] = _crate(facts, members)
    payload = canonical(statement(facts, members, word))
    members[STATEMENT] = envelope(payload, [signature(payload, secret)])
    return _bounded(zipped(members))


def pack(
    facts: Facts, secret: bytes, model: Path | None, logs: Mapping[str, bytes], reached: bytes = b""
) -> bytes:
    """The bundle of a run that its own program signs, with no job behind it."""
    return seal(draft(facts, model, logs, reached, WITH_RUN), secret, model)


def drafted(members: Mapping[str, bytes]) -> dict[str, bytes]:
    """What of a bundle's members was handed in."""
    return {name: raw for name, raw in members.items() if name not in _ADDED}


def word_of(members: Mapping[str, bytes]) -> Word:
    """What the draft in these members lets a site say of it."""
    parts = drafted(members)
    told = json.loads(parts.get(JOB, b"{}"))
    where = str(told.get("site_key", UNKNOWN)) if isinstance(told, dict) else UNKNOWN
    digest = hashlib.sha256(zipped(parts)).hexdigest()
    return Word(handed_in=digest, key=where if where in {APART, SHARED, WITH_RUN} else UNKNOWN)


def _bounded(raw: bytes) -> bytes:
    check_size(len(raw))
    return raw


def check_size(size: int) -> None:
    """InvalidInput where so many bytes are more than evidence may have: ask before reading them."""
    if size > MOST_BYTES:
        most, has = MOST_BYTES // 2**20, -(-size // 2**20)
        raise InvalidInput(
            f"evidence has {most} MiB at most; this would have {has:,}",
            hint="run the suite in more, smaller parts, or let it log less",
            field="bundle",
        )


# --- the statement


def statement(facts: Facts, members: Mapping[str, bytes], word: Word) -> dict[str, Any]:
    """The test result: about every file but the signatures, and the model, with the site's word."""
    run = facts.run
    prints = run.fingerprints
    about = sorted(set(members) - {STATEMENT, RECEIPT})
    subjects = [descriptor(name, members[name]) for name in about]
    return {
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": TEST_RESULT,
        "predicate": {
            "result": result(facts.samples),
            "configuration": [
                {"name": name, "annotations": {"told": str(getattr(prints, name))}}
                for name in all_facts.FINGERPRINTS
            ],
            "passedTests": _tests(facts.samples, passed=True),
            "failedTests": _tests(facts.samples, passed=False),
            "meyrin": {
                "root": facts.root,
                "samples": len(facts.samples),
                "run": asdict(run),
                "site": asdict(word),
            },
        },
    }


def result(samples: tuple[SampleFact, ...]) -> str:
    """PASSED only when every score of every sample is full; a gate's verdict is another thing."""
    values = [value for sample in samples for _, value in sample.scores]
    if not samples or any(value is not None and value < 1 for value in values):
        return "FAILED"
    unscored = any(value is None for value in values) or any(s.error for s in samples)
    return "WARNED" if unscored or not values else "PASSED"


def _tests(samples: tuple[SampleFact, ...], *, passed: bool) -> list[str]:
    """Each task's score as `task/score: full of all`, by whether it is full."""
    full: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for sample in samples:
        for name, value in sample.scores:
            row = full[sample.task, name]
            row[0] += value is not None and value >= 1
            row[1] += 1
    return [
        f"{task}/{name}: {good} of {count}"
        for (task, name), (good, count) in sorted(full.items())
        if (good == count) is passed
    ]


def descriptor(name: str, raw: bytes) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": hashlib.sha256(raw).hexdigest()}}


# --- the envelope (DSSE)


def pae(payload: bytes) -> bytes:
    """What is signed: the pre-authentication encoding of DSSE 1.0."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def signature(payload: bytes, secret: bytes) -> dict[str, str]:
    public = keys.public_of(secret)
    mark = base64.b64encode(keys.sign(secret, pae(payload))).decode()
    keyid = hashlib.sha256(bytes.fromhex(public)).hexdigest()
    return {"keyid": keyid, "public": public, "sig": mark}


def envelope(payload: bytes, signatures: list[dict[str, str]]) -> bytes:
    told = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": sorted(signatures, key=lambda each: each["public"]),
    }
    return canonical(told)


def opened(raw: bytes) -> tuple[bytes, list[dict[str, str]]]:
    """Payload and signatures of an envelope that is in its one form; else ValueError."""
    told = json.loads(raw)
    payload = base64.b64decode(told["payload"], validate=True)
    signatures = [
        {k: str(each[k]) for k in ("keyid", "public", "sig")} for each in told["signatures"]
    ]
    if envelope(payload, signatures) != raw:
        raise ValueError("the envelope is not in its one form")
    return payload, signatures


# --- the weights


def _sign_weights(model: Path, secret: bytes) -> bytes:
    """model-signing's own bundle over the model's files."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from model_signing import signing  # noqa: PLC0415 - slow to load

    with tempfile.TemporaryDirectory(prefix="meyrin-key-") as folder:
        key, out = Path(folder, "key.pem"), Path(folder, "model.sig")
        key.touch(mode=0o600)
        pem = keys.weights_key(secret).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        key.write_bytes(pem)
        config = signing.Config()  # type: ignore[no-untyped-call]
        config.use_elliptic_key_signer(private_key=key).sign(model, out)
        return out.read_bytes()


def weights_public(secret: bytes) -> bytes:
    """The public half of the key that signs weights, as PEM."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    public = keys.weights_key(secret).public_key()
    return public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


# --- the research object


def _crate(facts: Facts, members: Mapping[str, bytes]) -> bytes:
    """RO-Crate 1.1 metadata: what the bundle is and what each file in it."""
    run = facts.run
    names = [*sorted(members), STATEMENT]
    when = datetime.fromtimestamp(run.ended_ms // 1000, tz=UTC).isoformat()
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Evidence: {run.model} on suite {run.suite} {run.version}, seed {run.seed}",
        "description": f"{show_count(len(facts.samples), 'sample')} at site {run.site}, "
        f"root {facts.root}",
        "datePublished": when,
        "license": {"@id": "https://creativecommons.org/publicdomain/zero/1.0/"},
        "hasPart": [{"@id": name} for name in names],
    }
    files = [
        {
            "@id": name,
            "@type": "File",
            "name": ABOUT.get(name, "Inspect's own log of one shard"),
            "encodingFormat": _kind(name),
        }
        for name in names
    ]
    about = {
        "@id": CRATE,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
    }
    context = "https://w3id.org/ro/crate/1.1/context"
    return canonical({"@context": context, "@graph": [about, root, *files]})


def _kind(name: str) -> str:
    endings = {
        ".jsonl": "application/jsonl", ".eval": "application/zip", ".pub": "application/x-pem-file"
    }  # fmt: skip
    return endings.get(Path(name).suffix, "application/json")


# --- the zip


def zipped(members: Mapping[str, bytes]) -> bytes:
    """The members as a zip in the one form."""
    return _zip(members).getvalue()


def _zip(members: Mapping[str, bytes]) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        for name in sorted(members):
            about = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            about.create_system = 3
            about.external_attr = 0o100644 << 16
            file.writestr(about, members[name])
    return out


def unzipped(raw: bytes) -> dict[str, bytes]:
    """The members of a bundle; ValueError unless it is exactly what `zipped` makes of them."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as file:
            entries = file.infolist()
            if any(e.compress_type != zipfile.ZIP_STORED for e in entries):
                raise ValueError("members are not stored as they are")
            if sum(e.file_size for e in entries) > len(raw):
                raise ValueError("its members would be more than the file holds")
            members = {each.filename: file.read(each) for each in entries}
    # what zipfile raises of what is none, packed in a way it does not know, locked or cut
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(str(error)) from error
    if len(members) != len(entries) or _zip(members).getbuffer() != raw:
        raise ValueError("the file is not in its one form")
    return members
