"""Slurm's file name patterns (sbatch(1), "filename pattern"), for whoever opens a job's files.

    %j %J job   %A array's job   %a element   %b element modulo 10   %x name   %u user   %N node
    %n node number   %t task   %s step   %% a percent sign

For a batch script %J is %j: it has no step of its own. `%5j` pads numbers with zeros. A backslash
anywhere switches the symbols off and is removed.
"""

from __future__ import annotations

import re

NO_ELEMENT = 4294967294  # what Slurm writes for %a outside an array
BATCH_STEP = "batch"
NODE = "\x1fN"  # as `node`, for whoever knows where the job runs: nobody's own name holds it
_SYMBOL = re.compile(r"%([0-9]*)(.)", re.DOTALL)
_WIDEST = 10


def expand_pattern(
    pattern: str,
    *,
    job: int,
    array_job: int | None = None,
    task: int | None = None,
    name: str = "",
    node: str = "",
    user: str = "",
) -> str:
    """The file name that `pattern` means for one job or array element.

    `job` is the element's own number, `array_job` the array's (None: not an array), `task` the
    element's index. An unknown symbol is left as it stands.
    """
    if "\\" in pattern:
        return re.sub(r"\\(.?)", r"\1", pattern, flags=re.DOTALL)
    element = NO_ELEMENT if task is None else task
    numbers = {
        "j": job,
        "A": job if array_job is None else array_job,
        "a": element,
        "b": element % 10,
        "n": 0,
        "t": 0,
    }
    words = {"x": name, "u": user, "N": node.partition(".")[0], "s": BATCH_STEP, "%": "%"}
    numbers["J"] = job

    def one(match: re.Match[str]) -> str:
        width, letter = match[1], match[2]
        pad = min(int(width), _WIDEST) if width else 0
        if letter in numbers:
            return str(numbers[letter]).zfill(pad)
        return words.get(letter, match[0])

    return _SYMBOL.sub(one, pattern)
