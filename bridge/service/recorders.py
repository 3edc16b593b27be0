"""Tells the metrics and the sender what the loop has done."""

from bridge.controller.report import Report
from bridge.service.metrics import Metrics
from bridge.service.sender import Sender


class Recorders:
    """The loop's recorder.

    Args:
        metrics: records everything.
        sender: is told of passes that ran to their end.
    """

    def __init__(self, metrics: Metrics, sender: Sender) -> None:
        self._metrics = metrics
        self._sender = sender

    def passed(self, kind: str, report: Report) -> None:
        """Record a pass that ran to its end."""
        self._metrics.passed(kind, report)
        self._sender.passed(report)

    def failed(self, kind: str) -> None:
        """Record a pass that failed."""
        self._metrics.failed(kind)

    def resynced(self, at: float) -> None:
        """Record when a resync without a problem ended, in Unix seconds."""
        self._metrics.resynced(at)
