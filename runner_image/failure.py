"""The error that ends a request."""

from collections.abc import Mapping

from bridge.core.worker import Reason


class Failure(Exception):
    """The request failed.

    Args:
        reason: for the bridge.
        detail: one line for people; masked before it leaves the worker.
        seconds: by phase; None if no runner was started.
    """

    def __init__(self, reason: Reason, detail: str, seconds: Mapping[str, float] | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.seconds = seconds
