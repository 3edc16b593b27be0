"""Counts the time of workers that is billed: from the start of a worker's container until it has fully stopped.

Start, work and idle time are billed: https://docs.runpod.io/serverless/pricing. Initialising, such as pulling the
image, is not: https://docs.runpod.io/serverless/workers/overview. The smallest bucket of a bill is an hour:
https://docs.runpod.io/api-reference-v2/billing/get-serverless-billing-history
"""

from collections import defaultdict
from collections.abc import Iterable

from bridge.emulator.runpod.model import Worker

HOUR = 3600.0
"""Seconds."""


class Meter:
    """Seconds of the workers that have stopped, by endpoint and hour."""

    def __init__(self) -> None:
        self._stopped: defaultdict[str, defaultdict[float, float]] = defaultdict(lambda: defaultdict(float))

    def stop(self, worker: Worker, now: float) -> None:
        """Count a worker that has stopped at `now` (Unix seconds)."""
        _count(self._stopped[worker.endpoint], worker, now)

    def by_hour(self, endpoint: str, workers: Iterable[Worker], now: float) -> dict[float, float]:
        """Seconds of an endpoint's workers until `now`, by the begin of the hour (both Unix seconds).

        Args:
            endpoint: the id.
            workers: those that have not stopped.
            now: the time.
        """
        seconds = defaultdict(float, self._stopped[endpoint])
        for worker in workers:
            if worker.endpoint == endpoint:
                _count(seconds, worker, now)
        return dict(seconds)


def _count(seconds: defaultdict[float, float], worker: Worker, now: float) -> None:
    start = worker.billed_from
    while start is not None and start < now:
        hour = start // HOUR * HOUR
        until = min(now, hour + HOUR)
        seconds[hour] += until - start
        start = until
