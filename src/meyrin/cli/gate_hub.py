"""What `meyrin gate` does at a hub: keys that count, plans, evidence, decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meyrin.cli.gate import FILE, check_signed, read_any, verdict_code, write
from meyrin.cli.listing import show_list, show_one
from meyrin.cli.progress import ProgressLine
from meyrin.cli.session import Session, asks_hub, lists
from meyrin.cli.terminal import clean, data, data_json, moment, say
from meyrin.domain.errors import InvalidInput

if TYPE_CHECKING:
    from meyrin.wire.evaluations import DecisionView


@click.command(
    "trust", epilog="Example: meyrin gate trust alpha PUBLIC-KEY   (`meyrin evidence key` shows it)"
)
@click.argument("name")
@click.argument("public")
@click.option("--role", type=click.Choice(["site", "hub"]), default="site", show_default=True)
@click.option("--end", is_flag=True, help="It was replaced: what comes from now on won't count.")
@click.option("--revoke", is_flag=True, help="Others may have it: nothing it signed counts.")
@asks_hub
def trust(session: Session, name: str, public: str, role: str, end: bool, revoke: bool) -> None:
    """Let evidence count that the site NAME signs with the key PUBLIC. For administrators.

    A site that takes a new key: name the new one, then --end the old one. What the hub received
    before still counts. A key that others may have is ended with --revoke. `meyrin evidence keys`
    lists them all.
    """
    with session.client() as hub:
        if end or revoke:
            hub.gates.distrust(public, revoked=revoke)
            what = "that was signed" if revoke else "signed from now on"
            show_one(session, None, f"evidence {what} with this key of {name} counts no more")
            return
        made = hub.gates.trust(name, public, role)
    show_one(session, made, f"evidence that {name} signs with this key counts")


@click.command("register", epilog="Example: meyrin gate plan register plan.json --project lab")
@click.argument("file", type=FILE, metavar="PLAN")
@click.option("--project", required=True, help="Whose tranche it is about.")
@asks_hub
def register(session: Session, file: Path, project: str) -> None:
    """Leave a signed PLAN with the hub, whose clock then says since when it counts.

    That is written into PLAN too, so that the hub's decisions by it can be made again from it.
    """
    from meyrin.suites.gate.drawn import run_words  # noqa: PLC0415 - not for --help

    signed = read_any(file)
    check_signed(signed.plan, signed)
    with session.client() as hub:
        made = hub.gates.register(project, signed.as_data())
    write(file, replace(signed, registered_ms=made.registered_ms))
    since = moment(made.since_ms)
    words = f"plan {made.digest} counts since {since}; what runs from now on can pass"
    show_one(session, made, words)
    for run in run_words(signed.plan):
        say(clean(f"next: {run} --project {project}"))


@click.command("list", epilog="Examples: meyrin gate list; meyrin gate list --project lab --json")
@click.option("--project", help="Only of this project.")
@click.option("--family", default="", help="Only about these models.")
@lists
def list_(session: Session, limit: int, after: str, project: str | None, family: str) -> None:
    """What gates decided, newest first."""
    with session.client() as hub:
        page = hub.gates.decisions(project, family=family, after=after, limit=limit)
    rows = [
        (
            str(one.decision["digest"])[:12],
            one.project,
            one.decision["gate"],
            one.decision["family"],
            one.decision["attempt"],
            one.decision["verdict"],
            one.decision["action"],
            moment(one.decided_ms),
        )
        for one in page.decisions
    ]
    empty = "No gate has decided anything yet. `meyrin gate --help` shows the way."
    show_list(session, page, "DECISION PROJECT GATE~ MODELS~ TRY> VERDICT ACTION WHEN", rows, empty)


@click.command("show", epilog="Example: meyrin gate show DIGEST --project lab")
@click.argument("digest")
@click.option("--project", required=True)
@asks_hub
def show(session: Session, digest: str, project: str) -> None:
    """One decision with its reasons."""
    with session.client() as hub:
        tell(session, hub.gates.decision(project, digest))


def decide_at_hub(
    session: Session, file: Path, bundles: Sequence[Path], project: str | None
) -> int:
    """Bring evidence to the hub and ask for a decision."""
    if not project:
        raise InvalidInput(
            "whose tranche is it about?",
            hint="give --project, or --ledger FILE to decide here, without a hub",
            field="--project",
        )
    signed = read_any(file)
    check_signed(signed.plan, signed)
    line = ProgressLine(session.clock)
    with session.client() as hub:
        runs = []
        for path in bundles:
            brought = hub.upload(path, "evidence.zip", line)
            runs.append(hub.gates.bring(project, brought.sha256).digest)
        line.close()
        made = hub.gates.decide(project, signed.plan.digest, runs)
    tell(session, made)
    return verdict_code(str(made.decision["verdict"]))


def tell(session: Session, made: DecisionView) -> None:
    """A decision in its own sentences, or whole as data."""
    if session.json:
        data_json(made.model_dump(mode="json"))
    else:
        data("\n".join(clean(str(line)) for line in made.decision["says"]))
