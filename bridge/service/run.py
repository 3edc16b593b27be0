"""Runs the HTTP server and the loop together, in one process, until told to stop."""

import asyncio
import contextlib
import gc
import socket
from collections.abc import Iterator

import structlog
import uvicorn

from bridge.errors import ConfigError
from bridge.service.connections import KEEP_ALIVE, Connection, Server
from bridge.service.http import Dependencies, application
from bridge.service.loop import Service

DRAIN = 10
"""s that accepted deliveries have to finish after a signal."""

log = structlog.get_logger()


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens; a ConfigError where the address is not available."""
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


async def run(dependencies: Dependencies, service: Service, listener: socket.socket, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then finish: deliveries first, then passes.

    Args:
        dependencies: of the HTTP application.
        service: the loop.
        listener: a listening socket.
        stop: ends both.
    """
    _freeze_loaded_modules()
    server = Server(server_config(dependencies))
    serving = asyncio.create_task(server.serve([listener]))
    looping = asyncio.create_task(service.run(stop))
    log.info("listening", address="{}:{}".format(*listener.getsockname()[:2]))
    await stop.wait()
    server.should_exit = True
    await serving
    await looping
    log.info("stopped")


def _freeze_loaded_modules() -> None:
    """Keep loaded modules out of garbage collection: scanning them takes 0.1 s each time."""
    gc.collect()
    gc.freeze()


def server_config(dependencies: Dependencies) -> uvicorn.Config:
    """How uvicorn serves what stands behind `door`."""
    return uvicorn.Config(
        application(dependencies),
        http=Connection,
        ws="none",
        log_config=None,
        log_level="error",  # a warning for each request that is no HTTP would let anyone fill the log
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=DRAIN,
    )
