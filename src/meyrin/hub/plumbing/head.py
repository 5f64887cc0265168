"""HEAD: what GET would answer, without its body, for whoever may GET it."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Head:
    """Asks a route for GET where HEAD was asked, so that no route is open to anybody by it. What
    logs in is left out: looking ahead must use up no link."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("method") != "HEAD" or scope["path"].startswith("/login"):
            await self.app(scope, receive, send)
            return
        begun, asked = asyncio.Event(), False

        async def bodiless() -> Message:
            """No body, and then a caller that left: what comes in pieces ends with its head."""
            nonlocal asked
            if asked:
                await begun.wait()
                return {"type": "http.disconnect"}
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}

        async def head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                begun.set()

        whole = [each for each in scope["headers"] if each[0] != b"range"]
        await self.app(
            {**scope, "method": "GET", "asked": "HEAD", "headers": whole}, bodiless, head
        )
        if begun.is_set():
            await send({"type": "http.response.body", "body": b""})
