"""`meyrin completion`: the script that teaches a shell our commands and options."""

from __future__ import annotations

import click

from meyrin.cli.terminal import data

VARIABLE = "_MEYRIN_COMPLETE"


@click.command(
    "completion",
    epilog="""\b
Examples:
  meyrin completion bash > ~/.local/share/bash-completion/completions/meyrin
  meyrin completion zsh  > "${fpath[1]}/_meyrin"
  meyrin completion fish > ~/.config/fish/completions/meyrin.fish
Open a new shell afterwards.
""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print a completion script for your shell."""
    from click.shell_completion import ShellComplete, get_completion_class  # noqa: PLC0415

    kind = get_completion_class(shell)
    assert kind is not None, "click knows bash, zsh and fish"
    made = kind(context.find_root().command, {}, "meyrin", VARIABLE)
    # the plain template: bash's own class starts a bash only to learn its version
    data(ShellComplete.source(made))
