"""`meyrin gate`: what is to be proved is fixed first, and the same rule decides for everybody."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meyrin.cli.exits import DONE, REFUSED
from meyrin.cli.lazy import Entry, LazyGroup
from meyrin.cli.session import Session, json_option, pass_session
from meyrin.cli.terminal import clean, data, data_json, moment, say
from meyrin.domain.errors import InvalidInput, NotFound, Refused

if TYPE_CHECKING:
    from meyrin.suites.facts import Facts
    from meyrin.suites.gate.plan import Plan
    from meyrin.suites.gate.signing import SignedPlan

HERE = "meyrin.cli.gate"
FILE = click.Path(path_type=Path)
ENTRIES = {
    "key": Entry(f"{HERE}:key", "A key to sign plans with."),
    "plan": Entry(f"{HERE}:plan", "Make, sign and show a plan."),
    "power": Entry("meyrin.cli.gate_power:power", "How often a plan would pass whom."),
    "try": Entry("meyrin.cli.gate_decide:attempt", "What a plan would have said of past runs."),
    "decide": Entry("meyrin.cli.gate_decide:decide", "Decide on runs by a signed plan."),
    "replay": Entry("meyrin.cli.gate_decide:replay", "Make a decision again from its evidence."),
    "list": Entry("meyrin.cli.gate_hub:list_", "What gates decided."),
    "show": Entry("meyrin.cli.gate_hub:show", "One decision with its reasons."),
    "trust": Entry("meyrin.cli.gate_hub:trust", "Whose signatures of evidence count."),
}
PLAN = {
    "make": Entry(f"{HERE}:make", "Check a plan and give it its digest."),
    "sign": Entry(f"{HERE}:sign", "Sign a plan as its owner or reviewer."),
    "show": Entry(f"{HERE}:show", "A plan in words, and who signed it."),
    "register": Entry("meyrin.cli.gate_hub:register", "Leave a signed plan with the hub."),
}


@click.group("gate", cls=LazyGroup, entries=ENTRIES)
def group() -> None:
    """A gate opens the next tranche of hours on evidence.

    \b
    The way through:
      meyrin gate key ada.key                     each signer once
      meyrin gate plan make PLAN.toml             the claims, before anything is run
      meyrin gate power PLAN.json                 would these tests find out?
      meyrin gate plan sign PLAN.json --key ...   owner, then reviewer
      meyrin gate plan register PLAN.json ...     the hub's clock says since when
      meyrin suite run ... --plan DIGEST          only now
      meyrin gate decide PLAN.json EVIDENCE...    pass, fail, not enough evidence

    A run that began before its plan was signed is exploratory for ever.
    """


@click.command("key", epilog="Example: meyrin gate key ada.key")
@click.argument("file", type=FILE)
@json_option
@pass_session
def key(session: Session, file: Path) -> None:
    """Make an Ed25519 key in FILE, readable by you alone, and print its public part.

    The public part goes into plans; whoever has FILE signs in your name.
    """
    from meyrin.suites.gate.signing import new_key  # noqa: PLC0415 - not for --help

    public = new_key(file)
    if session.json:
        data_json({"public": public, "file": str(file)})
    else:
        say(f"keep {file} to yourself; its public key, for plans, is")
        data(public)


@click.group("plan", cls=LazyGroup, entries=PLAN)
def plan() -> None:
    """Plans: what is claimed, how it is tested, and what follows."""


@click.command(
    "make",
    epilog="""\b
Example: meyrin gate plan make plan.toml
where plan.toml holds
  gate = "second-tranche"
  family = "tiny"
  says = "more hours once it adds"
  expires = 2027-12-31
  owner = { name = "ada", key = "PUBLIC KEY OF ADA" }
  reviewer = { name = "grace", key = "PUBLIC KEY OF GRACE" }
  [[claim]]
  name = "adds"
  says = "it adds numbers of two digits"
  kind = "capability"
  suite = "capability"
  version = "1.0.0"
  seed = 7
  metric = "exact"
  bar = 0.9
  alternative = 0.99
  cluster = "the numbers"
  clusters = 126
  samples = 300
`meyrin suite show capability` names scores and clusters; all keys: docs/reference/gates.md
""",
)
@click.argument("file", type=FILE)
@click.option("--out", type=FILE, metavar="PLAN.json", help="Where to.  [default: beside FILE]")
@json_option
@pass_session
def make(session: Session, file: Path, out: Path | None) -> None:
    """Check the plan in FILE (TOML) and write it with its digest, ready to be signed.

    Where its suites are installed here, what keeps each of their runs from passing is said.
    """
    from meyrin.suites.gate.drawn import misfits  # noqa: PLC0415 - not for --help
    from meyrin.suites.gate.plan import read_plan  # noqa: PLC0415
    from meyrin.suites.gate.signing import SignedPlan  # noqa: PLC0415

    made = read_plan(file)
    target = out or file.with_suffix(".json")
    if target == file:
        raise InvalidInput(f"{file} would be written over", hint="give --out PLAN.json")
    if target.exists():
        raise Refused(f"{target} is there already", hint="give another --out, or remove it")
    if not made.made_ms:
        made = made.model_copy(update={"made_ms": int(session.clock() * 1000)})
    if made.expires_ms <= made.made_ms:
        raise InvalidInput(
            f"the plan expires at {moment(made.expires_ms)}, which is past",
            hint="give a later day as expires",
            field="expires",
        )
    write(target, SignedPlan(made))
    notes = misfits(made)
    if session.json:
        data_json({**_as_data(SignedPlan(made)), "notes": notes})
    else:
        say(f"{target} is the plan with digest {made.digest}")
    for note in notes:
        say(clean(f"no run can pass as the plan stands: {note}"))
    say(f"next: `meyrin gate power {target}`, then `meyrin gate plan sign {target}`")


@click.command(
    "sign",
    epilog="""\b
Examples:
  meyrin gate plan sign plan.json --key ada.key --as owner
  meyrin gate plan sign plan.json --key grace.key --as reviewer
""",
)
@click.argument("file", type=FILE)
@click.option("--key", "secret", type=FILE, required=True, help="Your key: `meyrin gate key`.")
@click.option("--as", "role", type=click.Choice(["owner", "reviewer"]), required=True)
@json_option
@pass_session
def sign(session: Session, file: Path, secret: Path, role: str) -> None:
    """Sign the plan in FILE. It counts once both have signed; a changed plan is a new one."""
    from meyrin.suites.gate import signing  # noqa: PLC0415 - not for --help

    before = signing.read_signed(file)
    now_ms = int(session.clock() * 1000)
    after = signing.sign(before, signing.read_key(secret), role, now_ms)
    write(file, after)
    whole = after.since_ms is not None
    words = "it counts from now on" if whole else "the other signature is missing"
    _told(session, after, f"signed as {role}: {words}")


@click.command("show", epilog="Example: meyrin gate plan show plan.json")
@click.argument("file", type=FILE)
@json_option
@pass_session
def show(session: Session, file: Path) -> None:
    """What the plan claims, how it is decided, who signed it, and its digest."""
    signed = read_any(file)
    if session.json:
        data_json(_as_data(signed))
        return
    data("\n".join(clean(line) for line in plan_lines(signed)))


def plan_lines(signed: SignedPlan) -> list[str]:
    """A plan in words."""
    from meyrin.suites.gate.signing import counts  # noqa: PLC0415 - not for --help

    made = signed.plan
    lines = [
        f"gate {made.gate}, models {made.family}: {made.says}",
        f"digest {made.digest}",
        _level(made),
        _follows(made),
    ]
    for each in made.claim:
        lines.append(
            f"{each.kind} claim {each.name}: {each.says}. {each.suite} {each.version}, "
            f"seed {each.seed}: {each.metric} {each.direction.replace('_', ' ')} {each.bar:g} "
            f"(rule {each.rule}), {each.samples:,} samples in {each.clusters:,} clusters by "
            f"{each.cluster}; power {each.power:g} at {each.alternative:g}"
        )
    for mark in signed.signatures:
        word = "signed" if counts(made, mark) else "BAD SIGNATURE"
        lines.append(f"{word} as {mark.role} by {mark.name} at {moment(mark.signed_ms)}")
    if signed.since_ms is None:
        lines.append("not signed by both: nothing can be decided by it")
    return lines


def _level(made: Plan) -> str:
    each = f"{made.spend_ppm / 10_000:g} % for each of {made.tries} attempts"
    return f"level {made.level * 100:g} %, {each}; expires {moment(made.expires_ms)}"


def _follows(made: Plan) -> str:
    rule = made.tranche
    return f"pass: {rule.on_pass}; fail: {rule.on_fail}; else: {rule.on_not_enough}"


# --- what the other commands of this group use


def read_any(path: Path) -> SignedPlan:
    """A plan as TOML or as JSON, signed or not."""
    from meyrin.suites.gate.plan import read_plan  # noqa: PLC0415 - not for --help
    from meyrin.suites.gate.signing import SignedPlan, read_signed  # noqa: PLC0415

    if path.suffix == ".toml":
        return SignedPlan(read_plan(path))
    return read_signed(path)


def read_runs(paths: Sequence[Path]) -> list[Facts]:
    """The facts of runs: from bundles of evidence, which must verify, or from files of facts."""
    from meyrin.suites.facts import load  # noqa: PLC0415 - not for --help

    return [_of_bundle(path) if path.suffix == ".zip" else load(path) for path in paths]


def _of_bundle(path: Path) -> Facts:
    from meyrin.suites.bundle import check_size  # noqa: PLC0415 - only for bundles
    from meyrin.suites.verify import verify  # noqa: PLC0415

    try:
        check_size(path.stat().st_size)
        raw = path.read_bytes()
    except OSError as error:
        raise NotFound(f"{path} can't be read: {error.strerror}", field=str(path)) from error
    return verify(raw).facts


def write(path: Path, signed: SignedPlan) -> None:
    """Write the plan whole or not at all."""
    import json  # noqa: PLC0415 - only when something is written

    draft = path.with_name(f".{path.name}.part")
    draft.write_text(json.dumps(_as_data(signed), indent=2, ensure_ascii=False) + "\n", "utf-8")
    draft.replace(path)


def verdict_code(verdict: str) -> int:
    """0 for a pass; anything else is a reasoned no."""
    return DONE if verdict == "pass" else REFUSED


def _as_data(signed: SignedPlan) -> dict[str, Any]:
    return {**signed.as_data(), "since_ms": signed.since_ms}


def _told(session: Session, signed: SignedPlan, words: str) -> None:
    if session.json:
        data_json(_as_data(signed))
    else:
        say(words)


def check_signed(made: Plan, signed: SignedPlan) -> None:
    """Refused unless both have signed."""
    if signed.since_ms is None:
        raise Refused(
            f"plan {made.digest[:12]} is not signed by owner and reviewer",
            hint="`meyrin gate plan sign FILE --key KEY --as owner|reviewer`",
        )
