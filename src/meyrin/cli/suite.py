"""`meyrin suite`: tests of models as code, run as a job on the facility or in a jail here."""

from __future__ import annotations

import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meyrin.cli.lazy import Entry, LazyGroup
from meyrin.cli.progress import Line
from meyrin.cli.session import Session, hub_options, json_option, pass_session
from meyrin.cli.table import columns, table
from meyrin.cli.terminal import clean, data, data_json, say
from meyrin.domain.errors import InvalidInput, MeyrinError
from meyrin.domain.units import show_count

if TYPE_CHECKING:
    from meyrin.suites.execute import Asked
    from meyrin.suites.facts import Facts
    from meyrin.suites.suite import Suite

HERE = "meyrin.cli.suite"
ENTRIES = {
    "list": Entry(f"{HERE}:list_", "Suites that are installed here."),
    "show": Entry(f"{HERE}:show", "What a suite asks, with a few of its items."),
    "run": Entry(f"{HERE}:run", "Test a model, as a job or here; brings evidence."),
    "probe": Entry(f"{HERE}:probe", "What the jail on this machine really enforces."),
}


@click.group("suite", cls=LazyGroup, entries=ENTRIES)
def group() -> None:
    """Tests of models: suites as code, run in a jail, with signed evidence of what came out."""


@click.command(
    "list", epilog="Example: meyrin suite list --json; installing a suite's package puts it here."
)
@json_option
@pass_session
def list_(session: Session) -> None:
    """Suites that are installed here."""
    from meyrin.suites.suite import each_suite  # noqa: PLC0415

    found = sorted(each_suite(), key=lambda suite: suite.name)
    if session.json:
        data_json({"suites": [_shown(suite) for suite in found], "next": ""})
        return
    rows = [(s.name, s.version, s.samples, dict(s.data)["licence"], s.title) for s in found]
    data(table(columns("SUITE VERSION SAMPLES> LICENCE TITLE~"), rows))


@click.command("show", epilog="Examples: meyrin suite show safety --seed 7; ... ./my-suite")
@click.argument("suite")
@click.option("--seed", type=click.IntRange(0, 2**53), default=1, show_default=True)
@json_option
@pass_session
def show(session: Session, suite: str, seed: int) -> None:
    """What a suite asks: its manifest, and the first items of each task.

    Draws items, so it runs the suite's own code here.
    """
    from meyrin.suites.suite import find  # noqa: PLC0415

    found = find(suite)
    counts = found.counts(found.samples)
    drawn = {t.name: found.draw(t, seed, counts[t.name]) for t in found.tasks if t.items}
    if session.json:
        examples = {name: [_item(i) for i in items[:3]] for name, items in drawn.items()}
        data_json({**_shown(found), "examples": examples})
        return
    data(f"{found.name} {found.version}: {found.title}")
    for name, value in found.data:
        data(f"data's {name}: {clean(value)}")
    data(f"clusters: {clean(found.cluster_key)}")
    limits = found.limits
    data(f"limits: {limits.walltime_s} s, {limits.memory_mb} MiB, {limits.processes} processes")
    for task in found.tasks:
        items = drawn.get(task.name, [])
        groups = len({item.cluster for item in items})
        scores = ", ".join(task.scores) or "as its Inspect task scores"
        size = f"{show_count(len(items), 'sample')} in {show_count(groups, 'cluster')}"
        data(f"\n{task.name}: {size}, scored by {scores}")
        for item in items[:3]:
            data(f"  {clean(item.input)}  →  {clean(item.target)}")


def _item(item: Any) -> dict[str, str]:
    return {"id": item.id, "input": item.input, "target": item.target, "cluster": item.cluster}


def _shown(suite: Suite) -> dict[str, Any]:
    return {
        "name": suite.name,
        "version": suite.version,
        "title": suite.title,
        "samples": suite.samples,
        "tasks": [{"name": t.name, "scores": list(t.scores)} for t in suite.tasks],
        "cluster_key": suite.cluster_key,
        "data": dict(suite.data),
    }


@click.command("probe", epilog="Examples: meyrin suite probe; meyrin suite probe --open")
@click.option("--open", "opened", is_flag=True, help="Probe the bare machine instead.")
@json_option
@pass_session
@click.pass_context
def probe(context: click.Context, session: Session, opened: bool) -> None:
    """What the jail on this machine really enforces: eleven attempts to escape, from inside.

    Each asks only what was planted for it, and harms nothing where it succeeds. Ends with 1
    below isolation level 2.
    """
    from meyrin.suites import jail, probe  # noqa: PLC0415
    from meyrin.suites.suite import Limits  # noqa: PLC0415

    limits = Limits(memory_mb=512, processes=64, file_mb=64)
    by = "none" if opened else jail.check()
    with tempfile.TemporaryDirectory(prefix="meyrin-probe-") as folder:
        out, model = Path(folder, "out"), Path(folder, "model")
        out.mkdir()
        model.mkdir()
        with jail.control_groups(f"meyrin-probe-{out.parent.name}", limits) as groups:
            kind = "open" if opened else "bubblewrap"
            made = jail.Jail(limits, out, model, (), kind, groups=() if opened else groups)
            found = probe.measure(made, by)
    if session.json:
        data_json({"level": found.level, "by": found.by, "held": list(found.held),
                   "broken": list(found.broken)})  # fmt: skip
    else:
        data(f"isolation level {found.level}, by {found.by}")
        data(f"held: {', '.join(found.held) or 'nothing'}")
        data(f"not held: {', '.join(found.broken) or 'nothing'}")
    context.exit(0 if found.level >= 2 else 1)


@click.command(
    "run",
    epilog="""\b
Examples:
  meyrin suite run safety --model ./model            as a job on the facility
  meyrin suite run safety --model ./model --local    here, in the same jail
  meyrin suite run capability --model https://example.org/model.tar.gz#sha256=...
  meyrin suite run capability --model http://127.0.0.1:8000/v1/NAME --local
  meyrin suite run inspect_evals/gsm8k --model ./model
Leaves DIR/evidence.zip, or nothing. With --local the same command goes on after an interruption.
A job goes on without you: the same command with the --idempotency-key that it says comes back to
it; without, it is another job.
Next: `meyrin evidence verify DIR/evidence.zip`.
""",
)
@click.argument("suite")
@click.option("--model", required=True, metavar="PATH|URL", help="Folder, archive, or server.")
@click.option("--local", is_flag=True, help="Here in the jail, without a hub.")
@click.option("--seed", type=click.IntRange(0, 2**53), default=1, show_default=True)
@click.option("--samples", type=click.IntRange(1, 10**7), help="[default: what the suite says]")
@click.option("--shards", type=click.IntRange(1, 1024), default=1, show_default=True)
@click.option("--concurrency", type=click.IntRange(1, 1024), default=16, show_default=True)
@click.option("--plan", metavar="DIGEST", help="Digest of the gate's plan that it is for.")
@click.option("--out", metavar="DIR", help="Folder to write into.  [default: SUITE-MODEL-SEED]")
@click.option("--project", help="Who pays.")
@click.option("--site", help="Where to run, if it must be there.")
@click.option("--key", metavar="FILE", help="Key to sign with here.  [default: of this machine]")
@click.option("--model-key", metavar="FILE", help="With --local: key of a served model.")
@click.option("--no-jail", is_flag=True, help="With --local: unprotected, and the facts say so.")
@click.option("--idempotency-key", metavar="KEY", help="Of a job: the same key is the same job.")
@json_option
@hub_options(hidden=True)
@pass_session
@click.pass_context
def run(context: click.Context, session: Session, /, suite: str, model: str, **asked: Any) -> None:
    """Test a model: its files are mounted read-only in a jail without network or secrets.

    As a job it is placed, charged and explained like every other. Standard output is the path
    of the evidence, or with --json the result as one object.
    """
    from meyrin.suites import models, relay  # noqa: PLC0415
    from meyrin.suites.suite import find  # noqa: PLC0415

    if not asked["local"] and (asked["key"] or asked["no_jail"] or asked["model_key"]):
        raise InvalidInput(
            "--key, --model-key and --no-jail are of --local: a site has its own",
            hint="a site keeps keys of served models in the folder that MEYRIN_MODEL_KEYS names",
            field="key",
        )
    if asked["local"] and asked["idempotency_key"] is not None:
        raise InvalidInput("--idempotency-key is of a job: leave --local away", field="local")
    if asked["model_key"] and asked["no_jail"]:
        raise InvalidInput("without the jail the suite could read --model-key", field="no_jail")
    if asked["plan"] and not _is_digest(asked["plan"]):
        raise InvalidInput("--plan is a digest of 64 hexadecimal digits", field="plan")
    chosen = find(suite)
    with tempfile.TemporaryDirectory(prefix="meyrin-model-") as folder:
        source = ""
        where = model
        if models.is_address(model) and not models.is_archive(model):
            relay.split(model)
            if asked["plan"]:
                raise InvalidInput(
                    "no gate decides on a served model: nobody can measure its weights",
                    hint="give the model's folder or archive, or leave --plan away to try it out",
                    field="model",
                )
        else:
            brought, source = models.bring(model, Path(folder), named=bool(asked["plan"]))
            where = str(brought)
        if source and "#" not in model:
            say(clean(f"note: the model that is tested is {source}"))
        name = model.rstrip("/").rpartition("/")[2].partition("#")[0].partition(".")[0] or "model"
        out = Path(asked["out"] or f"{chosen.name.replace('/', '-')}-{name}-{asked['seed']}")
        ask = replace(_ask(chosen, where, name, out, asked), source=source)
        if asked["model_key"]:
            ask = replace(ask, model_key=_model_key(ask, asked["model_key"]))
        if asked["local"]:
            code = _here(session, ask, asked["key"])
        else:
            from meyrin.cli.suite_job import as_job  # noqa: PLC0415

            code = as_job(session, ask, suite, asked)
    context.exit(code)


def _is_digest(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def _ask(chosen: Suite, where: str, name: str, out: Path, asked: dict[str, Any]) -> Asked:
    from meyrin.suites.execute import Asked  # noqa: PLC0415

    return Asked(
        suite=chosen,
        model=where,
        out=out,
        seed=asked["seed"],
        samples=asked["samples"] or 0,
        shards=asked["shards"],
        concurrency=asked["concurrency"],
        plan=asked["plan"],
        jailed=not asked["no_jail"],
        at_once=min(asked["shards"], 2),
        model_name=name,
    )


def _model_key(ask: Asked, file: str) -> str:
    from meyrin.suites import model_key  # noqa: PLC0415

    if not ask.served:
        raise InvalidInput("--model-key is for a served model", field="model_key", value=ask.model)
    shown = [Path(ask.suite.folder)] if ask.suite.folder else []
    return model_key.read(Path(file), ask.model, shown)


def _here(session: Session, ask: Asked, key: str | None) -> int:
    from meyrin.client.place import state_folder  # noqa: PLC0415
    from meyrin.suites import evidence  # noqa: PLC0415

    secret = Path(key) if key else state_folder(session.environ, session.folder) / "site.key"
    line = Line(session.clock, lines=True)
    try:
        with closing(line):
            facts, path = evidence.make(
                ask, secret, lambda done, of: line.tell(lambda: f"{done} of {of or '?'} samples")
            )
    except MeyrinError:
        raise
    except KeyboardInterrupt:
        say("interrupted: what is finished is kept; the same command goes on")
        return 130
    tell(session, facts, path, {})
    return 0


def tell(session: Session, facts: Facts, path: Path, more: dict[str, Any]) -> None:
    """What came out: rows for people, one object for programs."""
    from dataclasses import asdict  # noqa: PLC0415

    from meyrin.suites import summary  # noqa: PLC0415

    if session.json:
        rows = [asdict(row) for row in summary.rows(facts)]
        told = {"evidence": str(path), "root": facts.root, "run": asdict(facts.run), "rows": rows}
        data_json({**told, **more})
        return
    for words in summary.lines(facts):
        say(clean(words))
    data(str(path))
