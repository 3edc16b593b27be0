"""Runs the HTTP server and the loop in one process until it is stopped."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import Iterator
from functools import partial
from typing import cast

import structlog
import uvicorn

from bridge.errors import ConfigError
from bridge.service.connections import DEFAULT_LIMITS, Connection, ConnectionLimits, Server, Warnings
from bridge.service.http import Dependencies, application
from bridge.service.loop import Service

DRAIN = 10
"""s that accepted deliveries have to finish when the service stops."""

log = structlog.get_logger()


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket.

    Raises:
        ConfigError: the address is not available.
    """
    # With a named protocol asyncio turns Nagle's algorithm off; it would delay each answer by 40 ms.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise ConfigError(f"--serve: cannot listen on {host}:{port}: {error.strerror}") from None
        listener.listen(2048)
        yield listener


async def run(dependencies: Dependencies, service: Service, listener: socket.socket, stop: asyncio.Event) -> None:
    """Serve until `stop` is set. Then finish the accepted deliveries, and after them the current passes.

    Args:
        dependencies: of the HTTP application.
        service: the loop.
        listener: a listening socket.
        stop: ends both.
    """
    _freeze_loaded_modules()
    warnings = Warnings()
    server = Server(server_config(dependencies, warnings), warnings)
    serving = asyncio.create_task(server.serve([listener]))
    looping = asyncio.create_task(service.run(stop))
    log.info("listening", address="{}:{}".format(*listener.getsockname()[:2]))
    await stop.wait()
    server.should_exit = True
    await serving
    await looping
    log.info("stopped")


def _freeze_loaded_modules() -> None:
    """Exclude loaded modules from Python's garbage collection: it takes 0.1 s each time to scan them."""
    gc.collect()
    gc.freeze()


def server_config(
    dependencies: Dependencies, warnings: Warnings, limits: ConnectionLimits = DEFAULT_LIMITS
) -> uvicorn.Config:
    """Uvicorn's configuration.

    Args:
        dependencies: of the HTTP application.
        warnings: logs that a limit was reached.
        limits: of each connection.
    """
    return uvicorn.Config(
        application(dependencies),
        http=cast("type[asyncio.Protocol]", partial(Connection, limits, warnings)),
        ws="none",
        log_config=None,
        log_level="error",  # a warning for each invalid request would let anyone fill the log
        access_log=False,
        timeout_keep_alive=limits.keep_alive,
        lifespan="off",
        proxy_headers=False,  # X-Forwarded-For would replace the address of the connection, which access depends on
        server_header=False,
        timeout_graceful_shutdown=DRAIN,
    )
