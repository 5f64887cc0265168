"""`meyrin agent join`: from the line that the hub printed to a site that takes jobs."""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meyrin.cli.session import Session, pass_session
from meyrin.cli.terminal import clean, say
from meyrin.domain.errors import Conflict, Failed, InvalidInput
from meyrin.domain.units import show_count

if TYPE_CHECKING:
    from meyrin.agent.config import AgentConfig
    from meyrin.agent.join import Place
    from meyrin.agent.propose import Found

_STEPS = 6
_HEARD_S = 60.0


@click.command(
    "join",
    epilog="""\b
Example, as `meyrin site enrol alps` prints it at the hub:
  MEYRIN_ENROLMENT=myr_... meyrin agent join alps --hub https://hub.example
Interrupted? The same line again goes on where it stopped.
""",
)
@click.argument("site")
@click.option("--hub", "address", required=True, metavar="URL", help="The hub's address.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), metavar="DIR",
              help="Settings, journal, job folders; on a file system that all nodes see "
              "(else ~/.local/share/meyrin/sites/SITE).")  # fmt: skip
@click.option("--yes", is_flag=True, help="Ask nothing: take the settings as proposed.")
@click.option("--slurm-conf", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              metavar="FILE", help="slurm.conf, if need be (else SLURM_CONF).")  # fmt: skip
@click.option("--slurm-bin", type=click.Path(path_type=Path, exists=True, file_okay=False),
              metavar="DIR", help="The folder of Slurm's commands, if not on PATH.")  # fmt: skip
@click.option("--local", is_flag=True, help="Lend this machine itself; it has no batch system.")
@click.option("--wait", "wait_min", type=click.IntRange(1, 1440), default=10, show_default=True,
              metavar="MINUTES", help="For the test job.")  # fmt: skip
@click.option("--no-start", is_flag=True, help="All but the last step: start the agent yourself.")
@pass_session
def command(session: Session, /, site: str, address: str, folder: Path | None, **said: Any) -> int:
    """Let this site join a hub, under your own log-in: no root, no open port.

    \b
    Looks what Slurm has here, takes the enrolment, proposes a settings file for you to
    edit, checks it, runs a one-minute test job, and starts the agent.
    """
    from meyrin.agent import join  # noqa: PLC0415 - not for --help

    environ = dict(session.environ)
    os.environ.pop(join.ENROLMENT, None)  # nothing that we start should inherit it
    if not said["yes"] and not sys.stdin.isatty():
        raise InvalidInput(
            "this asks questions, and there is no terminal", hint="give --yes", field="--yes"
        )
    at = join.place(site, address, folder or _default_folder(site))
    join.check_enrolment(at, environ)
    found = _look(said, environ)
    title = join.take_enrolment(at, environ, int(session.clock() * 1000))
    _step(2, f"The hub {at.hub} knows this site as {site} ({title}); credential in {at.credential}")
    config = _settings(session, at, found, ask=not said["yes"])
    if _runs_already(config):
        say(f"the agent of {site} runs already, in {at.folder}")
        return 0
    _try(at, config, said["wait_min"])
    if said["no_start"]:
        _step(6, f"Start it when you like: meyrin agent --config {shlex.quote(str(at.config))}")
        return 0
    return _live(session, at)


def _step(number: int, words: str) -> None:
    say(clean(f"[{number}/{_STEPS}] {words}"))


def _more(words: str) -> None:
    """Beneath a step."""
    say(clean(f"      {words}"))


def _default_folder(site: str) -> Path:
    from platformdirs import user_data_path  # noqa: PLC0415 - only where nothing was said

    return user_data_path("meyrin") / "sites" / site


def _look(said: dict[str, Any], environ: dict[str, str]) -> Found:
    """Step 1: what there is. Nothing is written and the hub is not asked yet."""
    from meyrin.agent import join  # noqa: PLC0415
    from meyrin.agent.propose import Found  # noqa: PLC0415

    if said["local"]:
        from meyrin.cli.here import partition  # noqa: PLC0415

        found = Found((partition(),))
        _step(1, "Lends this machine itself")
    else:
        told = said["slurm_conf"] or environ.get("SLURM_CONF")
        # as written down for agents that start elsewhere; a link stays one
        conf, bin_folder = (Path(p).absolute() if p else None for p in (told, said["slurm_bin"]))
        found = join.find_slurm(conf, bin_folder)
        facts = found.facts
        assert facts is not None
        accounts = ", ".join(dict.fromkeys(one.account for one in facts.associations))
        _step(1, f"Slurm {facts.version}, cluster {facts.cluster}; log-in {facts.user}, "
                 f"accounts: {accounts or 'none needed'}")  # fmt: skip
    for one in found.partitions:
        nodes, cores = show_count(one.nodes, "node"), show_count(one.cores_per_node, "core")
        words = f"{one.name}: {nodes} of {cores}"
        if one.accelerator_type:
            words += f", {one.accelerators_per_node} {one.accelerator_type} each"
        _more(words)
    return found


def _settings(session: Session, at: Place, found: Found, *, ask: bool) -> AgentConfig:
    """Steps 3 and 4: a file that is read, edited and found good."""
    from meyrin.agent import config as settings  # noqa: PLC0415
    from meyrin.agent import join  # noqa: PLC0415
    from meyrin.cli.agent import show  # noqa: PLC0415

    new = join.write_settings(at, found, join.local_time_zone())
    _step(3, f"{'Settings proposed' if new else 'Settings as you left them'}: {at.config}")
    edit = ask and new and click.confirm("      Edit them now?", default=True, err=True)
    while True:
        if edit:
            click.edit(filename=str(at.config))
        try:
            config = settings.load(at.config)
            bad = show(join.findings(config, int(session.clock() * 1000), joined=False))
        except InvalidInput as error:
            say(clean(f"wrong: {error.message}"))
            say(clean(f"  {error.hint}"))
            bad = True
        if not bad:
            _step(4, "Checked: the settings name what there is, and hub and site answer")
            return config
        edit = ask and click.confirm("      Edit them again?", default=True, err=True)
        if not edit:
            raise Failed(
                f"{at.config} is not right yet", hint="mend it, then run the same line again"
            )


def _runs_already(config: AgentConfig) -> bool:
    from meyrin.agent.lock import hold_lock  # noqa: PLC0415

    config.dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        hold_lock(config.dir / "agent.lock", "an agent", config.dir).close()
    except Conflict:
        return True
    return False


def _try(at: Place, config: AgentConfig, wait_min: int) -> None:
    """Step 5: a job of one minute through the batch system."""
    from meyrin.agent import join  # noqa: PLC0415
    from meyrin.agent.announce import shown  # noqa: PLC0415
    from meyrin.agent.lock import hold_lock  # noqa: PLC0415
    from meyrin.agent.trial import Trial  # noqa: PLC0415

    lock = hold_lock(config.dir / "agent.lock", "an agent", config.dir)
    batch = join.open_batch(config)
    try:
        part = shown(config.rules, batch.partitions())[0]
        _step(5, f"A test job of one minute goes to {part.name}")
        project = next(iter(config.slurm.accounts), "")
        trial = Trial(batch, config.dir / "trial", part, project)
        attempt = trial.send()
        until_s = time.monotonic() + wait_min * 60
        outcome = trial.wait(attempt, until_s, time.monotonic, _more)
        if outcome is None:
            raise Failed(
                f"the test job has not ended after {wait_min} min; it stays in the queue",
                hint="run the same line again later, with a longer --wait: it is found again",
            )
        for line in outcome.output.splitlines()[:5]:
            _more(f"| {line}")
        trial.done(attempt)
        if not outcome.good:
            why = outcome.job.why or outcome.job.end or "no reason was given"
            raise Failed(
                f"the test job failed: {why}{_code(outcome.job.exit_code)}",
                hint=f"look at {at.config} and the batch system's own records, then run this again",
            )
        used = f", {outcome.job.usage.elapsed_s} s measured" if outcome.job.usage else ""
        _more(f"It ran and was seen to end{used}")
        if news := getattr(batch, "news", ""):
            _more(f"{news[:1].upper()}{news[1:]}")
    finally:
        batch.leave()
        lock.close()


def _code(exit_code: int | None) -> str:
    return "" if exit_code is None else f" (exit code {exit_code})"


def _live(session: Session, at: Place) -> int:
    """Step 6: the agent runs on by itself."""
    from meyrin.agent import join  # noqa: PLC0415

    before = join.incarnation(at)
    agent = join.start_agent(at)
    until_s = time.monotonic() + _HEARD_S
    lent = join.wait_until_heard(at, agent, before, until_s, time.monotonic, session.pause)
    _step(6, f"Live: {at.site} answers. Process {agent.pid}, log {at.log}")
    if lent:
        _more(f"Lent and open for jobs: {', '.join(lent)}")
    else:
        _more(f"An administrator of the hub now lends it: meyrin site show {at.site}")
    _more(f"End it: kill {agent.pid}")
    _more(f"Start it: meyrin agent --config {shlex.quote(str(at.config))}")
    return 0
