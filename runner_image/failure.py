"""How a request ends without a job."""

from collections.abc import Mapping

from bridge.core.worker import Reason


class Failure(Exception):
    """The request ends here.

    Args:
        reason: what the bridge reads.
        detail: one line for a person; masked before it leaves the worker.
        seconds: per phase, None when no runner was started.
    """

    def __init__(self, reason: Reason, detail: str, seconds: Mapping[str, float] | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.seconds = seconds
