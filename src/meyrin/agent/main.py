"""Which batch system a site has: the one place that knows all of them."""

from __future__ import annotations

import time

from meyrin.agent.batch import BatchSystem
from meyrin.agent.config import AgentConfig
from meyrin.agent.local import LocalBatch
from meyrin.agent.slurm import ask
from meyrin.agent.slurm.batch import Hearing, SlurmBatch
from meyrin.agent.slurm.command import CommandTransport, runner
from meyrin.agent.slurm.transport import Transport, own_name
from meyrin.domain.errors import InvalidInput


def batch_system(config: AgentConfig) -> BatchSystem:
    """The batch system that the settings name; InvalidInput when there is no such one."""
    if config.batch == "slurm":
        return slurm(config, transport(config)).start()
    if config.batch != "local":
        raise InvalidInput(
            f"there is no batch system {config.batch!r}", hint="known: local, slurm", field="batch"
        )
    if not config.partition:
        raise InvalidInput(
            "the local batch system has nothing to give",
            hint="add a [[partition]] table to the settings",
            field="partition",
        )
    return LocalBatch(config.dir / "batch", config.partition, grace_s=config.grace_s)


def transport(config: AgentConfig) -> Transport:
    """The way to Slurm that the settings name."""
    how = config.slurm
    if how.transport == "rest":
        from meyrin.agent.slurm.rest import Rest  # noqa: PLC0415 - only where it is spoken

        if not how.rest_url:
            raise InvalidInput(
                "slurmrestd has no address",
                hint='write rest_url = "http://HOST:PORT" or "unix:/path/to/socket"',
                field="rest_url",
            )
        return Rest(how, own_name(), time.time)
    return CommandTransport(runner(how.command_timeout_s), bin_folder=how.bin, conf=how.conf)


def slurm(config: AgentConfig, by: Transport) -> SlurmBatch:
    """The Slurm batch system of these settings; it does nothing by itself before `start`."""
    how = config.slurm
    return SlurmBatch(
        config.dir / "slurm",
        by,
        places=ask.own(config),
        chosen=how.partitions,
        said=ask.names_in(config),
        accounts=ask.Accounts(how.accounts, how.default_account),
        grace_s=config.grace_s,
        poll_s=(how.poll_min_s, how.poll_max_s),
        doubt_s=how.doubt_s,
        accounting_wait_s=how.accounting_wait_s,
        second_look=(how.second_look_days, how.second_look_every_h),
        at_once=how.submits_at_once,
        hearing=Hearing(how.push, str(how.push_address or "") or None, how.push_port),
    )
