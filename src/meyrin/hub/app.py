"""The hub's web application: rooms' routes over one database, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import structlog
from fastapi import Depends, FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from meyrin import __version__
from meyrin.hub.agents.routes import router as agents
from meyrin.hub.broker.routes import router as broker
from meyrin.hub.calls.changes_routes import router as changes
from meyrin.hub.calls.importing_routes import router as awards
from meyrin.hub.calls.modes.shipped import modes_of
from meyrin.hub.calls.pace_routes import router as pace
from meyrin.hub.calls.proposals_routes import router as proposals
from meyrin.hub.calls.public_clocks import Board
from meyrin.hub.calls.roles_routes import router as roles
from meyrin.hub.calls.routes import router as calls
from meyrin.hub.calls.unsent_routes import router as unsent
from meyrin.hub.evaluations.routes import router as evaluations
from meyrin.hub.identity.outside_routes import router as outside
from meyrin.hub.identity.provider import Provider, read_secret
from meyrin.hub.identity.routes import router as identity
from meyrin.hub.identity.service import SESSION_COOKIE, request_actor
from meyrin.hub.jobs.leaving_routes import router as leaving
from meyrin.hub.jobs.revoking import router as revoking
from meyrin.hub.jobs.routes import router as jobs
from meyrin.hub.ledger.routes import router as ledger
from meyrin.hub.owners.routes import router as owners
from meyrin.hub.plans.routes import router as plans
from meyrin.hub.plumbing import document, http, texts
from meyrin.hub.plumbing.blobs import Blobs
from meyrin.hub.plumbing.database import Database
from meyrin.hub.plumbing.head import Head
from meyrin.hub.plumbing.settings import HubSettings
from meyrin.hub.reports.apply_routes import router as apply
from meyrin.hub.reports.held import router as held
from meyrin.hub.reports.hours_pages import router as hours
from meyrin.hub.reports.leading import router as leading
from meyrin.hub.reports.owner_pages import router as owner_pages
from meyrin.hub.reports.people_pages import router as people_pages
from meyrin.hub.reports.plan_pages import router as plan_pages
from meyrin.hub.reports.routes import router as reports
from meyrin.hub.reports.run_pages import router as run_pages
from meyrin.hub.reports.statements import router as statements
from meyrin.hub.reports.trace import router as trace
from meyrin.hub.sites.routes import router as sites
from meyrin.hub.sites.terms_routes import router as terms

log = structlog.get_logger("meyrin.hub")
_QUIET = ("/api/v1/agent/", "/static/")


def create(settings: HubSettings, database: Database, blobs: Blobs) -> FastAPI:
    """The application; starts no thread and opens no port."""
    app = FastAPI(
        title="Meyrin",
        version=__version__,
        summary="Many clusters, each under its own rules, as one facility",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        dependencies=[Depends(texts.check_request)],
    )
    app.state.settings = settings
    app.state.database = database
    app.state.blobs = blobs
    app.state.authenticate = request_actor
    app.state.modes = modes_of(settings)
    app.state.clocks = Board(database)
    app.state.provider = _provider(settings, database)
    http.install(app)
    document.describe(app, SESSION_COOKIE)
    for router in (
        jobs,  # what is asked most is looked for first
        agents,
        identity,
        outside,
        sites,
        revoking,
        terms,
        ledger,
        owners,
        calls,
        changes,
        awards,
        pace,
        roles,
        proposals,
        unsent,
        leaving,
        evaluations,
        broker,
        hours,
        apply,
        leading,
        plans,
        plan_pages,
        people_pages,
        owner_pages,
        run_pages,
        statements,
        trace,
        reports,
        held,
    ):
        app.include_router(router)
    static = Path(__file__).parent / "reports" / "static"
    app.mount("/static", StaticFiles(directory=static), name="static")
    app.add_middleware(http.CutShort)
    app.add_middleware(http.BodyLimit)
    app.add_middleware(Head)
    app.add_middleware(RequestLog)
    return app


def _provider(settings: HubSettings, database: Database) -> Provider | None:
    """The OpenID provider of the settings; it is asked when somebody logs in, not now."""
    if not settings.openid_issuer:
        return None
    return Provider(
        settings.openid_issuer,
        settings.openid_client_id,
        settings.openid_cli_client_id,
        read_secret(settings.openid_secret_file),
        lambda: database.clock_ms() / 1000,
    )


class RequestLog:
    """One line per request: method, path, status, duration. Headers and bodies stay out."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_QUIET):
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noting)
        finally:
            log.info(
                "request.done",
                method=scope["method"],
                path=scope["path"],
                status=status,
                duration_ms=round((time.perf_counter() - begun) * 1000, 1),
            )
