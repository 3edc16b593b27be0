"""What a simulation is told: frozen parameters of the simulation, and what happens in it.

Times are seconds since the simulation began, durations are seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.core.scope import Route

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

HOUR, DAY = 3_600.0, 86_400.0

Steps = tuple[tuple[float, float], ...]
"""A value that changes: (from when, value), in order of time. Before the first step it is the default of its field."""


def value_at(steps: Steps, now: float, default: float) -> float:
    """The value of `steps` at `now`."""
    return next((value for at, value in reversed(steps) if at <= now), default)


@dataclass(frozen=True, kw_only=True)
class Window:
    """A time in which something goes wrong.

    Args:
        at: s; when it begins.
        until: s; when it ends.
        chance: 0 to 1, of each occasion within it.
    """

    at: float = 0.0
    until: float = float("inf")
    chance: float = 1.0


@dataclass(frozen=True, kw_only=True)
class FalseAnswer(Window):
    """A time in which RunPod's /status of a running request answers something else, such as MISSING (404)."""

    status: str = "MISSING"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A workflow run: jobs with the same properties.

    Args:
        name: of the run; its jobs are NAME-0, NAME-1, ...
        at: s; when its jobs are queued. GitHub announces all of them at once, whatever `max_parallel` is.
        jobs: how many.
        repository: owner/name.
        labels: `runs-on`.
        seconds: that each job takes on its runner.
        max_parallel: of its jobs in progress at a time; None for no limit.
        dispatched: False for jobs that GitHub never gives to a runner.
        kills_worker: s from the job's start after which it kills its worker (out of memory); None for never.
        waiting: further jobs that wait for an environment's approval.
        approved: s after `at` when these are approved and queued; None for never.
        cancelled: s after `at` when all its jobs that have not ended are cancelled; None for never.
    """

    name: str = "run"
    at: float = 0.0
    jobs: int = 1
    repository: str = "acme/web"
    labels: tuple[str, ...] = ("self-hosted", "runpod", "gpu")
    seconds: float = 60.0
    max_parallel: int | None = None
    dispatched: bool = True
    kills_worker: float | None = None
    waiting: int = 0
    approved: float | None = None
    cancelled: float | None = None


@dataclass(frozen=True, kw_only=True)
class GitHub:
    """GitHub's behaviour (facts/github.md, facts/runner.md).

    Args:
        latency: s of each call.
        assign_delay: s from when a job and a runner could meet until GitHub gives the one to the other.
        pickup: s after which an assigned job that no runner picked up is queued again.
        lost_after: s after which a job in progress whose runner died fails. It is not queued again.
        offline_after: s after which a runner whose process died is listed as offline.
        reap: s between which GitHub removes a registration that listens without a job; None: it does not.
        unconnected: s after which it removes an ephemeral registration that is not connected.
        queue_limit: s after which it fails a queued job. Jobs that it never dispatches are not failed.
        token_life: s of a registration token.
        outages: in which it gives no job to any runner.
        unavailable: in which its API answers nothing.
        archived: (repository, window): no job of the repository is given to a runner.
        groups: by runner group, the repositories that it admits; a group that is absent admits all.
        webhook_delay: s from an event to its delivery.
        webhooks_lost: each delivery of theirs is lost with the window's chance; the delivery log has it.
        webhooks_twice: so are deliveries that come twice, with the same guid.
        listed: statuses of the runs that the client under test asks for.
        skew: s by which GitHub's clock is ahead.
    """

    latency: float = 0.2
    assign_delay: float = 1.0
    pickup: float = 60.0
    lost_after: float = 600.0
    offline_after: float = 60.0
    reap: tuple[float, float] | None = None
    unconnected: float = DAY
    queue_limit: float = DAY
    token_life: float = HOUR
    outages: tuple[Window, ...] = ()
    unavailable: tuple[Window, ...] = ()
    archived: tuple[tuple[str, Window], ...] = ()
    groups: dict[str, frozenset[str]] = field(default_factory=dict)
    webhook_delay: float = 1.0
    webhooks_lost: tuple[Window, ...] = ()
    webhooks_twice: tuple[Window, ...] = ()
    listed: tuple[str, ...] = ("queued", "in_progress")
    skew: Steps = ()


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A RunPod endpoint and its workers (facts/runpod.md). It scales as REQUEST_COUNT with value 1.

    Args:
        workers_max: its quota.
        cold_start: s from a worker's start, which is paid, until it can take a request.
        stop: s from a worker's last answer to its full stop, paid.
        idle_timeout: s that a worker waits for a request, paid.
        capacity: how many workers RunPod has a machine for; by default as many as asked for.
        foreign: requests in progress that are not the bridge's, each on a worker of its own.
        foreign_queued: requests in the queue that are not the bridge's.
        configure: s that config.sh takes in token modes.
        listen: s from the runner's start until it listens.
        leave: s from the end of its job until the worker has answered.
        crashes: workers that answer `crashed` before their runner listens.
        vanishes: workers that disappear before their runner listens.
        cut_off: workers that cannot reach GitHub: `github_unreachable` after 60 s.
        vanished_after: s after which RunPod fails the request of a worker that disappeared.
        twice: requests that are handed to a second worker while the first has them.
        skew: s by which the workers' clocks are ahead.
    """

    workers_max: int = 100
    cold_start: float = 60.0
    stop: float = 2.0
    idle_timeout: float = 5.0
    capacity: Steps = ()
    foreign: Steps = ()
    foreign_queued: Steps = ()
    configure: float = 5.0
    listen: float = 2.0
    leave: float = 2.0
    crashes: tuple[Window, ...] = ()
    vanishes: tuple[Window, ...] = ()
    cut_off: tuple[Window, ...] = ()
    vanished_after: float = 30.0
    twice: tuple[Window, ...] = ()
    skew: Steps = ()


@dataclass(frozen=True, kw_only=True)
class RunPod:
    """RunPod's API.

    Args:
        latency: s of each call.
        status_lag: s by which /status is behind.
        false_answers: of /status of running requests.
        answer_lost: calls of `run` that are accepted and whose answer does not come within the client's 10 s.
        answer_never: calls of `run` that are not accepted and not answered.
        unavailable: in which no call is answered; none is accepted.
        callback_delay: s from a request's end to its callback.
        callbacks_lost: callbacks that do not arrive.
        result_kept: s after which a request that has ended is unknown.
    """

    latency: float = 0.3
    status_lag: float = 0.0
    false_answers: tuple[FalseAnswer, ...] = ()
    answer_lost: tuple[Window, ...] = ()
    answer_never: tuple[Window, ...] = ()
    unavailable: tuple[Window, ...] = ()
    callback_delay: float = 1.0
    callbacks_lost: tuple[Window, ...] = ()
    result_kept: float = 1_800.0


@dataclass(frozen=True, kw_only=True)
class Service:
    """`--serve`: a look every `interval`, passes on events between them."""

    interval: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Cron:
    """One pass every `interval`, each in a new process.

    Args:
        interval: s.
        keeps_ledger: False for a new, empty ledger at each pass.
    """

    interval: float = 60.0
    keeps_ledger: bool = True


@dataclass(frozen=True, kw_only=True)
class Dispatcher:
    """A deployment of the bridge.

    Args:
        name: unique among the dispatchers.
        routes: as of bridge.toml.
        runs: how.
        organisation: where runners register; None means at each of `repositories`.
        repositories: owner/name; empty means all, in organisation mode.
        prefix: of its runners' names.
        ledger: dispatchers that name the same one share it.
        webhooks: whether GitHub delivers to it; without, it only looks. Services only.
        delivery_log: whether it reads the App's delivery log.
        callbacks: whether RunPod reaches it. Services only.
        full_scan_every: s, as of the configuration.
        starts: s; when it starts.
        skew: s by which its clock is ahead.
    """

    name: str = "bridge"
    routes: tuple[Route, ...] = ()
    runs: Service | Cron = field(default_factory=Service)
    organisation: str | None = "acme"
    repositories: tuple[str, ...] = ()
    prefix: str = "runpod"
    ledger: str = "ledger"
    webhooks: bool = True
    delivery_log: bool = False
    callbacks: bool = True
    full_scan_every: float = 600.0
    starts: float = 0.0
    skew: Steps = ()


@dataclass(frozen=True, kw_only=True)
class Act:
    """Something that happens once.

    Args:
        at: s.
        do: what, with the simulation as it is then.
    """

    at: float
    do: Callable[["Simulation"], None]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A whole simulation.

    Args:
        seconds: it lasts.
        runs: what is asked of GitHub.
        dispatchers: who serves it.
        github: its behaviour.
        runpod: its API's behaviour.
        endpoints: by id; one that a route names and that is absent behaves as `Endpoint()`.
        acts: what else happens.
        seed: of all chance in it.
    """

    seconds: float = DAY
    runs: tuple[Run, ...] = ()
    dispatchers: tuple[Dispatcher, ...] = ()
    github: GitHub = field(default_factory=GitHub)
    runpod: RunPod = field(default_factory=RunPod)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    acts: tuple[Act, ...] = ()
    seed: int = 0
