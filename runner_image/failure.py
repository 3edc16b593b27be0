"""How a request ends without a job."""

from bridge.model import Reason


class Failure(Exception):
    """The request ends here.

    Args:
        reason: what the bridge reads.
        detail: one line for a person; masked before it leaves the worker.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
