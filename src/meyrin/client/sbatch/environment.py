"""Which of the caller's variables travel to the job (`--export`).

The site is another machine: with ALL, variables that describe this machine or hold a secret stay
here. A variable that `--export` names always travels. docs/sbatch.md lists the rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from meyrin.domain.errors import InvalidInput

# shell patterns, compared in capitals; docs/sbatch.md shows this very table
STAYS_HERE: dict[str, tuple[str, ...]] = {
    "places and programs of this machine": (
        "PATH", "HOME", "PWD", "OLDPWD", "TMPDIR", "TMP", "TEMP", "SHELL", "LD_*", "DYLD_*",
        "XDG_*", "MANPATH", "INFOPATH", "MODULE*", "LOADEDMODULES", "LMOD_*", "_LMFILES_*",
        "_MODULE*", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV*", "CONDA*", "BASH_ENV", "ENV",
        "BASH_FUNC_*",
    ),
    "this person and session": (
        "USER", "LOGNAME", "USERNAME", "HOSTNAME", "HOST", "MAIL", "SHLVL", "_", "PS1", "TERM*",
        "DISPLAY", "WAYLAND_*", "XAUTHORITY", "DBUS_*", "SSH_*", "TMUX*", "STY", "KRB5CCNAME",
        "*_PROXY",
    ),
    "this job and its devices, which the site sets anew": (
        "SLURM_*", "SLURMD_*", "SBATCH_*", "PBS_*", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES",
        "HIP_VISIBLE_DEVICES", "MEYRIN_*",
    ),
    "secrets": (
        "*TOKEN*", "*SECRET*", "*PASSWORD*", "*PASSWD*", "*CREDENTIAL*", "*_KEY", "*APIKEY*",
    ),
}  # fmt: skip

_STAYS = re.compile(
    "|".join(
        re.escape(pattern).replace(r"\*", ".*")
        for patterns in STAYS_HERE.values()
        for pattern in patterns
    ),
    re.DOTALL,
)
_HINT = "write ALL, NONE, or names and NAME=VALUE separated by commas; quote a value with a comma"


def stays_here(name: str) -> bool:
    """Whether `--export=ALL` leaves this variable behind."""
    return _STAYS.fullmatch(name.upper()) is not None


def exported(
    export: str, environ: Mapping[str, str]
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """What travels, sorted by name, and notes about what could not.

    Members are read from left to right and a later one wins, as sbatch does it.
    """
    words = split_quoted(export)
    upper = [word.upper() for word in words]
    if "NONE" in upper or "NIL" in upper:
        if len(words) > 1:
            raise InvalidInput("NONE and NIL stand alone", hint=_HINT)
        return (), ()
    travels: dict[str, str] = {}
    notes: list[str] = []
    for word in words:
        name, equals, value = word.partition("=")
        if word.upper() == "ALL":
            travels.update((k, v) for k, v in environ.items() if not stays_here(k))
        elif not name or "\0" in word:
            raise InvalidInput(f"{word!r} is no variable", hint=_HINT)
        elif equals:
            travels[name] = value
        elif name in environ:
            travels[name] = environ[name]
        else:
            notes.append(f"--export names {name}, which is not set here; the job won't have it")
    unsendable = [name for name, value in travels.items() if not _sendable(name + value)]
    for name in unsendable:
        del travels[name]
        notes.append(f"the variable {name!a} is not valid UTF-8 and stays here")
    return tuple(sorted(travels.items())), tuple(notes)


def _sendable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def split_quoted(text: str) -> list[str]:
    """Split at commas outside quotes and take the quotes away."""
    words = [""]
    quote = ""
    for char in text:
        if quote:
            if char == quote:
                quote = ""
            else:
                words[-1] += char
        elif char in {'"', "'"}:
            quote = char
        elif char == ",":
            words.append("")
        else:
            words[-1] += char
    if quote:
        raise InvalidInput(f"an opened {quote} is never closed", hint=_HINT)
    if not all(words):
        raise InvalidInput("an empty member in the list", hint=_HINT)
    return words
