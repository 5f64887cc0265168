"""What it means when sbatch did not take a job: a no, a no for now, or doubt. Slurm has numbers
for it, which its commands do not print; these are the words of `slurm_strerror` (slurm_errno.c).
"""

from __future__ import annotations

import re

from meyrin.agent.slurm.transport import NotAccepted
from meyrin.domain.errors import Unreachable

_NOT_LOADED = re.compile(r"(\S*/)?sbatch: error while loading shared libraries: ")
_FAILED = "submission failed:"
_LIMIT = "submitjob"  # AssocMaxSubmitJobLimit and its like stand on a line before
_LATER = (
    "temporarily unable", "resource temporarily", "try again", "retry", "max job count",
    "i/o error writing", "nodes are busy",
    # what the site has in hand, not the job: its partition is drained, its account has ended
    "partition not available", "partition configuration not available", "partition in down state",
    "invalid partition name", "not permitted to use this partition", "invalid account",
    "invalid qos", "requested reservation", "maintenance reservation",
)  # fmt: skip
_DENIED = "access/permission denied"  # to all of a shut partition, or to one by a plugin
_NOT_TAKEN = "(connect failure)"  # no connection came about, so nothing was sent
_NO_ANSWER = (
    "unable to contact", "timed out", "zero bytes", "connection", "communication", "transport",
    "socket", "no route", "network", "authentication", "munge", "protocol", "getaddrinfo",
    "unexpected message", "io error", "interrupted", "message receive", "message send",
    "standby", "not responding", "broken pipe", "dns",
)  # fmt: skip
_A_NO = (
    "invalid", "not available", "unavailable", "not permitted", "not allowed", "denied", "violates",
    "satisfied", "requested than", "exceed", "exist", "too large", "too long", "too many",
    "disabled", "required", "specif", "unsupported", "not supported", "illegal", "unrecognized",
    "no such", "must ", "can't", "cannot", "bad ", "unknown",
)  # fmt: skip


def no_answer(words_of_slurm: str) -> bool:
    """Whether they say that the controller did not answer, or not whole."""
    plain = words_of_slurm.lower()
    return any(word in plain for word in _NO_ANSWER)


def not_run(out: str, err: str) -> Exception:
    """Of an exit code of the shell's or the loader's (126, 127). That nothing began is sure only of
    the loader's words for sbatch itself, as while Slurm is upgraded; a site's script in place of
    sbatch may end so after its deed."""
    if out or not _NOT_LOADED.match(err):
        return Unreachable(err[:500] or "sbatch failed without a word")
    return Unreachable(f"sbatch can't be run: {err[:300]}", sent=False, here=True)


def refusal(err: str) -> Exception:
    """A no that is surely a no; in any other words it is doubt, and the caller looks."""
    lines = [line.partition("error:")[2].strip() or line.strip() for line in err.splitlines()]
    why = "; ".join(dict.fromkeys(line for line in lines if line))[:500]
    # Slurm's own word; before it stand those of the site's plugin, whatever they hold
    own = next((w for line in lines[::-1] if (w := line.partition(_FAILED)[2].strip())), why)
    plain = own.lower()
    if _LIMIT in why.lower() or any(word in plain for word in _LATER):
        return NotAccepted(why, later=True)
    if _NOT_TAKEN in plain:
        return Unreachable(why, sent=False)
    if no_answer(own) or not why:
        return Unreachable(why or "sbatch failed without a word")
    if not any(word in plain for word in _A_NO):
        return Unreachable(why, unclear=True)
    return NotAccepted(why, denied=_DENIED in plain)
