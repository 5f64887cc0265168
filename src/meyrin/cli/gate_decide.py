"""`meyrin gate try`, `decide` and `replay`: the verdict, with its reasons and what follows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meyrin.cli.exits import DONE, REFUSED
from meyrin.cli.gate import FILE, check_signed, read_any, read_runs, verdict_code
from meyrin.cli.session import Session, asks_hub, json_option, pass_session
from meyrin.cli.terminal import clean, data, data_json, say

if TYPE_CHECKING:
    from meyrin.suites.gate.decide import Decision


@click.command(
    "try",
    epilog="""\b
Example: meyrin gate try plan.toml 2025-runs/*.facts
""",
)
@click.argument("file", type=FILE, metavar="PLAN")
@click.argument("runs", type=FILE, metavar="RUN...", nargs=-1, required=True)
@json_option
@pass_session
def attempt(session: Session, file: Path, runs: Sequence[Path]) -> int:
    """What a gate with this PLAN would have decided on past runs.

    \b
    Signatures, dates and the plan's fingerprint are set aside, because the runs
    were not made for this plan; all else counts as it would have. Each model
    (by the digest of its weights) is one attempt, in the order of their runs, and
    spends the level as it would have. Nothing is kept, and nothing is decided.
    """
    from meyrin.suites.gate.history import would_have  # noqa: PLC0415 - numpy and scipy

    plan = read_any(file).plan
    made = would_have(plan, read_runs(runs), int(session.clock() * 1000))
    if session.json:
        answer = [{"weights": each, "would": decision.as_data()} for each, decision in made]
        data_json({"plan": plan.digest, "models": answer})
        return DONE
    for weights, decision in made:
        data(f"model {weights[:12]}")
        _lines(decision)
    return DONE


@click.command(
    "decide",
    epilog="""\b
Examples:
  meyrin gate decide plan.json capability.zip safety.zip --project lab
  meyrin gate decide plan.json capability.zip safety.zip --ledger attempts.jsonl
Exit code: 0 for a pass, 3 for a fail and for not enough evidence.
""",
)
@click.argument("file", type=FILE, metavar="PLAN")
@click.argument("runs", type=FILE, metavar="RUN...", nargs=-1)
@click.option("--project", help="Whose tranche follows; the hub decides.")
@click.option(
    "--ledger",
    type=FILE,
    metavar="FILE",
    help="Decide here instead; decisions so far, one a line, and this one is added.",
)
@asks_hub
def decide(
    session: Session, file: Path, runs: Sequence[Path], project: str | None, ledger: Path | None
) -> int:
    """Decide on RUNs by a signed PLAN: pass, fail, or not enough evidence.

    \b
    RUN is the evidence of a run that was made for this plan. The attempt spends its
    part of the level; what is missing, expired, mismatched or empty never passes.
    At the hub the next tranche follows at once. `meyrin gate replay` makes the
    decision again from plan and evidence.
    """
    if ledger is None:
        from meyrin.cli.gate_hub import decide_at_hub  # noqa: PLC0415 - not without a hub

        return decide_at_hub(session, file, runs, project)
    from meyrin.suites.gate import book  # noqa: PLC0415 - not for --help
    from meyrin.suites.gate.decide import decide as decided  # noqa: PLC0415 - numpy and scipy

    signed = read_any(file)
    check_signed(signed.plan, signed)
    facts = read_runs(runs)
    with book.locked(ledger) as kept:
        spent = book.spent(kept.decisions, signed.plan.gate, signed.plan.family)
        made = decided(signed, facts, spent, int(session.clock() * 1000))
        kept.add(made)
    _show(session, made)
    return verdict_code(made.verdict)


@click.command(
    "replay",
    epilog="""\b
Examples:
  meyrin gate replay attempts.jsonl plan.json capability.facts safety.facts
  meyrin gate replay 63b6250426de plan.json capability.zip safety.zip --project lab
""",
)
@click.argument("decision", type=FILE)
@click.argument("file", type=FILE, metavar="PLAN")
@click.argument("runs", type=FILE, metavar="RUN...", nargs=-1)
@click.option("--project", help="DECISION is the digest of one of this project, at the hub.")
@asks_hub
def replay(
    session: Session, decision: Path, file: Path, runs: Sequence[Path], project: str | None
) -> int:
    """Make a DECISION again from its plan and its runs, and say what differs.

    DECISION is a file with one decision, or a ledger: then its last one by this plan. With
    --project it is a decision of the hub, by its digest, which is made again here.
    Exit code: 0 when nothing differs, 3 otherwise.
    """
    from meyrin.suites.gate import book  # noqa: PLC0415 - not for --help
    from meyrin.suites.gate.decide import decision_from_data  # noqa: PLC0415 - numpy and scipy
    from meyrin.suites.gate.decide import replay as again  # noqa: PLC0415
    from meyrin.suites.gate.signing import signed_from_data  # noqa: PLC0415

    signed = read_any(file)
    if project is None:
        made = book.last(decision, signed.plan.digest)
    else:
        with session.client() as hub:
            made = decision_from_data(hub.gates.decision(project, str(decision)).decision)
            if made.plan == signed.plan.digest:  # with the moment since which the hub has it
                signed = signed_from_data(hub.gates.plan(project, made.plan).signed)
    differs = again(made, signed, read_runs(runs))
    if session.json:
        data_json({"decision": made.digest, "replays": not differs, "differs": list(differs)})
    elif differs:
        say("it does not replay; what differs: " + ", ".join(differs[:20]))
    else:
        say(f"decision {made.digest[:12]} ({made.verdict}) follows from this evidence")
    return REFUSED if differs else DONE


def _show(session: Session, made: Decision) -> None:
    if session.json:
        data_json(made.as_data())
    else:
        _lines(made)


def _lines(made: Decision) -> None:
    data("\n".join(clean(line) for line in made.says))
