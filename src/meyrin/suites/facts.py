"""What is a fact about one run of a suite, its canonical root, and its file.

Knows the standard library and the domain only, so that gates and verifiers read facts without
Inspect. Times, usage and identifiers that change from run to run are no facts about a sample and
never enter the root.

**The file**: UTF-8 lines, each ended by one LF. The first line is the run, each further line one
sample. A line is JSON in canonical form: keys sorted by code point, no white space, no escapes
but those that JSON demands (`\\"`, `\\\\`, `\\b \\f \\n \\r \\t`, `\\u00xx` below U+0020; a lone
surrogate becomes U+FFFD), integers in decimal, fractions as the shortest decimal that reads back
as the same double, always with a point or an exponent (`1.0`, `0.25`, `1e-07`), `-0.0` as `0.0`;
no NaN, no infinity. Samples stand in the order of their id's UTF-8 bytes, then epoch; each pair
once.

**The root**: a leaf is SHA-256 of the byte 00 and a sample's line without its LF; a node SHA-256
of the byte 01 and its two children; n leaves are split after the largest power of two below n
(as in RFC 6962); no leaves at all have the SHA-256 of nothing. Written as 64 hexadecimal digits.
The run's line does not enter the root: the same samples at another site have the same root.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from meyrin.domain.errors import Conflict, InvalidInput
from meyrin.domain.units import LAST_S

NO_SITE = "here"  # what a run outside of any job calls its site
FORMAT = 1
FINGERPRINTS = ("weights", "data", "environment", "engine", "plan")
_HEX = re.compile(r"[0-9a-f]{64}")
_LAST_MS = LAST_S * 1000


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """What a result depends on besides suite and seed: SHA-256 digests, or words where none is.

    `weights` of the model's files, `data` of all items with their targets, `environment` of the
    interpreter and every installed package, `engine` what ran the samples and its version, `plan`
    of the gate's plan that the run was made for, None where there was none.
    """

    weights: str
    data: str
    environment: str
    engine: str
    plan: str | None = None


@dataclass(frozen=True, slots=True)
class Isolation:
    """What a probe measured where the samples ran; nothing here is what was merely asked for.

    `level`: 0 none, 1 no network, 2 also a read-only system without secrets and with limits.
    `by` names what enforced it, `held` the attempts that failed, `broken` those that succeeded.
    """

    level: int = 0
    by: str = "none"
    held: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One run. `planned` samples were to be made; `finished` says that all of them were."""

    suite: str
    version: str
    seed: int
    model: str
    fingerprints: Fingerprints
    planned: int
    started_ms: int
    ended_ms: int
    finished: bool
    site: str
    isolation: Isolation = field(default_factory=Isolation)


@dataclass(frozen=True, slots=True)
class SampleFact:
    """One sample. A score of None is unscored; `error` names what went wrong, "" for nothing.

    `cluster` is what makes samples depend on each other (a template, a document); `task` the part
    of the suite that it belongs to.
    """

    id: str
    epoch: int
    task: str
    cluster: str
    input: str
    target: str
    output: str
    scores: tuple[tuple[str, float | None], ...] = ()
    error: str = ""

    def score(self, name: str) -> float | None:
        """The score of that name; None when it is unscored or there is none."""
        return dict(self.scores).get(name)


@dataclass(frozen=True, slots=True)
class Facts:
    """A run and its samples in canonical order."""

    run: RunFacts
    samples: tuple[SampleFact, ...]

    @property
    def root(self) -> str:
        return root(self.samples)


def canonical(value: object) -> bytes:
    """JSON in the one form that this module's head describes."""
    plain = _plain(value)
    text = json.dumps(
        plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    )
    return text.encode("utf-8", "surrogatepass")


def _plain(value: object) -> object:
    if isinstance(value, str):
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInput(f"{value} is no fact", hint="write None for what is unscored")
        return value + 0.0  # -0.0 becomes 0.0
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [_plain(each) for each in value]
    return value


def sample_line(sample: SampleFact) -> bytes:
    """A sample's line without its end: what its leaf is made of."""
    told = asdict(sample)
    told["scores"] = {
        name: None if value is None else float(value) for name, value in sample.scores
    }
    return canonical(told)


def in_order(samples: Iterable[SampleFact]) -> tuple[SampleFact, ...]:
    """Samples in canonical order; Conflict when one is there twice with another content."""
    found: dict[tuple[bytes, int], SampleFact] = {}
    for sample in samples:
        key = (sample.id.encode("utf-8", "replace"), sample.epoch)
        if found.setdefault(key, sample) != sample:
            raise Conflict(
                f"sample {sample.id} of epoch {sample.epoch} is there twice and differs",
                hint="were runs of different models or seeds put together?",
            )
    return tuple(found[key] for key in sorted(found))


def root(samples: Iterable[SampleFact]) -> str:
    """The canonical root of these samples, in whatever order they come."""
    return _tree([leaf(sample_line(sample)) for sample in in_order(samples)]).hex()


def leaf(line: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + line).digest()


def _tree(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962's tree, built level by level: an odd node at a level's end moves up as it is."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    level = list(leaves)
    while len(level) > 1:
        above = [
            hashlib.sha256(b"\x01" + level[i] + level[i + 1]).digest()
            for i in range(0, len(level) - 1, 2)
        ]
        level = above + level[2 * len(above) :]
    return level[0]


# --- the file


def dump(facts: Facts) -> bytes:
    """The facts as the bytes of their file."""
    samples = in_order(facts.samples)
    head = {"facts": FORMAT, "root": root(samples), "samples": len(samples), **asdict(facts.run)}
    return b"".join(line + b"\n" for line in (canonical(head), *map(sample_line, samples)))


def save(facts: Facts, path: Path) -> None:
    """Write the file whole or not at all."""
    draft = path.with_name(f".{path.name}.part")
    draft.write_bytes(dump(facts))
    draft.replace(path)


def load(path: Path) -> Facts:
    """Read the file; InvalidInput when it can't be read or its root is not that of its samples."""
    try:
        return parse(path.read_bytes(), str(path))
    except OSError as error:
        raise InvalidInput(f"{path} can't be read: {error.strerror}") from error


def parse(raw: bytes, name: str = "facts") -> Facts:
    """The facts in these bytes, which must be exactly what `dump` would write."""
    lines = raw.split(b"\n")
    if len(lines) < 2 or lines.pop() != b"":
        raise _unreadable(name, "it does not end with a whole line")
    try:
        head = json.loads(lines[0])
        if not isinstance(head, dict) or head.pop("facts", None) != FORMAT:
            raise _unreadable(name, f"it is no facts file of format {FORMAT}")
        told_root, told_count = head.pop("root"), head.pop("samples")
        facts = Facts(_run(head), tuple(map(read_sample, lines[1:])))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unreadable(name, f"{type(error).__name__}: {error}") from error
    if told_count != len(facts.samples) or told_root != facts.root or dump(facts) != raw:
        raise _unreadable(name, "its samples are not those that its root was made of")
    return facts


def _unreadable(name: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"{name} can't be relied on: {why}", hint="was it changed or cut after it was written?"
    )


def _run(told: dict[str, Any]) -> RunFacts:
    isolation = told.pop("isolation")
    held, broken = tuple(isolation.pop("held")), tuple(isolation.pop("broken"))
    prints = Fingerprints(**told.pop("fingerprints"))
    run = RunFacts(
        **told, fingerprints=prints, isolation=Isolation(held=held, broken=broken, **isolation)
    )
    for part in (run, run.isolation, prints):
        _typed(part)
    if not all(0 <= moment <= _LAST_MS for moment in (run.started_ms, run.ended_ms)):
        raise ValueError("its times are in no calendar")
    return run


def read_sample(line: bytes) -> SampleFact:
    """A sample from its line; ValueError, KeyError or TypeError when it is none."""
    told = json.loads(line)
    scores = {name: _number(value) for name, value in told.pop("scores").items()}
    sample = SampleFact(**told, scores=tuple(sorted(scores.items())))
    _typed(sample)
    return sample


def _number(value: object) -> float | None:
    if value is None or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"a score can't be {value!r}")


_TYPES: dict[str, Any] = {"str": str, "int": int, "bool": bool, "str | None": (str, type(None))}


def _typed(value: Any) -> None:
    """Each plain field is of its declared type, as a reader elsewhere will take for granted."""
    for each in fields(value):
        wanted = _TYPES.get(str(each.type))
        held = getattr(value, each.name)
        if wanted is None:
            continue
        if not isinstance(held, wanted) or (wanted is int and isinstance(held, bool)):
            raise ValueError(f"{each.name} can't be {held!r}")


# --- comparing


def differences(one: RunFacts, other: RunFacts) -> tuple[str, ...]:
    """What differs between two runs of all that a result depends on, by name."""
    named = [name for name in ("suite", "version", "seed") if _unlike(one, other, name)]
    mine, theirs = one.fingerprints, other.fingerprints
    return (*named, *(name for name in FINGERPRINTS if _unlike(mine, theirs, name)))


def _unlike(one: object, other: object, name: str) -> bool:
    return bool(getattr(one, name) != getattr(other, name))


def check_comparable(
    one: RunFacts, other: RunFacts, *, apart: Iterable[str] = ("weights",)
) -> None:
    """Conflict unless the runs differ at most in what is named in `apart`.

    Two models are compared with `weights` apart; two runs of one model with nothing apart.
    """
    aside = set(apart)
    found = [name for name in differences(one, other) if name not in aside]
    unknown = [
        name
        for name in ("weights", "data", "environment")
        if name not in aside and not _HEX.fullmatch(getattr(one.fingerprints, name))
    ]
    if found:
        raise Conflict(
            f"these runs can't be compared: they differ in {', '.join(found)}",
            hint="run both with the same suite, seed and environment, then compare",
            differ=", ".join(found),
        )
    if unknown:
        raise Conflict(
            f"these runs can't be compared: nobody measured their {', '.join(unknown)}",
            hint="give the model as a folder rather than as an address",
        )
