"""The sbatch reader: an unmodified script, options and SBATCH_ variables become a `JobRequest`.

    name = script_name(argv)
    script = read_script(find_script(name, cwd, path)) if name else read_script(None, stdin)
    submission = parse(script, argv, environ, cwd=…, host=…, now_s=…)

Never talks to the hub, opens no input file and asks no clock. `options` has the one table.
"""

from meyrin.client.sbatch.parse import (
    RUN_SCRIPT,
    ClientOptions,
    Submission,
    check_options,
    parse,
    parse_command,
    script_name,
    wants_wrap,
)
from meyrin.client.sbatch.script import Script, find_script, read_script

__all__ = [
    "RUN_SCRIPT",
    "ClientOptions",
    "Script",
    "Submission",
    "check_options",
    "find_script",
    "parse",
    "parse_command",
    "read_script",
    "script_name",
    "wants_wrap",
]
