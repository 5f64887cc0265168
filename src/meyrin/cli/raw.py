"""Commands whose words the sbatch reader reads: `submit` and `run`.

Only `--help` and the options that say which hub are read here, and only while they stand first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from meyrin.cli.session import HUB_OPTION_NAMES
from meyrin.domain.errors import BadDirective

if TYPE_CHECKING:
    from meyrin.client.sbatch.options import Option


class RawCommand(click.Command):
    """Gives its callback `argv`: the words after the leading hub options, unread."""

    def __init__(self, *args: Any, without: Sequence[str] = (), **settings: Any) -> None:
        """`without` names options of sbatch that this command has no use for."""
        super().__init__(*args, **settings)
        self._without = frozenset(without)
        self.context_settings["help_option_names"] = ["-h", "--help"]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        head, rest = split_head(args)
        super().parse_args(ctx, head)
        ctx.params["argv"] = tuple(rest)
        return []

    def invoke(self, ctx: click.Context) -> Any:
        """Of an option that says which hub, and stands too late, the error says where it goes."""
        try:
            return super().invoke(ctx)
        except BadDirective as error:
            name = str(error.facts.get("option"))
            if name in HUB_OPTION_NAMES and error.facts.get("line") is None:
                error.hint = f"say it first: {ctx.command_path} {name}=... and then the rest"
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The sbatch options that are honoured, from their own table."""
        from meyrin.client.sbatch.options import HONOURED, OWN  # noqa: PLC0415

        def row(option: Option) -> tuple[str, str]:
            value = {"nothing": "", "a value": "=…", "maybe a value": "[=…]"}[option.takes]
            if option in shadowed:
                return f"-{option.letter} …", option.meaning.replace("`", "")
            letter = f"-{option.letter}, " if option.letter else ""
            return f"{letter}--{option.name}{value}", option.meaning.replace("`", "")

        own = {option.name for option in OWN}
        shadowed = [option for option in HONOURED if option.name in own]
        with formatter.section("Meyrin's own options"):
            formatter.write_dl([row(option) for option in self._taken(OWN)])
        with formatter.section("Options of sbatch"):
            formatter.write_dl([row(option) for option in self._taken(HONOURED)])
        super().format_options(ctx, formatter)

    def _taken(self, options: Iterable[Option]) -> list[Option]:
        return [option for option in options if option.name not in self._without]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The options that `--help` lists, or files: the script, or what a command reads."""
        from meyrin.client.sbatch.options import HONOURED, OWN  # noqa: PLC0415

        if not incomplete.startswith("-"):
            return [CompletionItem(incomplete, type="file")]
        taken = self._taken((*OWN, *HONOURED))
        listed = {f"--{option.name}": option.meaning for option in taken}
        return [
            *(CompletionItem(n, help=m) for n, m in listed.items() if n.startswith(incomplete)),
            *super().shell_complete(ctx, incomplete),
        ]


def split_head(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The leading words that are ours, and all the others."""
    at = 0
    while at < len(args):
        word = args[at]
        if word in {"--help", "-h"}:
            return list(args[: at + 1]), []
        name, equals, _ = word.partition("=")
        if name not in HUB_OPTION_NAMES:
            break
        at += 1 if equals else 2
    return list(args[:at]), list(args[at:])
