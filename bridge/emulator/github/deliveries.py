"""The delivery log of an App's webhook. https://docs.github.com/rest/apps/webhooks"""

import json
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from bridge.emulator.github.model import Refused, iso

KEPT = 3 * 86_400.0
"""s that a delivery is kept: three days on github.com."""

FIRST_ID = 12_000_000_000


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """An event that is sent to the App.

    Args:
        guid: of the event; copies have the same.
        event: such as `workflow_job`.
        action: such as `queued`; None for events without actions.
        body: the JSON.
        repository_id: None for events without a repository.
        subject: the job's id, for tests that select deliveries.
        url: of the receiver.
    """

    guid: str
    event: str
    action: str | None
    body: bytes
    installation_id: int
    repository_id: int | None = None
    subject: int | None = None
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The receiver's answer, or a failure with GitHub's own status code."""

    status: str
    status_code: int
    headers: Mapping[str, str]
    payload: str = ""

    @classmethod
    def failed(cls, status: str, status_code: int) -> "Answer":
        """There was no answer."""
        return cls(status=status, status_code=status_code, headers={})


@dataclass(frozen=True, kw_only=True)
class Logged:
    """A delivery that succeeded or failed."""

    id: int
    delivery: Delivery  # its body is compressed: thousands of them are kept
    headers: Mapping[str, str]
    answer: Answer
    redelivery: bool
    delivered_at: float
    duration: float  # s

    def item(self) -> dict[str, Any]:
        """The delivery as in the listing."""
        return {
            "id": self.id,
            "guid": self.delivery.guid,
            "delivered_at": iso(self.delivered_at),
            "redelivery": self.redelivery,
            "duration": round(self.duration, 2),
            "status": self.answer.status,
            "status_code": self.answer.status_code,
            "event": self.delivery.event,
            "action": self.delivery.action,
            "installation_id": self.delivery.installation_id,
            "repository_id": self.delivery.repository_id,
            "throttled_at": None,
        }

    def whole(self) -> dict[str, Any]:
        """The delivery with its request and response."""
        answer = self.answer
        return {
            **self.item(),
            "url": self.delivery.url,
            "request": {"headers": dict(self.headers), "payload": json.loads(zlib.decompress(self.delivery.body))},
            "response": {"headers": dict(answer.headers) or None, "payload": answer.payload or None},
        }


class DeliveryLog:
    """Deliveries by id, oldest first.

    Args:
        clock: Unix seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ids = count(FIRST_ID)
        self._log: list[Logged] = []

    def add(
        self, delivery: Delivery, headers: Mapping[str, str], answer: Answer, *, duration: float = 0.0, copy: bool
    ) -> None:
        """Add a delivery that has just ended."""
        stored = replace(delivery, body=zlib.compress(delivery.body, 1))
        self._log.append(
            Logged(
                id=next(self._ids),
                delivery=stored,
                headers=headers,
                answer=answer,
                redelivery=copy,
                delivered_at=self._clock(),
                duration=duration,
            )
        )

    def clear(self) -> None:
        """Forget all deliveries."""
        self._log.clear()

    def newest(self, before: int | None, size: int) -> tuple[list[Logged], bool]:
        """Up to `size` deliveries older than the id `before`, newest first, and whether there are more."""
        self._expire()
        end = len(self._log) if before is None else bisect_left(self._log, before, key=lambda logged: logged.id)
        begin = max(0, end - size)
        return self._log[begin:end][::-1], begin > 0

    def one(self, delivery_id: int) -> Logged:
        """Look one up."""
        self._expire()
        at = bisect_left(self._log, delivery_id, key=lambda logged: logged.id)
        if at == len(self._log) or self._log[at].id != delivery_id:
            raise Refused(404, "Not Found")
        return self._log[at]

    def _expire(self) -> None:
        limit = self._clock() - KEPT
        del self._log[: bisect_right(self._log, limit, key=lambda logged: logged.delivered_at)]
