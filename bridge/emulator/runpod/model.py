"""RunPod's values: endpoints, requests and workers."""

from dataclasses import dataclass, field
from typing import Any

TERMINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"})


class Refused(Exception):
    """RunPod refuses a call.

    Args:
        status: HTTP status.
        message: the error message.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(kw_only=True)
class EndpointConfig:
    """An endpoint's settings, and how RunPod treats it. Both may change while it is served.

    https://docs.runpod.io/serverless/endpoints/endpoint-configurations

    Args:
        workers_max: number of workers at a time.
        idle_timeout: s that a worker without a request is kept.
        cold_start: s before the program of a new worker starts.
        redeliver: whether a request whose worker died is delivered again; otherwise it fails.
        capacity: number of workers for which RunPod has machines; None for no limit. `/health` counts those beyond it
            as `throttled`.
        status_lag: s by which `/status` is late.
        hides: states in which `/status` answers 404 although the request exists.
        others: queued and running requests of other clients of the endpoint, which `/health` counts, too.
        unhealthy: number of workers that fail their health checks, which get no requests.
    """

    workers_max: int = 3
    idle_timeout: float = 5.0
    cold_start: float = 0.0
    redeliver: bool = True
    capacity: int | None = None
    status_lag: float = 0.0
    hides: frozenset[str] = frozenset()
    others: tuple[int, int] = (0, 0)
    unhealthy: int = 0


@dataclass(kw_only=True, eq=False)
class Request:
    """One request.

    Args:
        webhook: called when it has ended.
        workers: the ids of all workers that got it.
        statuses: its earlier statuses, each with the time when it ended (Unix seconds).
    """

    id: str
    endpoint: str
    input: Any
    execution_timeout: float  # s
    ttl: float  # s
    created_at: float
    webhook: str | None = None
    status: str = "IN_QUEUE"
    started_at: float | None = None
    ended_at: float | None = None
    output: Any = None
    error: str | None = None
    workers: list[str] = field(default_factory=list)
    statuses: list[tuple[float, str]] = field(default_factory=list)

    def change(self, status: str, now: float) -> None:
        """Change its status."""
        self.statuses.append((now, self.status))
        self.status = status

    def status_at(self, at: float) -> str:
        """Its status at a time (Unix seconds)."""
        return next((status for until, status in self.statuses if at < until), self.status)


@dataclass(kw_only=True, eq=False)
class Worker:
    """A worker: the request that it has, when it was created (Unix seconds), and whether it must exit.

    It is billed from `billed_from` (Unix seconds) on, which is None while it initialises.
    """

    id: str
    endpoint: str
    idle_since: float
    created_at: float = 0.0
    billed_from: float | None = None
    ready: bool = False
    leaving: bool = False
    request: Request | None = None
    to_stop: list[str] = field(default_factory=list)
