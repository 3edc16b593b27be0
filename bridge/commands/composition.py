"""The composition root: builds a bridge from its configuration.

Heavy imports stay within the functions that need them: RunPod's SDK alone takes seconds.
"""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

    from bridge.config.settings import Config
    from bridge.controller.reconcile import Reconciler
    from bridge.core.scope import Route, Scope
    from bridge.github.api import GitHub
    from bridge.github.auth import AppAuth, PatAuth
    from bridge.github.timing import GitHubTiming
    from bridge.ledger import Ledger
    from bridge.runpod.requests import RunPod


@dataclass(frozen=True, kw_only=True)
class Bridge:
    """The parts of a running bridge.

    Args:
        ledger: open.
        reconciler: uses that ledger.
        calls: the number of calls made so far, by service and kind of call.
        rate_limits: the calls that are left of a rate limit, by service; none that is not known.
        prepare: loads what the first request to RunPod would otherwise wait for.
        clock: Unix seconds by GitHub's clock, once GitHub has answered; before that, by this machine's.
        scope: what it serves.
        github: the client that the reconciler uses.
        runpod: the client that the reconciler uses.
        secrets: of the configuration.
        learn_time: reads GitHub's clock before any of GitHub's times is compared; already done unless in a dry run.
    """

    ledger: "Ledger"
    reconciler: "Reconciler"
    calls: Callable[[], "dict[str, Counter[str]]"]
    rate_limits: Callable[[], "dict[str, int]"]
    prepare: Callable[[], Awaitable[object]]
    clock: Callable[[], float]
    scope: "Scope"
    github: "GitHub"
    runpod: "RunPod"
    secrets: "tuple[str, ...]" = field(repr=False)
    learn_time: Callable[[], Awaitable[None]]


@contextlib.asynccontextmanager
async def composed(
    settings: "Config", *, dry_run: bool, github_timing: "GitHubTiming | None" = None
) -> "AsyncIterator[Bridge]":
    """Build a bridge, and close what it has opened at the end of the block.

    Args:
        settings: the configuration.
        dry_run: neither create nor migrate a ledger.
        github_timing: how long GitHub's client waits; its clock is replaced by GitHub's. None for the defaults.

    Raises:
        ConfigError: the App's key or the ledger cannot be used.
    """
    from bridge.controller.reconcile import Reconciler
    from bridge.github.api import GitHub
    from bridge.github.auth import AppAuth
    from bridge.github.clock import GitHubClock
    from bridge.github.deliveries import DeliveryLog
    from bridge.github.timing import DEFAULT_TIMING
    from bridge.github.transport import http_client
    from bridge.ledger import Ledger
    from bridge.runpod.requests import RunPod
    from bridge.telemetry import configure_logging

    configure_logging(settings.secrets(), settings.log_level)
    clock = GitHubClock()
    timing = replace(github_timing or DEFAULT_TIMING, clock=clock)
    async with http_client(clock) as http:
        auth = auth_of(settings, http, timing)
        github = GitHub(http, auth, api_url=settings.github_api_url, timing=timing)
        log = DeliveryLog(auth) if isinstance(auth, AppAuth) else None
        names = settings.scope.endpoint_names
        runpod = RunPod(api_key=settings.runpod_api_key, base_url=settings.runpod_base_url, clock=clock, names=names)
        if not dry_run:
            await _learn_time(github)  # a new ledger stores when it was created
        opened = Ledger.open_existing if dry_run else Ledger.open
        ledger = opened(settings.database_url, clock, claim_lease=settings.scope.timing.claim_lease)
        _log_opened(ledger)
        _warn_of_shared_labels(settings.scope.routes)
        try:
            reconciler = Reconciler(settings.scope, github, runpod, ledger, log, clock=clock)
            yield _bridge(settings, reconciler, github, runpod, ledger, clock)
        finally:
            runpod.close()
            ledger.close()


def _bridge(  # noqa: PLR0913, PLR0917 - its parts
    settings: "Config",
    reconciler: "Reconciler",
    github: "GitHub",
    runpod: "RunPod",
    ledger: "Ledger",
    clock: Callable[[], float],
) -> Bridge:
    from bridge.concurrency import each
    from bridge.core.scope import endpoints_of

    return Bridge(
        ledger=ledger,
        reconciler=reconciler,
        calls=lambda: {"github": Counter(github.calls), "runpod": Counter(runpod.calls)},
        rate_limits=lambda: _rate_limits(github),
        prepare=lambda: each(endpoints_of(settings.scope.routes), runpod.prepare),
        clock=clock,
        scope=settings.scope,
        github=github,
        runpod=runpod,
        secrets=settings.secrets(),
        learn_time=lambda: _learn_time(github),
    )


def _rate_limits(github: "GitHub") -> dict[str, int]:
    return {} if github.calls_left is None else {"github": github.calls_left}


def _log_opened(ledger: "Ledger") -> None:
    import structlog

    structlog.get_logger().debug("ledger opened", url=ledger.url)


def _warn_of_shared_labels(routes: "Iterable[Route]") -> None:
    import structlog

    from bridge.core.routing import contained

    for small, large in contained(tuple(routes)):
        structlog.get_logger().warning(
            f"route {large.name} has all labels of route {small.name}: GitHub may give jobs of route {small.name} "
            f"to runners of route {large.name}; "
            "give each route a label that the other does not have"
        )


async def _learn_time(github: "GitHub") -> None:
    """Ask GitHub. An error is ignored here: the first pass reports it."""
    from bridge.errors import BridgeError

    with contextlib.suppress(BridgeError):
        await github.learn_time()


def auth_of(settings: "Config", http: "httpx.AsyncClient", timing: "GitHubTiming") -> "AppAuth | PatAuth":
    """What authenticates to GitHub.

    Raises:
        ConfigError: the App's key cannot be used.
    """
    from bridge.config.credentials import Pat
    from bridge.github.auth import AppAuth, AppKey, PatAuth

    app = settings.github
    if isinstance(app, Pat):
        return PatAuth(app.token)
    return AppAuth(
        http,
        api_url=settings.github_api_url,
        issuer=app.issuer,
        key=AppKey.load(app.private_key, app.private_key_setting),
        owner=settings.scope.owner,
        installation_id=app.installation_id,
        timing=timing,
    )
