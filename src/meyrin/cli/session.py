"""What a command may use of the outside: environment, clock, patience, the hub. Tests give theirs.

Importing this is cheap; the SDK is loaded when a command first asks for the hub.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import click

from meyrin.cli.terminal import ERASE, is_terminal, say

if TYPE_CHECKING:
    from meyrin.client.api import Client

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass
class Session:
    """One run of the command line. `json` and `quiet` are set as soon as read."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    clock: Callable[[], float] = time.time
    pause: Callable[[float], None] = time.sleep
    options: dict[str, Any] = field(default_factory=dict)
    hub: str | None = None
    folder: str | None = None
    token_file: str | None = None
    json: bool = False
    quiet: bool = False

    @property
    def now_s(self) -> int:
        return int(self.clock())

    def client(self) -> Client:
        """A client of the hub that was named; close it (use `with`)."""
        from meyrin.client.api import Client  # noqa: PLC0415 - not for --help

        return Client.from_environment(
            self.environ,
            folder=self.folder,
            url=self.hub,
            token_file=self.token_file,
            pause=self.pause,
            on_silence=self._say_silent,
            **self.options,
        )

    def _say_silent(self) -> None:
        if not self.quiet:
            erase = ERASE if is_terminal(sys.stderr) else ""
            say(f"{erase}the hub has not answered for some seconds; still trying")


pass_session = click.make_pass_decorator(Session, ensure=True)


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    if value:
        setattr(context.ensure_object(Session), str(parameter.name), value)
    return value


def hub_options(*, hidden: bool) -> Callable[[Command], Command]:
    """The options that say which hub; every command takes them, only `meyrin` shows them."""

    def add(command: Command) -> Command:
        for names, metavar, text in _HUB_OPTIONS:
            command = click.option(
                *names,
                metavar=metavar,
                help=text,
                hidden=hidden,
                expose_value=False,
                callback=_remember,
            )(command)
        return command

    return add


_HUB_OPTIONS = (
    (("--token-file", "token_file"), "FILE", "File with your token (else MEYRIN_TOKEN_FILE)."),
    (("--dir", "folder"), "DIR", "Folder of a one-machine hub (else MEYRIN_DIR)."),
    (("--hub", "hub"), "URL", "Address of the hub (else MEYRIN_HUB)."),
)
HUB_OPTION_NAMES = frozenset(names[0] for names, _, _ in _HUB_OPTIONS)


def json_option(command: Command) -> Command:
    """`--json`: data for programs, errors too."""
    return click.option(
        "--json",
        "json",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_remember,
        help="Print one JSON object instead.",
    )(command)


def page_options(command: Command) -> Command:
    """`--limit` and `--after`, as every listing has them."""
    command = click.option(
        "--after", default="", metavar="KEY", help="`next` of the page before, to go on."
    )(command)
    return click.option(
        "--limit",
        type=click.IntRange(1, 500),
        default=50,
        show_default=True,
        help="Rows at most.",
    )(command)


def asks_hub(command: Callable[..., Any]) -> Callable[..., Any]:
    """What a command with an answer takes: `--json`, which hub, and the session."""
    return json_option(hub_options(hidden=True)(pass_session(command)))


def lists(command: Callable[..., Any]) -> Callable[..., Any]:
    """What a listing takes: a page's bounds, and what `asks_hub` gives."""
    return page_options(asks_hub(command))
