"""The error that ends a request."""

from bridge.core.worker import Reason, WorkerAnswer


class Failure(Exception):
    """The request failed.

    Args:
        reason: for the bridge.
        detail: one line for people; masked before it leaves the worker.
        known: other keys of the answer; empty if no runner was started.
    """

    def __init__(self, reason: Reason, detail: str, known: WorkerAnswer | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.known = known or WorkerAnswer()
