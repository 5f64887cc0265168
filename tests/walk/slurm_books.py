"""What two real Slurm clusters' accounting says, beside what Meyrin charged and states.

They agree to the second, but for what a controller that was killed has lost itself. Slurm keeps
its state every five seconds; what came since, a controller killed by SIGKILL forgets: jobs that
it took (their ids are given again), starts and ends. Their records in accounting then stay open,
are written anew as a run of no time, or never come. Such an attempt is measured by its wrapper.
"""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from tests.components import Slurm
from tests.walk.books import Books, charges, check_balances
from tests.walk.facility import Agent, Facility, Missing, request, wait_for
from tests.walk.slurm_ends import CLUSTERS, show, tend
from tests.walk.slurm_site import Said, accounted, moment, way

from meyrin.agent import config as settings
from meyrin.agent import late
from meyrin.agent.hub import Hub
from meyrin.agent.slurm.batch import SlurmBatch
from meyrin.agent.slurm.command import CommandTransport, runner
from meyrin.agent.slurm.judge import UNSEEN
from meyrin.client.connection import Connection

SAVES_S = 5  # SAVE_MAX_WAIT in Slurm's src/slurmctld/state_save.c
_AHEAD_S = itertools.count(7200, 2 * 86_400)
_SHOWN = "JobIDRaw,JobName,State,Submit,Start,End,ElapsedRaw,ExitCode"
_SIDES = ("site_s", "meyrin_s")
_SLACK_S = 4  # whole seconds, and the time that the saving takes on a busy machine


@dataclass(frozen=True, slots=True)
class Outage:
    """From the kill of a cluster's controller until it answered again."""

    cluster: str
    killed_s: float
    back_s: float

    def may_forget(self, at_ms: int | None) -> bool:
        """Whether what came at that time may never have been saved."""
        if at_ms is None:
            return False
        return self.killed_s - SAVES_S - _SLACK_S <= at_ms / 1000 <= self.back_s + _SLACK_S


def latest(books: Books) -> list[Any]:
    """What was used by each attempt. Accounting is asked again, so its last record counts."""
    rows = books.rows(
        "SELECT u.attempt, u.elapsed_s, u.used_s, u.source, u.version, a.site, a.rate_num,"
        " a.rate_den, a.leased_ms, a.start_ms, a.end_ms"
        " FROM usage_records u JOIN attempts a ON a.id = u.attempt ORDER BY u.version"
    )
    return list({row.attempt: row for row in rows}.values())


def forgotten(books: Books, said: dict[str, Said], outages: Sequence[Outage]) -> set[str]:
    """Attempts that began or ended just before a kill, or in it, of which accounting has other
    seconds than Meyrin: no run, one that is open, runs of no time, or fewer than there were. One
    that its person gave up, as nobody saw its end, was not measured at all."""
    given_up = books.rows(
        "SELECT id AS attempt, 0 AS elapsed_s, '' AS source, site, leased_ms, start_ms, end_ms"
        f" FROM attempts WHERE why = '{UNSEEN}'"
        " AND id NOT IN (SELECT attempt FROM usage_records)"
    )
    return {
        row.attempt
        for row in [*latest(books), *given_up]
        if _is_not_whole(row, said.get(row.attempt))
        and any(
            outage.cluster == row.site and outage.may_forget(at_ms)
            for outage in outages
            for at_ms in (row.leased_ms, row.start_ms, row.end_ms)
        )
    }


def _is_not_whole(row: Any, known: Said | None) -> bool:
    if known is None:
        return bool(row.elapsed_s)
    cut = not known.closed or known.elapsed_s == 0 or row.source in ("wrapper", "queue")
    return cut and known.elapsed_s != row.elapsed_s


def named(slurm: Slurm, books: Books) -> dict[str, Said]:
    """What the clusters' accounting says, once it has all that it was asked about: Slurm tells a
    job's name up to five seconds after it began. A controller that was killed never does: those
    are left out here, and counted by who asks."""
    found: dict[str, Said] = {}

    def look() -> object:
        rows = books.rows(
            "SELECT DISTINCT a.id, a.site, a.batch_job, a.end_ms FROM usage_records u"
            " JOIN attempts a ON a.id = u.attempt WHERE u.source IN ('batch', 'queue')"
        )
        last_s = {row.id: row.end_ms // 1000 for row in rows}
        nameless = {(row.site, row.batch_job, moment(last_s[row.id])): row.id for row in rows}
        found.clear()
        found.update(accounted(slurm, *CLUSTERS, nameless=nameless, last_s=last_s))
        return not {row.id for row in rows} - set(found) or "names in accounting"

    with suppress(Missing):
        wait_for(look, "accounting to name every job", 30)
    return found


def catch_up(slurm: Slurm, agents: list[Agent], books: Books) -> None:
    """Where a controller that was killed has changed its accounting since, the agents' second
    look tells it; it would come after hours: here, by a clock that is ahead."""
    said = named(slurm, books)
    changed = {
        row.site
        for row in latest(books)
        if row.attempt in said and row.elapsed_s != said[row.attempt].elapsed_s
    }
    for agent in agents:
        if agent.name in changed:
            agent.kill()
            config = settings.load(agent.folder / "agent.toml")
            with second_look(slurm, config, agent.name) as (batch, hub):
                print(f"{agent.name}: accounting changed, {late.tell(batch, hub)} told again")
            agent.start()


def settle(
    slurm: Slurm, agents: list[Agent], books: Books, outages: Sequence[Outage]
) -> tuple[dict[str, Said], set[str]]:
    """Until both statements agree at each cluster, but for what was forgotten: a controller that
    was killed goes on to change its accounting until all nodes have told it what runs. What
    accounting says then, and what was forgotten."""
    said: dict[str, Said] = {}
    excused: set[str] = set()

    def look() -> object:
        catch_up(slurm, agents, books)
        said.clear()
        said.update(named(slurm, books))
        excused.clear()
        excused.update(forgotten(books, said, outages))
        lines = [line for agent in agents for line in compared(agent)["lines"] if line["bad"]]
        left = [line for line in lines if line["attempt"] not in excused]
        return str(left) if left else True

    try:
        wait_for(look, "accounting and Meyrin to agree", 150)
    except Missing:
        for cluster in CLUSTERS:
            print("\n".join(_lines(slurm, cluster)))
        raise
    return said, excused


def _lines(slurm: Slurm, cluster: str, name: str = "") -> list[str]:
    """What sacct shows of all jobs, or of those of one name and of those without any."""
    text = slurm.command(cluster, "sacct", "-aXDnP", "-S", "2020-01-01", "-o", _SHOWN)
    return [each for each in text.splitlines() if name in each or "|allocation|" in each]


def check_charged_as_accounted(
    slurm: Slurm, books: Books, said: dict[str, Said], excused: Collection[str]
) -> str:
    """One charge an attempt, of the seconds that the clusters' own accounting has for it."""
    charged = charges(books)
    rows = latest(books)
    assert set(charged) <= {row.attempt for row in rows}
    ours, theirs, alike = 0, 0, 0
    for row in rows:
        rate = Fraction(row.rate_num, row.rate_den)
        assert row.used_s == charged.get(row.attempt, 0) == -(-rate * row.elapsed_s // 1)
        known = said.get(row.attempt)
        if row.attempt in excused or (known is None and row.elapsed_s == 0):
            continue
        assert known is not None, tuple(row)
        if (row.elapsed_s, row.used_s) != (known.elapsed_s, known.gpu_s):
            raise AssertionError((tuple(row), known, _lines(slurm, row.site, row.attempt)))
        ours, theirs, alike = ours + row.used_s, theirs + known.gpu_s, alike + 1
    sources, again = Counter(row.source for row in rows), sum(s.runs > 1 for s in said.values())
    assert alike > 0
    return (
        f"{len(rows)} attempts measured, {dict(sources)}, {alike} compared with sacct,"
        f" {len(excused)} that a killed controller forgot; {ours} accelerator-seconds charged,"
        f" {theirs} in sacct; requeued runs: {again}"
    )


def check_late_records(
    slurm: Slurm, place: Facility, agent: Agent, url: str, excused: Collection[str]
) -> str:
    """The site's statement is Meyrin's. Then accounting is mended in its database, as it comes in
    practice: they differ in just that job, until the agent's second look has told it. That job is
    a new one: of what it ran when it was killed, a controller may go on to write its own end."""
    books = Books(url)
    try:
        one = _one_more(slurm, place, books)
        return _mended(slurm, agent, books, one, excused)
    finally:
        books.close()


def _one_more(slurm: Slurm, place: Facility, books: Books) -> Any:
    """A job at alpha that ran after the last kill, as it is charged and accounted."""
    asked = replace(request(place.mark, "sleep 1\n", name="one more"), sites=("alpha",))
    found: list[Any] = []
    with place.hub.client() as client:
        job = client.submit(asked).job

    def look() -> object:
        tend(slurm, resume=True)
        time.sleep(0.5)
        found[:] = books.rows(
            "SELECT a.id, u.elapsed_s, u.batch_job FROM attempts a JOIN usage_records u"
            " ON u.attempt = a.id JOIN jobs j ON j.attempt = a.id"
            f" WHERE j.id = {job} AND j.state = 'completed' AND u.source = 'batch'"
        )
        said = accounted(slurm, "alpha").get(found[0].id) if found else None
        if said is not None and said.elapsed_s == found[0].elapsed_s:
            return True
        state = books.rows(f"SELECT state, reason, site_word FROM jobs WHERE id = {job}")
        return f"{found}, {said}, {[tuple(row) for row in state]}"

    try:
        wait_for(look, "one more job", 120)
    except Missing:
        show(slurm)
        raise
    return found[0]


def _mended(slurm: Slurm, agent: Agent, books: Books, one: Any, excused: Collection[str]) -> str:
    found = compared(agent)
    assert found["site_s"] > 0, found
    before = check_statement(found, excused)
    by_rest = over_rest(slurm, agent)
    assert check_statement(compared(agent, by_rest), excused) == before, "slurmrestd tells the same"
    agent.kill()  # its turn to look again comes after ten minutes: here, by a clock that is ahead
    slurm.sql(
        "alpha",
        "UPDATE alpha_job_table SET time_end = time_end + 7"
        f" WHERE job_name = 'meyrin-{one.id}' AND id_job = {one.batch_job}",
    )
    assert accounted(slurm, "alpha")[one.id].elapsed_s == one.elapsed_s + 7
    for how in (None, by_rest):
        found = compared(agent, how)
        differ = check_statement(found, {*excused, one.id})
        assert differ.get(one.id) == "seconds differ", (one, found)
    config = settings.load(agent.folder / "agent.toml")
    with second_look(slurm, config) as (batch, hub):
        assert late.tell(batch, hub) >= 1  # it tells what was forgotten too, if that has come
        assert late.tell(batch, hub) == 0, "told once"
    found = compared(agent)
    assert one.id not in check_statement(found, excused)
    told = books.rows(
        f"SELECT version, elapsed_s FROM usage_records WHERE attempt = '{one.id}' ORDER BY version"
    )
    assert [tuple(row) for row in told] == [(0, one.elapsed_s), (1, one.elapsed_s + 7)]
    check_balances(books)
    return f"{found['attempts']} attempts compared, one mended by 7 s in the database and followed"


@contextmanager
def second_look(
    slurm: Slurm, config: settings.AgentConfig, cluster: str = "alpha"
) -> Iterator[tuple[SlurmBatch, Hub]]:
    """The agent's own memory and its way to hub and cluster, some hours on, and each time two
    days further: then it is time to look again."""
    ahead_s = next(_AHEAD_S)
    by = CommandTransport(runner(60), conf=slurm.conf(cluster), user=way().user)
    made = SlurmBatch(config.dir / "slurm", by, clock_s=lambda: time.time() + ahead_s)
    connection = Connection(config.hub, config.credential)
    try:
        made.partitions()
        yield made, Hub(connection, "")
    finally:
        connection.close()
        made.leave()


def over_rest(slurm: Slurm, agent: Agent) -> Path:
    """The same agent's settings, with slurmrestd as the way to its cluster."""
    chosen, path = way(), agent.folder / "rest.toml"
    token = agent.folder / "token"
    token.write_text(slurm.token(agent.name, chosen.user))
    more = f'transport = "rest"\nrest_url = "{slurm.rest(agent.name)}"\nrest_token_file = "token"\n'
    text = (agent.folder / "agent.toml").read_text()
    path.write_text(text.replace("[slurm]\n", f"[slurm]\n{more}"))
    token.chmod(0o600)
    for each in (token, path):
        shutil.chown(each, chosen.user)
    return path


def check_statement(found: dict[str, Any], excused: Collection[str]) -> dict[str, str]:
    """Both sides have the same seconds but for `excused`; what is said of those that differ."""
    bad = {line["attempt"]: line for line in found["lines"] if line["bad"]}
    assert set(bad) <= set(excused), [bad[attempt] for attempt in set(bad) - set(excused)]
    assert len(bad) == found["differ"], found
    sums = [found[side] - sum(line[side] or 0 for line in bad.values()) for side in _SIDES]
    assert sums[0] == sums[1], (sums, found)
    return {attempt: line["what"] for attempt, line in bad.items()}


def compared(agent: Agent, config: Path | None = None) -> dict[str, Any]:
    """What `meyrin agent compare` says, run as the agent is; its exit code is right."""
    chosen = way()
    done = subprocess.run(
        [chosen.python, "-m", "meyrin", "agent", "compare", "--json",
         "--config", str(config or agent.folder / "agent.toml")],
        env=agent.environ, preexec_fn=chosen.preexec(), capture_output=True, text=True,
        cwd="/", check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == int(found["differ"] > 0), found
    return found
