"""The parameters of a simulation: how GitHub, RunPod and the dispatchers behave, and what happens.

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
"""A value that changes: (since when, value), ordered by time. Before the first step the default applies."""


def value_at(steps: Steps, now: float, default: float) -> float:
    """The value of `steps` at `now`."""
    return next((value for at, value in reversed(steps) if at <= now), default)


@dataclass(frozen=True, kw_only=True)
class Window:
    """A period in which something goes wrong.

    Args:
        at: s; when it begins.
        until: s; when it ends.
        chance: 0 to 1; the chance of each occasion in the period.
    """

    at: float = 0.0
    until: float = float("inf")
    chance: float = 1.0


@dataclass(frozen=True, kw_only=True)
class FalseAnswer(Window):
    """A period in which /status of a running request shows something else, such as MISSING (404)."""

    status: str = "MISSING"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A workflow run: jobs with the same properties.

    Args:
        name: the run's name; its jobs are NAME-0, NAME-1, ...
        at: s; when its jobs are queued. GitHub announces all of them at once, whatever `max_parallel` is.
        jobs: how many jobs.
        repository: owner/name.
        labels: `runs-on`.
        seconds: how long each job runs.
        max_parallel: how many of its jobs may be in progress at a time; None for no limit.
        dispatched: False for jobs that GitHub never gives to a runner.
        kills_worker: s from the job's start after which it kills its worker (out of memory); None for never.
        waiting: how many further jobs wait for the approval of an environment.
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
        latency: s that each call takes.
        assign_delay: s until GitHub gives a queued job to an idle runner.
        pickup: s after which an assigned job that its runner did not pick up is requeued.
        lost_after: s after which a job whose runner died fails. It is not requeued.
        offline_after: s after which a runner whose process died is listed as offline.
        reap: s (from, to) after which GitHub deletes a registration that listens without a job; None for never.
        unconnected: s after which it deletes an ephemeral registration that is not connected.
        queue_limit: s after which it fails a queued job, except jobs that it never dispatches.
        token_life: s that a registration token is valid.
        outages: periods in which no job is given to a runner.
        unavailable: periods in which its API does not answer.
        archived: (repository, period) in which no job of the repository is given to a runner.
        groups: the repositories that each runner group admits; a group that is not named admits all.
        webhook_delay: s from an event to its delivery.
        webhooks_lost: periods in which deliveries are lost; the delivery log has them.
        webhooks_twice: periods in which deliveries come twice, with the same guid.
        listed: the statuses of runs that the client asks for.
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
        workers_max: its quota of workers.
        cold_start: s from a worker's start until it can take a request; billed.
        stop: s from a worker's last answer until it has stopped; billed.
        idle_timeout: s that a worker waits for a request; billed.
        capacity: how many workers RunPod has machines for; by default enough for all.
        foreign: requests of other systems in progress, each on a worker of its own.
        foreign_queued: requests of other systems in the queue.
        configure: s that config.sh takes in token modes.
        listen: s from the runner's start until it listens.
        leave: s from the end of its job until the worker has answered.
        crashes: periods in which workers answer `crashed` before their runner listens.
        vanishes: periods in which workers disappear before their runner listens.
        cut_off: periods in which workers cannot reach GitHub; they answer `github_unreachable` after 60 s.
        vanished_after: s after which RunPod fails the request of a worker that disappeared.
        twice: periods in which requests go to a second worker while the first has them.
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
        latency: s that each call takes.
        status_lag: s by which /status is late.
        false_answers: wrong answers of /status for running requests.
        answer_lost: periods in which `run` is accepted, but not answered within the client's 10 s.
        answer_never: periods in which `run` is neither accepted nor answered.
        unavailable: periods in which no call is accepted or answered.
        callback_delay: s from a request's end to its callback.
        callbacks_lost: periods in which callbacks are lost.
        result_kept: s for which the status of an ended request is kept.
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
    """`--serve`: a resync every `interval` (s) and event passes between them."""

    interval: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Cron:
    """One pass every `interval`, each in a new process.

    Args:
        interval: s.
        keeps_ledger: False for a new, empty ledger in each pass.
    """

    interval: float = 60.0
    keeps_ledger: bool = True


@dataclass(frozen=True, kw_only=True)
class Dispatcher:
    """A deployment of the bridge.

    Args:
        name: unique among the dispatchers.
        routes: the routes in bridge.toml.
        runs: as a service or from cron.
        organisation: where runners register; None means in each of `repositories`.
        repositories: owner/name; empty means all, in organisation mode.
        prefix: the prefix of its runners' names.
        ledger: dispatchers with the same name here share a ledger.
        webhooks: whether GitHub sends webhooks to it; without, it only resyncs. Services only.
        delivery_log: whether it reads the App's delivery log.
        callbacks: whether RunPod sends callbacks to it. Services only.
        full_scan_every: s; the setting.
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
        at: s; when it happens.
        do: called with the simulation.
    """

    at: float
    do: Callable[["Simulation"], None]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A whole simulation.

    Args:
        seconds: how long it lasts.
        runs: the workflow runs.
        dispatchers: the deployments of the bridge.
        github: GitHub's behaviour.
        runpod: the behaviour of RunPod's API.
        endpoints: by id; an endpoint that is not listed behaves as `Endpoint()`.
        acts: what else happens.
        seed: of all random choices.
    """

    seconds: float = DAY
    runs: tuple[Run, ...] = ()
    dispatchers: tuple[Dispatcher, ...] = ()
    github: GitHub = field(default_factory=GitHub)
    runpod: RunPod = field(default_factory=RunPod)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    acts: tuple[Act, ...] = ()
    seed: int = 0
