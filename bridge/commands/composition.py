"""The composition root: settings -> the parts, put together.

Imports stay within the functions that need them: RunPod's SDK alone takes seconds.
"""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

    from bridge.config.settings import Config
    from bridge.controller.reconcile import Reconciler
    from bridge.core.scope import Route, Scope
    from bridge.github.api import GitHub
    from bridge.github.auth import AppAuth, PatAuth
    from bridge.ledger import Ledger


@dataclass(frozen=True, kw_only=True)
class Bridge:
    """The parts put together.

    Args:
        scope: what is served.
        ledger: opened.
        reconciler: over it.
        calls: by service, how often what was called.
        prepare: loads what the first request would wait for.
        clock: Unix seconds by GitHub's clock, as far as it has answered.
        learn_time: has GitHub answer, before anything is compared with its times; done unless it is a dry run.
    """

    scope: "Scope"
    ledger: "Ledger"
    reconciler: "Reconciler"
    calls: Callable[[], "dict[str, Counter[str]]"]
    prepare: Callable[[], Awaitable[object]]
    clock: Callable[[], float]
    learn_time: Callable[[], Awaitable[None]]


@contextlib.asynccontextmanager
async def composed(settings: "Config", *, dry_run: bool) -> "AsyncIterator[Bridge]":
    """Put the parts together, and take them apart in the end.

    Args:
        settings: what the bridge was told to do.
        dry_run: make no ledger where there is none.
    """
    import structlog

    from bridge.concurrency import each
    from bridge.controller.reconcile import Reconciler
    from bridge.github.api import GitHub
    from bridge.github.auth import AppAuth
    from bridge.github.clock import GitHubClock
    from bridge.github.deliveries import DeliveryLog
    from bridge.github.transport import http_client
    from bridge.ledger import Ledger
    from bridge.runpod.requests import RunPod
    from bridge.telemetry import configure_logging

    configure_logging(settings.secrets())
    clock = GitHubClock()
    async with http_client(clock) as http:
        auth = _auth(settings, http, clock)
        github = GitHub(http, auth, api_url=settings.github_api_url, clock=clock)
        log = DeliveryLog(auth) if isinstance(auth, AppAuth) else None
        runpod = RunPod(api_key=settings.runpod_api_key, base_url=settings.runpod_base_url, clock=clock)
        if not dry_run:
            await _learn_time(github)  # a new ledger notes when it was made
        opened = Ledger.open_existing if dry_run else Ledger.open
        ledger = opened(settings.database_url, clock)
        structlog.get_logger().info("ledger opened", url=ledger.url)
        _warn_of_shared_labels(settings.routes)
        try:
            scope = _scope(settings)
            yield Bridge(
                scope=scope,
                ledger=ledger,
                reconciler=Reconciler(scope, github, runpod, ledger, log, clock=clock),
                calls=lambda: {"github": Counter(github.calls), "runpod": Counter(runpod.calls)},
                prepare=lambda: each({route.endpoint for route in scope.routes}, runpod.prepare),
                clock=clock,
                learn_time=lambda: _learn_time(github),
            )
        finally:
            runpod.close()
            ledger.close()


def _warn_of_shared_labels(routes: "Iterable[Route]") -> None:
    import structlog

    from bridge.core.routing import contained

    for small, large in contained(tuple(routes)):
        structlog.get_logger().warning(
            f"route {large.name} has all labels of route {small.name}: GitHub may give its runners that route's jobs; "
            "give each route a label that the other does not have"
        )


async def _learn_time(github: "GitHub") -> None:
    """Ask GitHub; what is wrong with its answer, the first pass tells."""
    from bridge.errors import BridgeError

    with contextlib.suppress(BridgeError):
        await github.learn_time()


def _scope(settings: "Config") -> "Scope":
    from bridge.core.scope import Scope
    from bridge.github.api import web_url_of

    return Scope(
        owner=settings.owner,
        organisation=settings.organisation,
        repositories=settings.repositories,
        routes=settings.routes,
        prefix=settings.prefix,
        web_url=web_url_of(settings.github_api_url),
        public_url=settings.public_url,
        callback_key=settings.callback_key,
        full_scan_every=settings.full_scan_every,
        retention=settings.retention,
        interval=settings.interval,
    )


def _auth(settings: "Config", http: "httpx.AsyncClient", clock: Callable[[], float]) -> "AppAuth | PatAuth":
    from bridge.config.settings import Pat
    from bridge.github.auth import AppAuth, AppKey, PatAuth

    if isinstance(settings.github, Pat):
        return PatAuth(settings.github.token)
    return AppAuth(
        http,
        api_url=settings.github_api_url,
        issuer=settings.github.issuer,
        key=AppKey.load(settings.github.private_key, settings.github.private_key_setting),
        owner=settings.owner,
        installation_id=settings.github.installation_id,
        clock=clock,
    )
