"""Where `meyrin` begins: a Ctrl-C while its modules load ends it without a word."""

from __future__ import annotations

import signal


def main() -> None:
    """The entry point."""
    plain = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if plain:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from meyrin.cli.main import main as command_line  # noqa: PLC0415

    if plain:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command_line()
