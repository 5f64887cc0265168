"""What `meyrin replay` prints for people."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meyrin.cli.session import Session
from meyrin.cli.table import Column, columns, table
from meyrin.cli.terminal import data, data_json, say

if TYPE_CHECKING:
    from meyrin.sim.compare import Comparison

EPILOG = """\b
Policies:
  fcfs          first come, first served
  easy          backfill that never delays the first waiting job
  conservative  backfill that delays no job beyond its reservation
  easy-sjf      easy, shortest limits first
  slurm         Slurm's multifactor priority and backfill
  fair-share    smallest dominant share first
  FILE.toml     any of them with numbers of your own; examples/policies has some
\b
Examples:
  meyrin replay kth.swf.gz --policy conservative
  meyrin replay philly.csv.zst --processors 768 --json
  meyrin replay kth.swf.gz --starts starts.csv --out replayed
  meyrin replay kth.swf.gz --compare easy my-policy.toml
  meyrin replay --explain-policy slurm
"""


def show_replay(summary: dict[str, Any], out: Path | None) -> None:
    """The summary of one replay."""
    from meyrin.sim.report import summary_rows  # noqa: PLC0415

    rows = [["trace", summary["trace"]], *summary_rows(summary)]
    width = max(len(name) for name, _ in rows)
    data("\n".join(f"{name:{width}}  {value}" for name, value in rows))
    _where(out)


def show_comparison(comparison: Comparison, compared: dict[str, Any], out: Path | None) -> None:
    """Both summaries side by side, then each kind of classes."""
    from meyrin.sim.report import compare_rows, summary_rows  # noqa: PLC0415

    a, b = comparison.labels
    both = zip(summary_rows(compared["a"]), summary_rows(compared["b"]), strict=True)
    heads = [Column(""), Column(a, right=True), Column(b, right=True)]
    rows = [[name, one, other] for (name, one), (_, other) in both if name != "policy"]
    data(table(heads, rows, width=0))
    total = comparison.total()
    data(
        f"\nWith {b}, {total.earlier:,} jobs start earlier than with {a}, {total.later:,} later,"
        f" {total.equal:,} when they did."
    )
    for one in comparison.classes:
        first, *body = compare_rows(comparison, list(comparison.rows(one)), _kind(one.kind))
        heads = [Column(first[0]), *(Column(word, right=True) for word in first[1:])]
        data("\n" + table(heads, body, width=0))
    _where(out)


def _kind(kind: str) -> str:
    return kind.replace("_", " ")


def _where(out: Path | None) -> None:
    if out is not None:
        say(f"pictures, jobs and summary: {out / 'index.html'}")


def show_policy(session: Session, asked: str) -> None:
    """What a policy means, and every number of it."""
    from meyrin.sim.policy import KINDS, PolicyFile, load, values  # noqa: PLC0415
    from meyrin.sim.toml_file import keys  # noqa: PLC0415

    policy = load(asked)
    if session.json:
        rules = asdict(policy.rules)
        data_json({"policy": policy.asked, "kind": policy.kind, "rules": rules})
        return
    data(f"{policy.label}: {KINDS[policy.kind]}\n")
    found = values(policy)
    rows = []
    for key in keys(PolicyFile):
        name = f"{key.table}.{key.name}" if key.table else key.name
        if name in found:
            rows.append((name, found[name], key.allowed, key.words))
    data(table(columns("KEY VALUE> ALLOWED~ MEANS~"), rows))
