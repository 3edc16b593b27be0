"""What the bridge serves: its owner, its repositories and its routes.

Durations are seconds.
"""

from dataclasses import dataclass, field

from bridge.core.timing import Timing
from bridge.core.worker import BOOT_ALLOWANCE, WORKER_GRACE, Credentials

IMPLIED_LABELS = ("self-hosted", "linux", "x64")
"""Labels that every runner of ours carries, beside its route's."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """Which jobs go to which endpoint, and within what limits.

    Args:
        name: unique among the routes.
        labels: in lower case, without the implied ones.
        endpoint: RunPod's endpoint id.
        max_workers: open submissions at a time, over all pools of this route.
        credentials: what the worker is given to register with.
        runner_group: GitHub's runner group, by name.
        job_timeout: s, from the job's start.
        queue_timeout: s that a request may wait for a worker.
        idle_timeout: s that a started runner may wait for a job.
        repositories: owner/name in lower case; empty means all.
        unlabelled: takes jobs without labels (`runs-on: {group: ...}`).
        generic_jobs: takes jobs that ask for implied labels only (`runs-on: self-hosted`).
        allow_public_repositories: serves jobs of public repositories.
        allow_forks: serves jobs of runs that come from forks.
    """

    name: str
    labels: frozenset[str]
    endpoint: str
    max_workers: int
    credentials: Credentials = Credentials.JIT
    runner_group: str = "Default"
    job_timeout: float = 21_600.0
    queue_timeout: float = 3_600.0
    idle_timeout: float = 300.0
    repositories: frozenset[str] = frozenset()
    unlabelled: bool = False
    generic_jobs: bool = False
    allow_public_repositories: bool = False
    allow_forks: bool = False

    @property
    def label_set(self) -> frozenset[str]:
        """Every label that a runner of this route carries."""
        return self.labels | frozenset(IMPLIED_LABELS)

    @property
    def execution_timeout(self) -> float:
        """Seconds after which RunPod ends a running request, whatever it does."""
        return self.idle_timeout + WORKER_GRACE + self.job_timeout + BOOT_ALLOWANCE

    @property
    def ttl(self) -> float:
        """Seconds after which RunPod forgets a request, counted from its submission."""
        return self.queue_timeout + self.execution_timeout

    @property
    def lease(self) -> float:
        """Seconds after which a runner asked for must have met its job, or serves nothing."""
        return self.queue_timeout + BOOT_ALLOWANCE + self.idle_timeout


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What the bridge serves, and where it is.

    Args:
        owner: of all repositories.
        organisation: where runners register; None means at each repository.
        repositories: owner/name; empty means all that the credentials can see.
        routes: in the order of the configuration.
        prefix: of our runners' names.
        web_url: GitHub's, such as `https://github.com`.
        public_url: ours, such as `https://bridge.example.org`; None if RunPod cannot reach us.
        callback_key: signs the addresses that RunPod posts to.
        full_scan_every: s between two looks at all repositories, where the App's delivery log tells of their jobs.
        retention: s that what has ended is kept.
        interval: s between two looks.
        timing: how long each thing is waited for.
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
    timing: Timing = Timing()
