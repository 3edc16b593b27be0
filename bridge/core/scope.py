"""What the bridge serves: an owner, repositories and routes. Durations are seconds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bridge.core.endpoint_names import EndpointNames
from bridge.core.timing import Timing
from bridge.core.worker import BOOT_ALLOWANCE, WORKER_GRACE, Credentials

IMPLIED_LABELS = ("self-hosted", "linux", "x64")
"""Labels that each runner of the bridge has in addition to its route's labels."""

MOST_RERUNS = 3
"""The highest `rerun_lost_jobs`: each re-run pays for the whole job again."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """Which jobs go to which endpoint, and the limits.

    Args:
        name: unique among the routes.
        labels: in lower case, without IMPLIED_LABELS.
        endpoints: ids of RunPod's endpoints, the preferred one first; at least one.
        max_workers: the most open submissions, over all pools of this route.
        credentials: what the worker gets to register its runner with.
        runner_group: name of GitHub's runner group.
        job_timeout: s, from the job's start.
        queue_timeout: s that a request may wait for a worker.
        idle_timeout: s that a started runner may wait for a job.
        spill_after: s that a request waits at an endpoint without workers before it moves to another one.
        repositories: owner/name in lower case; empty means all.
        unlabelled: takes jobs without labels (`runs-on: {group: ...}`).
        generic_jobs: takes jobs that ask for implied labels only (`runs-on: self-hosted`).
        allow_public_repositories: serves jobs of public repositories.
        allow_forks: serves jobs of runs that come from forks.
        usd_per_day: its budget for a UTC day; None for none of its own.
        rerun_lost_jobs: how often a job of a run is re-run after it has lost its worker; 0 for never.
        cache: gives the jobs of a repository a cache on the endpoint's network volume.
        cache_gb: 10^9 bytes that each repository's cache may have.
    """

    name: str
    labels: frozenset[str]
    endpoints: tuple[str, ...]
    max_workers: int
    credentials: Credentials = Credentials.JIT
    runner_group: str = "Default"
    job_timeout: float = 21_600.0
    queue_timeout: float = 3_600.0
    idle_timeout: float = 300.0
    spill_after: float = 120.0
    repositories: frozenset[str] = frozenset()
    unlabelled: bool = False
    generic_jobs: bool = False
    allow_public_repositories: bool = False
    allow_forks: bool = False
    usd_per_day: float | None = None
    rerun_lost_jobs: int = 0
    cache: bool = False
    cache_gb: float = 50.0

    @property
    def label_set(self) -> frozenset[str]:
        """All labels of a runner of this route."""
        return self.labels | frozenset(IMPLIED_LABELS)

    @property
    def execution_timeout(self) -> float:
        """RunPod ends a running request after this many seconds."""
        return self.idle_timeout + WORKER_GRACE + self.job_timeout + BOOT_ALLOWANCE

    @property
    def ttl(self) -> float:
        """RunPod deletes a request this many seconds after it was submitted."""
        return self.queue_timeout + self.execution_timeout

    @property
    def lease(self) -> float:
        """Seconds after its request until a runner must have a job. After that it gets none."""
        return self.queue_timeout + BOOT_ALLOWANCE + self.idle_timeout


def endpoints_of(routes: Iterable[Route]) -> set[str]:
    """The ids of all endpoints that routes use."""
    return {endpoint for route in routes for endpoint in route.endpoints}


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What the bridge serves, and its addresses.

    Args:
        owner: of all repositories.
        organisation: where runners register; None to register them at each repository.
        repositories: owner/name; empty means all that the credentials can see.
        routes: in the order of the configuration.
        prefix: of our runners' names.
        web_url: GitHub's, such as `https://github.com`.
        public_url: the bridge's, such as `https://bridge.example.org`; None if RunPod cannot reach it.
        callback_key: signs the addresses that RunPod posts to.
        full_scan_every: s between two scans of all repositories, if the App's delivery log shows their jobs meanwhile.
        retention: s for which the ledger keeps what has ended.
        interval: s between two resyncs.
        endpoint_names: by endpoint id, the name of its `[[endpoint]]` table.
        workers_max: by endpoint id, the limit of workers that `[[endpoint]]` sets.
        worker_quota: the most requests that may be open at all endpoints; None for no limit.
        timing: the other durations.
        usd_per_day: the budget of all routes for a UTC day; None for none.
        prices: USD per hour of one worker by endpoint id, where the configuration sets it.
    """

    owner: str
    organisation: str | None
    repositories: tuple[str, ...]
    routes: tuple[Route, ...]
    prefix: str
    web_url: str
    public_url: str | None = None
    callback_key: str | None = field(default=None, repr=False)
    full_scan_every: float = 600.0
    retention: float = 14 * 86_400.0
    interval: float = 30.0
    endpoint_names: EndpointNames = field(default_factory=dict)
    workers_max: Mapping[str, int] = field(default_factory=dict)
    worker_quota: int | None = None
    timing: Timing = Timing()
    usd_per_day: float | None = None
    prices: Mapping[str, float] = field(default_factory=dict)

    @property
    def has_budget(self) -> bool:
        """Whether there is a budget of all routes, or of one."""
        return self.usd_per_day is not None or any(route.usd_per_day is not None for route in self.routes)
