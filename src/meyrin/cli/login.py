"""`meyrin login` and `meyrin whoami`: which hub, and as whom."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from meyrin.cli.session import Session, asks_hub, hub_options, json_option, pass_session
from meyrin.cli.terminal import clean, data, data_json, is_terminal, say
from meyrin.domain.errors import InvalidInput, NotFound
from meyrin.domain.units import show_count

if TYPE_CHECKING:
    from pathlib import Path

    from meyrin.wire.identity import Me


@click.command(
    epilog="""\b
Examples:
  meyrin login                               a link that logs your browser in, once
  meyrin login --person ada                  for somebody else (administrators)
  meyrin login --hub https://hub.example.org --code
  meyrin login --hub https://hub.example.org --save < token.txt
With --code your organisation's log-in page says who you are: a code to confirm in any browser,
on any machine. The log-in is kept in client.json and renewed by itself.
With --save a token is asked for (or read from standard input), tried, and kept in client.json in
your Meyrin folder, for you alone to read. Without either nothing is written.
"""
)
@click.option("--save", is_flag=True, help="Keep a token for the hub named with --hub.")
@click.option("--code", is_flag=True, help="Log in at your organisation, by a code to confirm.")
@click.option("--replace", is_flag=True, help="With --save, --code: replace the hub kept before.")
@click.option("--person", metavar="NAME", help="Whom the link logs in: you, if left out.")
@click.option("--page", metavar="PATH", default="/", help="Where the link leads.")
@json_option
@hub_options(hidden=False)
@pass_session
def login(
    session: Session, save: bool, code: bool, replace: bool, person: str | None, page: str
) -> None:
    """Log in: print a link for the pages, or keep a log-in for a hub."""
    if save and code:
        raise InvalidInput("--save and --code are two ways", hint="choose one", field="--code")
    if save:
        _keep(session, replace)
        return
    if code:
        _by_code(session, replace)
        return
    with session.client() as hub:
        link = hub.people.login_link(page, person)
    if session.json:
        data_json(link.model_dump(mode="json"))
        return
    data(link.url)
    say(f"Open it in a browser within {show_count(link.expires_s // 60, 'minute')}; it works once.")


def _target(session: Session, replace: bool, way: str) -> tuple[str, Path]:
    """The hub to log in to and the file to keep it in, unless that knows another hub."""
    from meyrin.client.place import (  # noqa: PLC0415
        CLIENT_FILE,
        check_url,
        find_hub,
        state_folder,
    )

    named = session.hub or session.environ.get("MEYRIN_HUB")
    path = state_folder(session.environ, session.folder) / CLIENT_FILE
    known = find_hub({}, folder=path.parent) if path.exists() and not replace else None
    if not named and known is not None:
        return known.url, path
    if not named:
        raise InvalidInput("which hub?", hint=f"meyrin login {way} --hub URL", field="--hub")
    url = check_url(named, "--hub")
    if known is not None and known.url != url:
        raise InvalidInput(
            f"{path} knows the hub {known.url}",
            hint="add --replace to forget it, or keep this one elsewhere with --dir",
        )
    return url, path


def _keep(session: Session, replace: bool) -> None:
    """Try a token and write it down, unless that would make another hub unknown."""
    from meyrin.client.api import Client  # noqa: PLC0415
    from meyrin.client.place import check_token, locked, save  # noqa: PLC0415

    url, path = _target(session, replace, "--save")
    token = check_token(_ask(url), "the input")
    with Client(url, token, pause=session.pause, **session.options) as hub:
        me = hub.people.me()
    with locked(path):  # who renews the log-in kept before would write it back
        save(path, url, token)
    _tell_kept(session, me, url, path)


def _by_code(session: Session, replace: bool) -> None:
    """Log in at the hub's OpenID provider and keep what came of it."""
    from contextlib import closing  # noqa: PLC0415

    from meyrin.client.api import Client  # noqa: PLC0415
    from meyrin.client.connection import Connection  # noqa: PLC0415
    from meyrin.client.device import Code, log_in, ways  # noqa: PLC0415
    from meyrin.client.place import locked, save  # noqa: PLC0415

    def tell(code: Code) -> None:
        say(f"Open {clean(code.address)}")
        say(
            f"and confirm the code {clean(code.code)} within"
            f" {show_count(code.expires_s // 60, 'minute')}."
        )

    url, path = _target(session, replace, "--code")
    with closing(Connection(url, "", pause=session.pause, **session.options)) as hub:
        way = ways(hub)
        if way is None:
            raise NotFound(
                f"{url} has no OpenID provider",
                hint="ask its administrator for a token, then: meyrin login --save --hub URL",
            )
        kept = log_in(hub, way, tell, session.pause)
    with Client(url, kept.token, pause=session.pause, **session.options) as logged_in:
        me = logged_in.people.me()
    with locked(path):
        save(path, url, kept.token, kept.openid)
    _tell_kept(session, me, url, path)


def _tell_kept(session: Session, me: Me, url: str, path: Path) -> None:
    if session.json:
        data_json({"url": url, "person": me.person.name, "kept_in": str(path)})
    else:
        say(f"You are {clean(me.person.name)} at {url}. Kept in {path}.")


def _ask(url: str) -> str:
    if is_terminal(sys.stdin):
        say(f"Make a token on {url} under your name, or ask its administrator.")
        return str(click.prompt("Token", hide_input=True, err=True))
    return sys.stdin.readline()


@click.command(
    epilog="""\b
Example:
  meyrin whoami         your name, your hub, your projects
"""
)
@asks_hub
def whoami(session: Session) -> None:
    """Who you are at which hub, and your projects."""
    with session.client() as hub:
        me, url = hub.people.me(), hub.url
    if session.json:
        data_json({"url": url, **me.model_dump(mode="json")})
    else:
        data(_words(me, url))


def _words(me: Me, url: str) -> str:
    name = me.person.name
    shown = me.person.display_name
    admin = ", an administrator" if me.person.admin else ""
    lines = [clean(f"{name}{f' ({shown})' if shown != name else ''}{admin} at {url}")]
    lines += [clean(f"  {one.name}: {one.role or 'visible'}") for one in me.projects]
    return "\n".join(lines if me.projects else [*lines, "  in no project yet"])
