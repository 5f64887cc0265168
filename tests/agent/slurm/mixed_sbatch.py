"""Seeded mixtures for `as_sbatch`: options in any spelling, order and source, some said twice."""

from __future__ import annotations

import random
import shlex

from tests.agent.slurm.as_sbatch import Case

# letter, long name, variable, values
_VALUED = (
    ("t", "time", "TIMELIMIT", ("5", "1:30", "0-1", "0-1:2", "90:00", "0:59", "abc")),
    ("J", "job-name", "JOB_NAME", ("a", "a b", 'a"b', "a'b", "a#b", "é", "-x", "a=b", "a\\b")),
    ("N", "nodes", "", ("1", "2", "1-2", "2-1")),
    ("n", "ntasks", "", ("1", "2", "4", "x")),
    ("c", "cpus-per-task", "", ("1", "2")),
    ("", "ntasks-per-node", "", ("2", "4")),
    ("", "mem", "MEM_PER_NODE", ("1G", "512", "2gb", "0")),
    ("", "mem-per-cpu", "MEM_PER_CPU", ("100M", "1K")),
    ("p", "partition", "PARTITION", ("gpu", "short")),
    ("A", "account", "ACCOUNT", ("bio", "astro")),
    ("a", "array", "ARRAY_INX", ("1-3", "0-8:4%2", "7", "5,2")),
    ("o", "output", "OUTPUT", ("o-%j", "sub/%x.out", "none", "/tmp/%A_%j")),
    ("e", "error", "ERROR", ("e", "e %j")),
    ("i", "input", "INPUT", ("/dev/zero", "NONE")),
    ("D", "chdir", "", ("/tmp", "/usr")),
    ("", "comment", "", ("words", 'it\'s "so"', "a,b # c")),
    ("", "gres", "GRES", ("gpu:1", "gpu:h100:2", "none")),
    ("b", "begin", "", ("now+2hours", "2031-01-20")),
    ("d", "dependency", "", ("afterok:@J", "@A", "afterany:@J?@A")),
    ("", "open-mode", "OPEN_MODE", ("append", "t")),
    ("", "signal", "SIGNAL", ("USR1", "B:TERM@30", "10@5")),
    ("", "kill-on-invalid-dep", "", ("yes", "No")),
)
_FLAGS = (
    ("", "exclusive", "EXCLUSIVE"),
    ("", "requeue", "REQUEUE"),
    ("", "no-requeue", "NO_REQUEUE"),
    ("H", "hold", ""),
    ("", "nice", ""),
)


def mixed(seed: int) -> Case:
    draw = random.Random(seed)
    lines: list[str] = []
    argv: list[str] = []
    environ: dict[str, str] = {}
    picked = draw.sample(_VALUED, draw.randint(1, 5))
    picked += draw.choices(picked, k=draw.randint(0, 2))
    for letter, name, variable, values in picked:
        value = draw.choice(values)
        source = draw.random()
        if variable and source < 0.2:
            environ[f"SBATCH_{variable}"] = value
            continue
        own = name == "input" and source >= 0.7  # there the long one is Meyrin's own
        words = [f"-{letter}", value] if own else _spelt(draw, letter, name, value)
        if source < 0.7:
            lines.append(" ".join(_quoted(draw, word) for word in words))
        else:
            argv += words
    for letter, name, variable in draw.sample(_FLAGS, draw.randint(0, 2)):
        if variable and draw.random() < 0.3:
            environ[f"SBATCH_{variable}"] = ""
        else:
            flag = f"-{letter}" if letter and draw.random() < 0.5 else f"--{name}"
            draw.choice((lines, argv)).append(flag)
    return Case(_written(draw, lines), shlex.join(argv), environ)


def _spelt(draw: random.Random, letter: str, name: str, value: str) -> list[str]:
    ways = [[f"--{name}={value}"], [f"--{name}", value]]
    if letter:
        ways += [[f"-{letter}{value}"], [f"-{letter}", value]]
    return draw.choice(ways)


def _quoted(draw: random.Random, word: str) -> str:
    """As a directive says it."""
    if not set(word) & set(" \"'#\\,") and draw.random() < 0.7:
        return word
    plain = word.replace("\\", "\\\\")
    return draw.choice(
        ['"' + plain.replace('"', '\\"') + '"', "'" + plain.replace("'", "\\'") + "'"]
    )


def _written(draw: random.Random, lines: list[str]) -> str:
    """Directives as people write them: several in a line, comments and blank lines between."""
    found = []
    while lines:
        count = draw.randint(1, 2)
        some, lines = lines[:count], lines[count:]
        gap = draw.choice((" ", "  ", "\t"))
        end = draw.choice(("", "", " # words", "  ", " \\"))
        found.append(f"#SBATCH{gap}{gap.join(some)}{end}")
        found += draw.choice(([], [], [""], ["# words"], ["##SBATCH -t 3"]))
    return "\n".join(found)
