"""The log-in page: what a link does, and what to do when there is none that counts."""

from __future__ import annotations

from html import escape
from urllib.parse import urlencode

from fastapi.responses import HTMLResponse

# a log-in link is a secret in an address: keep it out of caches and of other sites' logs
PRIVATE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
# where a form is sent by POST: with no-referrer, browsers would not say that it is one of ours
_OURS_ALONE = {**PRIVATE, "Referrer-Policy": "same-origin"}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · Meyrin</title>
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/meyrin.css">
</head>
<body>
<main>
<h1>{title}</h1>
<p>{text}</p>
{way}
<p>Run <code>meyrin login</code> where you use Meyrin's command line: it prints a new link. On a
machine of your own, <code>meyrin up</code> prints one when it starts. Each link works once, for ten
minutes.</p>
</main>
</body>
</html>
"""


_WAY = """<form action="/login/openid" method="get">
<input type="hidden" name="next" value="{page}">
<button type="submit">Log in with your organisation</button>
</form>"""


_SWITCH = """<form action="/login?{query}" method="post">
<button type="submit">Log in as {name}</button>
</form>"""


def render(title: str, text: str, status: int, page: str | None = None) -> HTMLResponse:
    """A page of words; with `page`, and a button that logs in and then leads there."""
    way = "" if page is None else _WAY.format(page=escape(page))
    return HTMLResponse(_filled(title, text, way), status, PRIVATE)


def _filled(title: str, text: str, way: str) -> str:
    return _PAGE.format(title=escape(title), text=escape(text), way=way)


def render_switch(here: str, name: str, link: str, page: str) -> HTMLResponse:
    """Whether the browser of `here` shall be that of `name` from now on."""
    text = (
        f"You are {here} in this browser, and the link is for {name}: what you do from then on is "
        f"done as {name}. If you did not ask for it, close this page."
    )
    way = _SWITCH.format(query=escape(urlencode({"link": link, "next": page})), name=escape(name))
    return HTMLResponse(_filled(f"Log in as {name}?", text, way), headers=_OURS_ALONE)


def render_choice(page: str) -> HTMLResponse:
    """The ways to log in, where there is an OpenID provider."""
    return render("Log in", "Your home organisation says who you are; no new password.", 401, page)


def local_path(page: str) -> bool:
    r"""Whether `page` is a path of this hub, and nothing a browser takes for another place.

    Browsers read `//host` and `/\host` as another host, and drop tabs and line ends first.
    """
    return (
        page.startswith("/")
        and not page.startswith("//")
        and "\\" not in page
        and all(" " < letter != "\x7f" for letter in page)
    )
