"""Signs, for the site, what a run of a suite handed in: after the job, outside of it.

The key is a file that the agent reads and that no job is given. Whether jobs could read it all the
same (an account of their own is the way to keep them from it) the job has tried, and the evidence
says so. What is signed names the attempt; what was not made by the site's own program, or is about
another model than the one that came with the job, is not signed.
"""

from __future__ import annotations

import os
from pathlib import Path

from meyrin.agent.config import AgentConfig
from meyrin.agent.journal import Item
from meyrin.agent.within import Opener, leads_out, really
from meyrin.client.durable import sync_folder, write
from meyrin.domain.errors import MeyrinError, NotAllowed


def seal(config: AgentConfig, site: str, item: Item, path: Path, opener: Opener) -> Path:
    """The signed bundle of this draft, as a file of the agent's. Raises MeyrinError, OSError.

    `opener` opens what lies in the job's folder, and nothing that a link there leads to.

    The same attempt again gives the same file, as long as that is there.
    """
    from meyrin.suites import bundle, facts, handed, keys  # noqa: PLC0415

    target = sealed_file(config, item)
    if leads_out(target, target.parent):
        raise NotAllowed(f"what the job handed in can't be signed: a link leads {target} elsewhere")
    if target.exists():
        return target
    try:
        with open(path, "rb", opener=opener) as file:
            bundle.check_size(os.fstat(file.fileno()).st_size)
            raw = file.read()
        members = bundle.unzipped(raw)
        found = facts.parse(members[bundle.FACTS])
    except (ValueError, KeyError, MeyrinError) as error:
        raise NotAllowed(f"what the job handed in can't be signed: {error}") from error
    if set(members) != set(bundle.drafted(members)):
        raise NotAllowed("what the job handed in can't be signed: it has signatures already")
    handed.check(item.request, found, site)
    model = path.parent / handed.MODEL if bundle.MODEL in members else None
    if model is not None and leads_out(model, path.parent):
        raise NotAllowed("what the job handed in can't be signed: its model is a link")
    keys.make(config.evidence_key_file)
    key = keys.read(config.evidence_key_file)
    try:
        signed = bundle.seal(raw, key, model, item.work.attempt, str(item.work.job))
    except (ValueError, RecursionError) as error:  # parts that only signing reads
        raise NotAllowed(f"what the job handed in can't be signed: {error}") from error
    target.parent.mkdir(mode=0o700, exist_ok=True)
    write(str(target), signed, 0o600)
    for folder in (target.parent, config.dir):
        sync_folder(folder)  # the hub hears its digest next, and signed again it has another
    return target


def sealed_file(config: AgentConfig, item: Item) -> Path:
    """Named without links: one that is there was put there by a job."""
    return really(config.dir / "evidence") / f"{item.work.attempt}.zip"
