"""`bridge dispatch --serve`: builds the service, and runs it until a signal."""

import asyncio
import socket
from collections.abc import Sequence

from starlette.routing import Route

from bridge.commands.composition import Bridge, composed
from bridge.commands.dashboard import dashboard_routes
from bridge.commands.pricing import read_until
from bridge.commands.sending import sending
from bridge.commands.signals import stop_event
from bridge.config.settings import Config
from bridge.errors import ConfigError
from bridge.github.timing import DEFAULT_TIMING, GitHubTiming
from bridge.github.webhook import Webhook
from bridge.service.http import Dependencies
from bridge.service.intake import Intake
from bridge.service.loop import LoopTiming, Service
from bridge.service.metrics import Clients, Metrics
from bridge.service.open_files import raise_file_limit
from bridge.service.recorders import Recorders
from bridge.service.run import listening, run
from bridge.service.sender import SenderTiming


def run_service(settings: Config, host: str, port: int) -> int:
    """Serve until SIGINT or SIGTERM, then finish what was accepted.

    Args:
        settings: the configuration.
        host: the IP address or host name to listen on.
        port: the TCP port.

    Returns:
        The exit status.

    Raises:
        ConfigError: a setting that the service needs is missing, or its address is not available.
    """
    if not settings.webhook_secrets:
        raise ConfigError("GITHUB_WEBHOOK_SECRET: missing; set it to the webhook secret of the App")
    import uvloop

    raise_file_limit()
    with listening(host, port) as listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_until_signal(settings, listener))
    return 0


async def _serve_until_signal(settings: Config, listener: socket.socket) -> None:
    await serve(settings, listener, stop_event())


async def serve(
    settings: Config,
    listener: socket.socket,
    stop: asyncio.Event,
    *,
    github_timing: GitHubTiming = DEFAULT_TIMING,
    sender_timing: SenderTiming | None = None,
) -> None:
    """Serve until `stop` is set. Then finish the deliveries that were accepted, and after them the current pass."""
    async with (
        composed(settings, dry_run=False, github_timing=github_timing) as bridge,
        sending(settings, bridge.ledger, bridge.clock, sender_timing) as sender,
    ):
        await bridge.prepare()
        metrics = Metrics(Clients(bridge.calls, bridge.rate_limits), bridge.clock)
        timing = LoopTiming(clock=bridge.clock)
        recorder = Recorders(metrics, sender)
        service = Service(bridge.reconciler, bridge.ledger, recorder, interval=settings.scope.interval, timing=timing)
        sent = asyncio.create_task(sender.run(stop))
        prices = asyncio.create_task(read_until(stop, bridge.ledger, settings, bridge.clock))
        try:
            async with dashboard_routes(settings, bridge, service.problems, service.wake, stop) as pages:
                await run(_dependencies(settings, bridge, service, metrics, pages), service, listener, stop)
        finally:
            prices.cancel()  # it may wait for RunPod; the next start reads them
            await asyncio.wait([prices])
        await sent


def _dependencies(
    settings: Config, bridge: Bridge, service: Service, metrics: Metrics, pages: Sequence[Route]
) -> Dependencies:
    return Dependencies(
        scope=settings.scope,
        is_kept=bridge.reconciler.keeps,
        webhook=Webhook(settings.webhook_secrets),
        intake=Intake(bridge.ledger, service.wake, bridge.clock),
        loop=service,
        recorder=metrics,
        metrics=metrics.page,
        pages=pages,
    )
