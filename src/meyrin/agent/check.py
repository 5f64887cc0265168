"""Whether an agent would work with its settings: each finding in words, before it is started.

Looks and asks, changes nothing. What can't be read at all raises; what an operator should know
and may leave so is a warning.
"""

from __future__ import annotations

import pwd
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from meyrin.agent import offers, quiet, veto
from meyrin.agent.batch import BatchSystem, TakesSettings
from meyrin.agent.config import AgentConfig, SlurmPartition
from meyrin.agent.journal import Item
from meyrin.agent.slurm import ask, push
from meyrin.agent.slurm.transport import ClusterFacts, NodeFacts
from meyrin.client.connection import Connection
from meyrin.domain.errors import MeyrinError, NotLoggedIn
from meyrin.domain.job import JobRequest
from meyrin.domain.site import Partition
from meyrin.wire.agents import SelfReply, Work

NEW_ONE = "ask the hub's administrator to run `meyrin site enrol NAME --again`"
SKEW_WARN_MS = 60_000
SKEW_MOST_MS = 300_000


@dataclass(frozen=True, slots=True)
class Finding:
    """`bad` findings keep an agent from working; others are to be known."""

    bad: bool
    words: str
    hint: str = ""


def site_findings(
    config: AgentConfig,
    partitions: Sequence[Partition],
    facts: ClusterFacts | None,
    before: Mapping[ask.Mark, str] = MappingProxyType({}),
) -> Iterator[Finding]:
    """Whether the settings name what there is; `before` is what kinds of nodes were called."""
    names = {one.name for one in partitions}
    if not names:
        yield Finding(True, "there is no partition to lend", "look at `sinfo`")
    known = f"there are: {', '.join(sorted(names)) or 'none'}"
    for words in absent(config, names):
        yield Finding(True, words, known)
    if config.rules.partitions_shown == ():
        yield Finding(True, "rules.partitions_shown is empty: no job can come", known)
    if quiet.never_over(config.rules.quiet_hours):
        words = f"rules.quiet_hours = {list(config.rules.quiet_hours)} never end: no job starts"
        yield Finding(
            False, words, "leave an hour out; to close a site, write why in rules.drained"
        )
    yield from _offer_findings(config, names)
    if facts is not None:
        yield from _slurm_findings(config, facts, names)
        for words in ask.left_out(facts):
            yield Finding(False, words)
        for one, other in offers.shared(config, _nodes(config, facts, before)):
            words = f"[[offer]]: {one} and {other} have nodes in common, which count twice if both"
            yield Finding(False, f"{words} are lent", "propose one of the two")


def absent(config: AgentConfig, names: Collection[str]) -> Iterator[str]:
    """Which partitions the rules and offers name that are not there."""
    for name in config.rules.partitions_shown or ():
        if name not in names:
            yield f"rules.partitions_shown: there is no partition {name}"
    for offer in config.offer:
        if offer.partition not in names:
            yield f"[[offer]]: there is no partition {offer.partition}"


def _offer_findings(config: AgentConfig, names: Collection[str]) -> Iterator[Finding]:
    shown = config.rules.partitions_shown
    for offer in config.offer:
        if offer.partition in names and shown is not None and offer.partition not in shown:
            words = f"[[offer]]: partition {offer.partition} is not in rules.partitions_shown"
            yield Finding(True, words, "show it, or take the offer out")
        if offer.start and offer.until and offer.until <= offer.start:
            yield Finding(True, f"[[offer]] of {offer.partition} ends before it begins")
        elif offer.until and offer.until <= datetime.now(UTC).date():
            words = f"[[offer]] of {offer.partition}: until = {offer.until} is over"
            yield Finding(True, words, "write a later day, or take the offer out")


def _nodes(
    config: AgentConfig, facts: ClusterFacts, before: Mapping[ask.Mark, str]
) -> dict[str, frozenset[str]]:
    """The names of the nodes of each partition that is offered."""
    return {
        # which of its nodes a feature or a reservation chooses is not known here
        name: frozenset() if one.features or one.reservation else names_of(ask.nodes_of(one, facts))
        for name, one in ask.all_of(config, facts, before).items()
    }


def names_of(nodes: Iterable[NodeFacts]) -> frozenset[str]:
    return frozenset(node.name for node in nodes)


def newly_wrong(
    batch: BatchSystem, known: Sequence[Partition], present: AgentConfig, new: AgentConfig
) -> str:
    """What new settings name that the site does not have, and those before did not name; with
    the way out. Unreachable where that must be asked of a batch system that does not answer."""
    takes = batch if isinstance(batch, TakesSettings) else None
    asks = new.slurm != present.slurm or new.partition != present.partition
    if takes is None or not asks:
        then, now = (bad(site_findings(one, known, None)) for one in (present, new))
        said = _not_before(now, then) if known else ""
        if takes is None or not said:
            return said
        # what is known may be some minutes old, and the partition that it names new
    return _not_before(takes.wrong(new), takes.wrong(present))


def _not_before(now: Mapping[str, str], then: Mapping[str, str]) -> str:
    return "; ".join(f"{words} ({hint})" for words, hint in now.items() if words not in then)


def bad(findings: Iterable[Finding]) -> dict[str, str]:
    """The words of those that are wrong, and the way out of each."""
    return {each.words: each.hint for each in findings if each.bad}


def _slurm_findings(config: AgentConfig, facts: ClusterFacts, names: set[str]) -> Iterator[Finding]:
    mine = {one.account for one in facts.associations}
    wanted = [*config.slurm.accounts.items()]
    if config.slurm.default_account:
        wanted.append(("all others", config.slurm.default_account))
    for project, account in wanted:
        if facts.accounting and account not in mine:
            yield Finding(
                True,
                f"slurm: {facts.user} has no account {account} (for {project})",
                f"there are: {', '.join(sorted(mine)) or 'none'}",
            )
    theirs = {one.name for one in facts.partitions}
    qos = {one.name for one in facts.qos}
    for name, how in config.slurm.partitions.items():
        if name not in names:
            words = f"slurm.partitions.{name}: there is no partition {name} of ours"
            yield Finding(True, words, f"there are: {', '.join(sorted(names)) or 'none'}")
        if how.partition not in theirs:
            words = f"slurm.partitions.{name}: Slurm has no partition {how.partition}"
            yield Finding(True, words, f"there are: {', '.join(sorted(theirs))}")
        if how.qos and facts.accounting and how.qos not in qos:
            words = f"slurm.partitions.{name}: there is no QoS {how.qos}"
            yield Finding(True, words, f"there are: {', '.join(sorted(qos))}")
        elif how.qos:
            yield from _not_allowed(config, facts, f"slurm.partitions.{name}", how)
    if not facts.accounting:
        words = "Slurm keeps no accounting: use is measured by our wrapper and marked so"
        yield Finding(False, words)


def _not_allowed(
    config: AgentConfig, facts: ClusterFacts, where: str, how: SlurmPartition
) -> Iterator[Finding]:
    """Which accounts of ours may not be used with the QoS. Where none is named it is Slurm's
    choice, and one that may is enough."""
    here = [each for each in facts.associations if each.partition in ("", how.partition)]
    known = [each for each in here if each.qos]
    if facts.enforces_qos is False or not known:
        return
    good = {each.account for each in known if how.qos in each.qos}
    named = {*config.slurm.accounts.values(), config.slurm.default_account or ""}
    refused = sorted((named - {""}) & {each.account for each in known} - good)
    if not config.slurm.default_account and not good:
        refused = sorted({each.account for each in known})
    for account in refused:
        words = f"{where}: {facts.user} may not use QoS {how.qos} with account {account}"
        may = {qos for each in known if each.account == account for qos in each.qos}
        hint = f"it may use: {', '.join(sorted(may))}; or ask its administrators: sacctmgr modify"
        hint += f" user {facts.user} where account={account} set qos+={how.qos}"
        yield Finding(facts.enforces_qos is True, words, hint)


def people_findings(config: AgentConfig) -> Iterator[Finding]:
    """Log-ins that this machine does not know: Slurm's accounting takes any name."""
    for person, login in config.limits.people.items() if config.limits.mode != "off" else ():
        try:
            pwd.getpwnam(login)
        except KeyError:
            words = f"limits.people: there is no log-in {login} (of {person}) on this machine"
            yield Finding(
                False, words, "mend it, or take it out: Slurm's accounting takes any name"
            )


def push_findings(config: AgentConfig) -> Iterator[Finding]:
    """What an agent here found out about nodes that tell it their news at once."""
    if config.batch != "slurm" or not config.slurm.push:
        return
    known = push.read(config.dir / "slurm" / push.REACHED)
    if known.word:
        hint = "starts and ends are seen all the same, only later; to mend it, let nodes send UDP"
        hint += " to slurm.push_port, or say slurm.push = false"
        yield Finding(False, known.in_words(), hint if known.word == "no" else "")


def no_account(facts: ClusterFacts) -> Finding | None:
    """With accounting, Slurm takes jobs of known log-ins only."""
    if not facts.accounting or facts.associations:
        return None
    return Finding(
        True,
        f"log-in {facts.user} has no account at cluster {facts.cluster}",
        f"ask its administrators: sacctmgr add user {facts.user} account=NAME",
    )


def skew_finding(hub_ms: int | None, now_ms: int) -> Finding | None:
    """Two clocks apart make nonsense of every time that is told."""
    if hub_ms is None or abs(now_ms - hub_ms) <= SKEW_WARN_MS:
        return None
    apart = (now_ms - hub_ms) // 1000
    side = "ahead of" if apart > 0 else "behind"
    return Finding(
        abs(now_ms - hub_ms) > SKEW_MOST_MS,
        f"this machine's clock is {abs(apart)} s {side} the hub's",
        "set both by NTP (`timedatectl`, `chronyc tracking`)",
    )


def hub_findings(
    config: AgentConfig,
    connection: Connection,
    who: Callable[[], SelfReply],
    now_ms: int,
    *,
    joined: bool,
) -> Iterator[Finding]:
    """Whether the hub answers, knows us, has the same time and lends what the file proposes."""
    try:
        skew = skew_finding(connection.clock_ms(), now_ms)
        if skew is not None:
            yield skew
        reply = who()
    except NotLoggedIn as error:
        yield Finding(True, f"the hub does not take our credential: {error.message}", NEW_ONE)
    except MeyrinError as error:
        yield Finding(True, error.message, error.hint)
    else:
        if joined and not reply.lent:
            words = f"nothing of {reply.site} is lent yet, so no job will come"
            yield Finding(False, words, "an administrator of the hub: meyrin site offer")
        if joined and reply.offers is not None:
            for words, way_out in offers.differences(config.offer, reply):
                yield Finding(False, words, way_out)


def veto_findings(config: AgentConfig, partitions: Sequence[Partition]) -> Iterator[Finding]:
    """Whether the site's own program answers: it is shown a job that does nothing."""
    program = config.rules.veto
    if program is None or not partitions:
        return
    begun = time.monotonic()
    asked = veto.question("check", None, _sample(partitions[0]))
    answer = veto.ask(program, asked, config.rules.veto_timeout_s)
    took_s = time.monotonic() - begun
    if answer.broken:
        yield Finding(True, f"rules.veto: {answer.broken}", "while it is broken, no job comes in")
    elif answer.no:
        yield Finding(False, f"rules.veto says no to a job of one core: {answer.no}")
    elif took_s > config.rules.veto_timeout_s / 2:
        yield Finding(False, f"rules.veto took {took_s:.1f} s of {config.rules.veto_timeout_s:g}")


def _sample(partition: Partition) -> Item:
    work = Work(
        attempt="00000000-0000-0000-0000-000000000000",
        epoch=1,
        job=0,
        array_job=None,
        task=None,
        task_count=0,
        person="nobody",
        project="check",
        partition=partition.name,
        nodes=1,
        cores=1,
        memory_mb=1,
        accelerators=0,
        tasks=1,
        walltime_s=60,
        request_id=0,
    )
    return Item(work, JobRequest(script="#!/bin/sh\ntrue\n", name="check"))
