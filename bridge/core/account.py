"""A RunPod account's limits, and the workers of its endpoints, as the management API tells them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AccountLimits:
    """The limits of an account; None where RunPod does not tell them.

    Args:
        workers: the highest sum of `workers_max` over all endpoints: https://docs.runpod.io/serverless/workers/overview
        spending: USD per hour; RunPod starts no worker above it.
    """

    workers: int | None = None
    spending: float | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerCounts:
    """Workers of one endpoint by state.

    Args:
        running: run a request.
        idle: wait for one.
        initializing: are starting.
        throttled: wait for a machine.
        unhealthy: fail their health checks.
    """

    running: int = 0
    idle: int = 0
    initializing: int = 0
    throttled: int = 0
    unhealthy: int = 0


@dataclass(frozen=True, kw_only=True)
class ListedWorker:
    """One worker of an endpoint, as the management API lists it.

    Args:
        id: RunPod's.
        status: RUNNING, IDLE, INITIALIZING, THROTTLED or UNHEALTHY.
        stale: it runs an older release of the endpoint.
        gpu_type: None until it is placed on a machine.
        data_center: None until it is placed on a machine.
        uptime: s that it has been running; None until it is placed and runs.
    """

    id: str
    status: str
    stale: bool = False
    gpu_type: str | None = None
    data_center: str | None = None
    uptime: float | None = None


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """How far an endpoint's newest release has reached its workers.

    Args:
        workers: all of the endpoint.
        on_latest: those that run the newest release.
    """

    workers: int
    on_latest: int
