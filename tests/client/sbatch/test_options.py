"""The table is whole, and docs/sbatch.md shows it as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from meyrin.client.sbatch import Script, parse
from meyrin.client.sbatch.environment import STAYS_HERE
from meyrin.client.sbatch.options import HONOURED, OWN, REFUSED, SBATCH, VALUE
from meyrin.domain.errors import BadDirective

PAGE = Path(__file__).parents[3] / "docs" / "sbatch.md"

# sbatch(1) of Slurm 26.05: every long option, written down from its manual
MANUAL = """
account acctg-freq array batch bb bbf begin chdir cluster-constraint clusters comment
consolidate-segments constraint container container-id container-type contiguous core-spec
cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot dependency distribution
error exclude exclusive export export-file extra extra-node-info get-user-env gid gpu-bind
gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task gres gres-flags help hint hold
ignore-pbs input job-name kill-on-invalid-dep licenses mail-type mail-user mcs-label mem mem-bind
mem-per-cpu mem-per-gpu mem-update mincpus network nice no-kill no-requeue nodefile nodelist nodes
ntasks ntasks-per-core ntasks-per-gpu ntasks-per-node ntasks-per-socket oom-kill-step open-mode
output overcommit oversubscribe parsable partition power prefer priority profile propagate qos
quiet reboot requeue reservation resources resv-ports segment signal sockets-per-node spread-job
spread-segments stepmgr switches test-only thread-spec threads-per-core time time-min tmp
tres-bind tres-per-task uid usage use-min-nodes verbose version wait wait-all-nodes wckey wrap
"""
VARIABLES = """
ACCOUNT ACCTG_FREQ ARRAY_INX BATCH CLUSTERS CONSTRAINT CONTAINER CONTAINER_ID CONTAINER_TYPE
CORE_SPEC CPUS_PER_GPU DEBUG DELAY_BOOT DISTRIBUTION ERROR EXCLUSIVE EXPORT GET_USER_ENV GPU_BIND
GPU_FREQ GPUS GPUS_PER_NODE GPUS_PER_TASK GRES GRES_FLAGS HINT IGNORE_PBS INPUT JOB_NAME MEM_BIND
MEM_PER_CPU MEM_PER_GPU MEM_PER_NODE NETWORK NO_KILL NO_REQUEUE OPEN_MODE OUTPUT OVERCOMMIT
PARTITION POWER PROFILE QOS REQ_SWITCH REQUEUE RESERVATION SEGMENT_SIZE SIGNAL SPREAD_JOB
THREAD_SPEC THREADS_PER_CORE TIMELIMIT TRES_BIND TRES_PER_TASK USE_MIN_NODES WAIT WAIT_ALL_NODES
WAIT4SWITCH WCKEY
"""


def test_every_option_of_the_manual_has_its_row():
    names = [option.name for option in SBATCH]
    assert set(MANUAL.split()) <= set(names)
    assert set(names) - set(MANUAL.split()) == {"context"}  # SELinux builds only, not in the manual
    assert len(names) == len(set(names))
    letters = [option.letter for option in SBATCH if option.letter]
    assert len(letters) == len(set(letters))


def test_every_variable_of_the_manual_has_its_option():
    known = {variable for option in SBATCH for variable in option.variables}
    assert {f"SBATCH_{name}" for name in VARIABLES.split()} <= known
    assert {"SLURM_CLUSTERS", "SLURM_HINT"} <= known


def test_honoured_rows_read_and_refused_rows_say_why():
    assert all(option.read and option.meaning and not option.why for option in HONOURED + OWN)
    assert all(option.why and option.way_out and not option.read for option in REFUSED)


@pytest.mark.parametrize("option", REFUSED, ids=lambda option: option.name)
def test_a_refused_option_names_itself_its_line_and_a_way_out(option):
    value = "=7" if option.takes == VALUE else ""
    with pytest.raises(BadDirective) as caught:
        parse(
            Script(f"#!/bin/sh\n#SBATCH --{option.name}{value}\n"), ["x"], {},
            cwd="/", host="h", now_s=0,
        )  # fmt: skip
    assert caught.value.facts["option"] == f"--{option.name}"
    assert caught.value.facts["line"] == 2
    assert option.why in caught.value.message
    assert caught.value.hint == option.way_out


def option_tables() -> str:
    """The generated part of docs/sbatch.md."""
    lines = ["### Honoured", "", "| option | variable | means |", "| --- | --- | --- |"]
    lines += [
        f"| {_name(option)} | {_variables(option)} | {_cell(option.meaning)} |"
        for option in sorted(HONOURED, key=lambda option: option.name)
    ]
    lines += ["", "### Meyrin's own, on the command line", "", "| option | means |"]
    lines += ["| --- | --- |"]
    lines += [f"| `--{option.name}` | {_cell(option.meaning)} |" for option in OWN]
    lines += ["", "### Refused", "", "| option | variable | why | way out |"]
    lines += ["| --- | --- | --- | --- |"]
    for option in REFUSED:
        lines.append(
            f"| {_name(option)} | {_variables(option)} | {_cell(option.why)} | "
            f"{_cell(option.way_out)} |"
        )
    lines += ["", "### What stays here", "", "| kind | variables |", "| --- | --- |"]
    for kind, patterns in STAYS_HERE.items():
        lines.append(f"| {kind} | {' '.join(f'`{pattern}`' for pattern in patterns)} |")
    return "\n".join(lines) + "\n"


def _name(option) -> str:
    return (f"`-{option.letter}` " if option.letter else "") + f"`--{option.name}`"


def _variables(option) -> str:
    return " ".join(f"`{variable}`" for variable in option.variables)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def test_the_page_shows_the_table():
    _, _, rest = PAGE.read_text().partition("<!-- from here on: the table -->\n")
    assert rest.strip() == option_tables().strip(), (
        "docs/sbatch.md is behind: python -m tests.client.sbatch.test_options"
    )


if __name__ == "__main__":
    head, mark, _ = PAGE.read_text().partition("<!-- from here on: the table -->\n")
    PAGE.write_text(f"{head}{mark}\n{option_tables()}")
