"""Serves an ASGI application on loopback, in this process."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

LOOPBACK = "127.0.0.1"


@asynccontextmanager
async def serving(app: ASGIApp, port: int = 0) -> AsyncIterator[str]:
    """Serve `app` until the block ends.

    Args:
        app: any ASGI application.
        port: 0 for a free one.

    Yields:
        The base URL, such as `http://127.0.0.1:40123`.
    """
    with _listener(port) as listener:
        config = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", date_header=False, timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server._serve([listener]))  # serve() would handle this process's signals
        try:
            yield _url(listener.getsockname()[1])
        finally:
            server.should_exit = True
            await task


def _url(port: int) -> str:
    """Without the port that http has anyway: clients leave it out, too, and would name another URL."""
    return f"http://{LOOPBACK}" if port == 80 else f"http://{LOOPBACK}:{port}"


def _listener(port: int) -> socket.socket:
    """A listening socket. The protocol is named because asyncio then disables Nagle's delay of 40 ms an answer."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise OSError(error.errno, error.strerror, f"{LOOPBACK}:{port}") from None
    return listener


async def _refuse(request: Request) -> Response:
    message = f"{request.method} {request.url.path} is not emulated"
    return JSONResponse({"message": message, "error": message}, 501)


NOT_EMULATED = Route("/{path:path}", _refuse, methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
"""The last route of an emulator: answers 501 to calls that the bridge never makes."""
