"""Reads the bodies of requests, within a limit of memory for all that are arriving."""

from starlette.requests import Request

LARGEST = 25 * 1024 * 1024
"""Bytes of a body; GitHub sends none that is larger. https://docs.github.com/webhooks/webhook-events-and-payloads"""

MEMORY = 64 * 1024 * 1024
"""Bytes of all bodies that are arriving."""

SMALL = 64 * 1024
"""Bytes of a body that is never dropped to make room; nearly all events of jobs have less."""


class TooLarge(Exception):
    """A body is larger than GitHub sends any."""


class Dropped(Exception):
    """A body was dropped while it arrived, because others needed the memory."""


class _Body:
    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.dropped = False


class Bodies:
    """Reads bodies. Where they need too much memory, the one that has been arriving longest is dropped.

    So bodies that never end cannot keep out one that arrives at once.

    Args:
        memory: bytes for all bodies that are arriving.
    """

    def __init__(self, memory: int = MEMORY) -> None:
        self._memory = memory
        self._held = 0
        self._arriving: dict[_Body, None] = {}  # the oldest first

    async def read(self, request: Request) -> bytes:
        """A request's whole body.

        Raises:
            TooLarge: it is over LARGEST bytes; no more of it is read.
            Dropped: others needed the memory.
            ClientDisconnect: the client went away.
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
