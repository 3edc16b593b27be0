"""The service: the server before the loop, in one process, until a signal."""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Iterator

import structlog
import uvicorn

from bridge.compose import Bridge, composed
from bridge.config import Config
from bridge.connections import KEEP_ALIVE, Connection, Server, raise_file_limit
from bridge.errors import ConfigError
from bridge.intake import Intake
from bridge.metrics import Metrics
from bridge.server import Door, application
from bridge.service import Service

DRAIN = 10
"""s that deliveries in hand have to end after a signal."""

log = structlog.get_logger()


def run_service(settings: Config, host: str, port: int) -> int:
    """Serve until SIGINT or SIGTERM, then end what is in hand; the exit status.

    Raises:
        ConfigError: a setting that a service needs is missing, or its address cannot be had.
    """
    if not settings.webhook_secrets:
        raise ConfigError("GITHUB_WEBHOOK_SECRET: missing; set it to the webhook secret of the App")
    import uvloop

    raise_file_limit()
    with listening(host, port) as listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_until_signal(settings, listener))
    return 0


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens; a ConfigError where none can be had."""
    # asyncio turns Nagle's delay, 40 ms an answer, off only where the protocol is named.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise ConfigError(f"--serve: cannot listen on {host}:{port}: {error.strerror}") from None
        listener.listen(2048)
        yield listener


async def _serve_until_signal(settings: Config, listener: socket.socket) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(settings, listener, stop)


async def serve(settings: Config, listener: socket.socket, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then end what is in hand: first deliveries, then passes."""
    async with composed(settings, dry_run=False) as bridge:
        await bridge.prepare()
        _keep_what_is_loaded()
        metrics = Metrics()
        service = Service(bridge.reconciler, bridge.ledger, metrics, interval=settings.interval, clock=bridge.clock)
        server = Server(server_config(_door(settings, bridge, service, metrics)))
        serving = asyncio.create_task(server.serve([listener]))
        looping = asyncio.create_task(service.run(stop))
        log.info("listening", address="{}:{}".format(*listener.getsockname()[:2]))
        await stop.wait()
        server.should_exit = True
        await serving
        await looping
        log.info("stopped")


def _keep_what_is_loaded() -> None:
    """A collection need not go through the modules each time, of which nothing is ever garbage: that takes 0.1 s."""
    gc.collect()
    gc.freeze()


def _door(settings: Config, bridge: Bridge, service: Service, metrics: Metrics) -> Door:
    return Door(
        scope=bridge.scope,
        is_served=bridge.reconciler.serves,
        secrets=settings.webhook_secrets,
        intake=Intake(bridge.ledger, service.wake, bridge.clock),
        loop=service,
        recorder=metrics,
        metrics=lambda: metrics.page(bridge.calls()),
    )


def server_config(door: Door) -> uvicorn.Config:
    """How uvicorn serves what stands behind `door`."""
    return uvicorn.Config(
        application(door),
        http=Connection,
        ws="none",
        log_config=None,
        log_level="error",  # a warning for each request that is no HTTP would be a stranger's way to fill the log
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=DRAIN,
    )
