"""Reads the bodies of requests, with one memory limit for all bodies that are arriving."""

from starlette.requests import Request

LARGEST = 25 * 1024 * 1024
"""The most bytes of a body. GitHub sends no larger ones:
https://docs.github.com/webhooks/webhook-events-and-payloads
"""

MEMORY = 64 * 1024 * 1024
"""The most bytes of all bodies that are arriving."""

SMALL = 64 * 1024
"""Bytes of a body up to which it is never dropped to make room. Nearly all job events are smaller."""


class TooLarge(Exception):
    """The body is larger than any that GitHub sends."""


class Dropped(Exception):
    """The body was dropped while it arrived, because others needed the memory."""


class _Body:
    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.dropped = False


class Bodies:
    """Reads bodies. If they need too much memory, the one that has been arriving longest is dropped.

    So bodies that never end cannot block those that arrive quickly.

    Args:
        memory: the most bytes of all bodies that are arriving.
    """

    def __init__(self, memory: int = MEMORY) -> None:
        self._memory = memory
        self._held = 0
        self._arriving: dict[_Body, None] = {}  # oldest first

    async def read(self, request: Request) -> bytes:
        """Read a request's whole body.

        Raises:
            TooLarge: it has more than LARGEST bytes; the rest is not read.
            Dropped: others needed the memory.
            ClientDisconnect: the client closed the connection.
        """
        if int(request.headers.get("content-length") or 0) > LARGEST:
            raise TooLarge
        body = _Body()
        self._arriving[body] = None
        try:
            async for part in request.stream():
                self._add(body, part)
            return b"".join(body.parts)
        finally:
            self._drop(body)
            del self._arriving[body]

    def _add(self, body: _Body, part: bytes) -> None:
        body.size += len(part)
        self._held += len(part)
        body.parts.append(part)
        if body.size > LARGEST:
            raise TooLarge
        while self._held > self._memory and (oldest := self._oldest_large()):
            self._drop(oldest)
        if body.dropped:
            raise Dropped

    def _oldest_large(self) -> _Body | None:
        return next((each for each in self._arriving if each.size > SMALL and not each.dropped), None)

    def _drop(self, body: _Body) -> None:
        if not body.dropped:
            self._held -= body.size
            body.parts.clear()
            body.dropped = True
