"""Injects faults into HTTP calls, below any framework: a dropped connection is really closed."""

import asyncio
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.emulator.faults import Fault, FaultKind, Faults


class FaultLayer:
    """An ASGI application in front of another.

    Args:
        app: the application behind it.
        faults: to inject.
    """

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        fault = self._faults.take(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
            return
        body = await _whole(receive)
        match fault.kind:
            case FaultKind.DROP:
                await _drop(receive, send)
            case FaultKind.ERROR:
                await _answer(fault, send)
            case FaultKind.DELAY:
                await asyncio.sleep(fault.seconds)
                await self._app(scope, _replay(body), send)
            case FaultKind.ACCEPT_THEN_ERROR:
                await self._app(scope, _replay(body), _nowhere)
                await _answer(fault, send)
            case FaultKind.ACCEPT_THEN_HANG:
                await self._app(scope, _replay(body), _nowhere)
                await asyncio.sleep(fault.seconds)
                await _drop(receive, send)
            case FaultKind.HANG:
                await asyncio.sleep(fault.seconds)
                await _drop(receive, send)
            case FaultKind.LATE:
                await self._app(scope, _replay(body), _later(send, fault.seconds))
            case FaultKind.DUPLICATE:
                await self._app(scope, _replay(body), _nowhere)
                await self._app(scope, _replay(body), send)


async def _whole(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


def _replay(body: bytes) -> Receive:
    waiting: asyncio.Queue[Message] = asyncio.Queue()
    waiting.put_nowait({"type": "http.request", "body": body, "more_body": False})
    return waiting.get


def _later(send: Send, seconds: float) -> Send:
    """Send, starting after a delay."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            await asyncio.sleep(seconds)
        await send(message)

    return sent


async def _nowhere(_message: Message) -> None:
    return None


async def _answer(fault: Fault, send: Send) -> None:
    headers = {"content-type": "application/json", **fault.headers}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": fault.status, "headers": raw})
    await send({"type": "http.response.body", "body": fault.body.encode()})


async def _drop(receive: Receive, send: Send) -> None:
    """Close the connection. ASGI has no message for it, so this uses uvicorn's transport behind `send`."""
    connection: Any = send
    connection.__self__.transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass
