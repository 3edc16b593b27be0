"""Puts the dashboard together: the ledger, the plan and GitHub's sign-in behind its pages."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection

import httpx
import structlog
from starlette.routing import Route

from bridge.commands.composition import Bridge
from bridge.commands.stock import stocks
from bridge.config.settings import Config
from bridge.dashboard.attempts import Attempts, Most
from bridge.dashboard.content import Content, read_content
from bridge.dashboard.feed import Answers, Feed
from bridge.dashboard.http import Dashboard, routes
from bridge.dashboard.queries import Query
from bridge.dashboard.render import Extras, Pages
from bridge.dashboard.sessions import Login, Sessions
from bridge.errors import Problem
from bridge.github.sign_in import SignIn
from bridge.github.transport import http_client
from bridge.ledger import Transaction

log = structlog.get_logger()

WITHIN = 60.0
"""s in which so many wrong tokens are checked, and so many sign-ins with GitHub may fail, as `Most` says."""


@contextlib.asynccontextmanager
async def dashboard_routes(
    settings: Config,
    bridge: Bridge,
    problems: Callable[[], Collection[Problem]],
    wake: Callable[[], None],
    stop: asyncio.Event,
) -> AsyncIterator[list[Route]]:
    """The addresses of the dashboard, until the block ends.

    Args:
        settings: the configuration.
        bridge: whose ledger is shown.
        problems: returns what fails at present.
        wake: starts a pass.
        stop: ends the updates of open pages.
    """
    given, scope = settings.dashboard, settings.scope
    pages = Pages(scope.owner, scope.web_url)
    login = Login(token=given.token, secret=given.secret, public_url=scope.public_url)

    def content(transaction: Transaction, queries: Collection[Query]) -> Content:
        return read_content(transaction, bridge.reconciler.outlook(transaction), scope, queries, bridge.clock())

    async def read(queries: Collection[Query]) -> Answers:
        seen = await bridge.ledger.read(lambda transaction: content(transaction, queries))
        beside = Extras(problems=tuple(map(str, problems())), rate_limits=bridge.rate_limits(), stock=stock.known())
        # In a thread, as the read: neither makes a delivery wait.
        return await asyncio.to_thread(lambda: {each: pages.fragment(each, seen, beside) for each in queries})

    async def retry(job_id: int, person: str) -> bool:
        is_open = await bridge.ledger.transact(lambda transaction: _retry(transaction, job_id, person, bridge.clock()))
        if is_open:
            log.info("dashboard: job retried", job=job_id, person=person)
            wake()
        return is_open

    feed = Feed(read, stop)
    async with http_client() as http, stocks(settings, bridge.clock) as stock, contextlib.aclosing(feed):
        yield routes(
            Dashboard(
                pages=pages,
                feed=feed,
                login=login,
                sessions=Sessions(login),
                tokens=Attempts(Most(), WITHIN, time.monotonic),
                codes=Attempts(Most(), WITHIN, time.monotonic),
                github=_sign_in(settings, http),
                retry=retry if given.actions else None,
            )
        )


def _retry(transaction: Transaction, job_id: int, person: str, now: float) -> bool:
    """Whether the job is open; if it is, it is retried, and who did it is written down in the same transaction."""
    is_open = transaction.retry(job_id, now)
    if is_open:
        transaction.overview().record(at=now, who=person, action="retry", job_id=job_id)
    return is_open


def _sign_in(settings: Config, http: httpx.AsyncClient) -> SignIn | None:
    """What signs people in with GitHub; None if that is not configured."""
    given = settings.dashboard
    if not given.client_id or not given.client_secret:
        return None
    return SignIn(
        http,
        web_url=settings.scope.web_url,
        api_url=settings.github_api_url,
        client_id=given.client_id,
        client_secret=given.client_secret,
        owner=settings.scope.owner,
        teams=given.teams,
    )
