"""The cases that reality showed to be expensive: jobs that GitHub does not dispatch, and their relatives.

Each is a function of few parameters that returns a `Scenario`; none asserts anything.
"""

from dataclasses import replace
from typing import Any

from bridge.core.scope import Route
from bridge.core.worker import Credentials
from tests.simulation.scenario import (
    DAY,
    HOUR,
    Act,
    Cron,
    Dispatcher,
    Endpoint,
    FalseAnswer,
    GitHub,
    Run,
    RunPod,
    Scenario,
    Window,
)
from tests.simulation.simulation import Simulation
from tests.support.values import a_route

REAP = (120.0, 360.0)
"""s after which GitHub removes an idle registration that listens (facts/runner.md)."""

REAP_EARLY = (120.0, 280.0)
"""s; so that it removes each before the bridge's own idle_timeout."""

MINUTE = 60.0

A, B = "acme/a", "acme/b"


def dispatcher(*routes: Route, **given: Any) -> Dispatcher:
    """A service with webhooks and callbacks, by default with one route."""
    return Dispatcher(routes=routes or (a_route(),), **given)


def with_canary(scenario: Scenario, *, within: float = 1_800.0) -> Scenario:
    """The same, longer by `within` (s), with an ordinary job named canary-0 when the original would have ended."""
    canary = Run(name="canary", at=scenario.seconds)
    return replace(scenario, seconds=scenario.seconds + within, runs=(*scenario.runs, canary))


def job_day(*, reap: tuple[float, float] | None = None, seconds: float = DAY) -> Scenario:
    """One job that is never dispatched, for a day."""
    return Scenario(
        seconds=seconds,
        runs=(Run(name="stuck", dispatched=False),),
        github=GitHub(reap=reap),
        dispatchers=(dispatcher(),),
    )


def job_day_without_ledger(*, seconds: float = DAY, interval: float = 300.0) -> Scenario:
    """One job that is never dispatched, for a day: cron passes that keep no ledger, in `app` mode."""
    route = a_route(credentials=Credentials.APP)
    return Scenario(
        seconds=seconds,
        runs=(Run(name="stuck", dispatched=False),),
        dispatchers=(dispatcher(route, runs=Cron(interval=interval, keeps_ledger=False)),),
    )


def matrix(*, jobs: int = 256, max_parallel: int = 2, max_workers: int = 10, seconds: float = 600.0) -> Scenario:
    """A matrix whose jobs are all announced at once, and of which few may run at a time.

    Args:
        jobs: of the matrix.
        max_parallel: of them at a time.
        max_workers: of the route.
        seconds: that each job takes.
    """
    return Scenario(
        seconds=DAY + 2 * HOUR,
        runs=(Run(name="matrix", jobs=jobs, max_parallel=max_parallel, seconds=seconds),),
        github=GitHub(queue_limit=7 * DAY),
        dispatchers=(dispatcher(a_route(max_workers=max_workers)),),
    )


def repositories_share(*, max_workers: int = 3, jobs: int = 40, seconds: float = DAY) -> Scenario:
    """Repository mode: A queues many jobs with max-parallel 1, and B one a minute later."""
    return Scenario(
        seconds=seconds,
        runs=(
            Run(name="a", repository=A, jobs=jobs, max_parallel=1, seconds=1_800.0),
            Run(name="b", repository=B, at=MINUTE),
        ),
        dispatchers=(dispatcher(a_route(max_workers=max_workers), organisation=None, repositories=(A, B)),),
    )


def repositories_stuck(*, stuck: int = 4, hours: int = 20) -> Scenario:
    """Repository mode, max_workers 1: jobs that are never dispatched in A, and a job an hour in B."""
    return Scenario(
        seconds=(hours + 1) * HOUR,
        runs=(
            Run(name="a", repository=A, jobs=stuck, dispatched=False),
            *(Run(name=f"b{n}", repository=B, at=MINUTE + n * HOUR) for n in range(hours)),
        ),
        dispatchers=(dispatcher(a_route(max_workers=1), organisation=None, repositories=(A, B)),),
    )


def outage(*, jobs: int = 20, hours: float = 3.0, reap: tuple[float, float] | None = None) -> Scenario:
    """GitHub dispatches nothing for some hours while jobs are queued; then all is well for an hour."""
    return Scenario(
        seconds=(hours + 1) * HOUR,
        runs=(Run(name="job", at=MINUTE, jobs=jobs),),
        github=GitHub(outages=(Window(until=hours * HOUR),), reap=reap),
        dispatchers=(dispatcher(a_route(max_workers=20)),),
    )


def small_endpoint(
    credentials: Credentials, *, workers: int = 3, hours: float = 16.0, cold_start: float = 300.0
) -> Scenario:
    """Forty jobs and max_workers 40 on an endpoint that gives few workers: the queue is longer than a token lives.

    Args:
        credentials: the route's.
        workers: the endpoint's quota.
        hours: the simulation lasts.
        cold_start: s; that of a request past its `not_after` is paid for nothing.
    """
    return Scenario(
        seconds=hours * HOUR,
        runs=(Run(name="job", jobs=40, seconds=HOUR),),
        endpoints={"ep-1": Endpoint(workers_max=workers, cold_start=cold_start)},
        dispatchers=(dispatcher(a_route(max_workers=40, credentials=credentials)),),
    )


def run_answers_late(*, hours: float = 8.0, accepted: bool = True, credentials: str = "jit") -> Scenario:
    """RunPod answers `run` after the client's 10 s, always; the request exists, or does not."""
    windows = (Window(until=hours * HOUR),)
    runpod = RunPod(answer_lost=windows) if accepted else RunPod(answer_never=windows)
    return Scenario(
        seconds=(hours + 1) * HOUR,
        runs=(Run(name="job"),),
        runpod=runpod,
        endpoints={"ep-1": Endpoint(cold_start=240.0)},
        dispatchers=(dispatcher(a_route(credentials=Credentials(credentials))),),
    )


def two_dispatchers(*, hours: float = 24.0, cold_start: float = 900.0) -> Scenario:
    """Two dispatchers with one prefix, each with its own ledger and route; the second one's leases end sooner.

    The first one's workers take `cold_start` (s) to start, longer than such a lease.
    """
    other = a_route(name="cpu", labels=("runpod", "cpu"), endpoint="ep-2", queue_timeout=300.0, idle_timeout=60.0)
    return Scenario(
        seconds=hours * HOUR,
        runs=(
            Run(name="gpu", at=MINUTE),
            Run(name="cpu", at=MINUTE, labels=("self-hosted", "runpod", "cpu")),
        ),
        endpoints={"ep-1": Endpoint(cold_start=cold_start), "ep-2": Endpoint(cold_start=30.0)},
        dispatchers=(
            dispatcher(name="one", ledger="one"),
            dispatcher(other, name="two", ledger="two"),
        ),
    )


def skewed(
    *, bridge: float = 0.0, github: float = 0.0, worker: float = 0.0, jobs: int = 12, **route: object
) -> Scenario:
    """Clocks that differ, by seconds ahead: a job every ten minutes.

    Args:
        bridge: the bridge's clock.
        github: GitHub's.
        worker: the workers'.
        jobs: how many.
        route: fields of the route, such as `queue_timeout` or `credentials`.
    """
    return Scenario(
        seconds=jobs * 600.0 + HOUR,
        runs=tuple(Run(name=f"job{n}", at=MINUTE + n * 600.0) for n in range(jobs)),
        github=GitHub(skew=((0.0, github),)),
        endpoints={"ep-1": Endpoint(skew=((0.0, worker),))},
        dispatchers=(dispatcher(a_route(**route), skew=((0.0, bridge),)),),
    )


def set_back(*, by: float = 600.0, at: float = 900.0, jobs: int = 15, webhooks: bool = True) -> Scenario:
    """The bridge's clock is set back while it runs: a job of five minutes every two minutes, crashes before."""
    return Scenario(
        seconds=1.5 * HOUR,
        endpoints={"ep-1": Endpoint(crashes=(Window(at=at - 150.0, until=at),))},
        runs=tuple(Run(name=f"job{n}", at=MINUTE + n * 120.0, seconds=300.0) for n in range(jobs)),
        dispatchers=(dispatcher(skew=((0.0, by), (at, 0.0)), webhooks=webhooks),),
    )


def status_404(*, seconds: float = 120.0, max_workers: int = 6) -> Scenario:
    """RunPod answers 404 on /status of running requests for a while: jobs of 20 minutes at the route's cap."""
    false = FalseAnswer(at=600.0, until=600.0 + seconds)
    return Scenario(
        seconds=9 * HOUR,
        runs=(Run(name="job", at=1.0, jobs=2 * max_workers, seconds=1_200.0),),
        runpod=RunPod(false_answers=(false,)),
        dispatchers=(dispatcher(a_route(max_workers=max_workers)),),
    )


def killed_workers(*, jobs: int = 40, max_workers: int = 3) -> Scenario:
    """Jobs of A that kill their own worker (out of memory), and a job of B every five minutes."""
    return Scenario(
        seconds=3 * HOUR,
        runs=(
            Run(name="a", at=1.0, repository=A, jobs=jobs, kills_worker=30.0, seconds=600.0),
            *(Run(name=f"b{n}", at=300.0 * (n + 1), repository=B) for n in range(12)),
        ),
        dispatchers=(dispatcher(a_route(max_workers=max_workers)),),
    )


def dead_registration(*, keeps_ledger: bool = False) -> Scenario:
    """Cron passes: the first worker disappears before its runner listens, and its registration stays."""
    return Scenario(
        seconds=3 * HOUR,
        runs=(Run(name="job", at=1.0), Run(name="next", at=600.0)),
        endpoints={"ep-1": Endpoint(vanishes=(Window(until=200.0),))},
        dispatchers=(dispatcher(runs=Cron(interval=60.0, keeps_ledger=keeps_ledger)),),
    )


def cancelled_runs(credentials: str, *, jobs: int = 100, after: float = 60.0) -> Scenario:
    """A run that is cancelled while its workers start."""
    return Scenario(
        seconds=2 * HOUR,
        runs=(Run(name="job", at=5.0, jobs=jobs, cancelled=after),),
        endpoints={"ep-1": Endpoint(workers_max=10, cold_start=120.0)},
        dispatchers=(dispatcher(a_route(max_workers=jobs, credentials=Credentials(credentials))),),
    )


def ledger_lost(*, foreign: int = 3, at: float = HOUR) -> Scenario:
    """The ledger is lost in `app` mode while another system's requests run on the endpoint, and jobs come."""

    def lose(simulation: Simulation) -> None:
        simulation.ledgers["ledger"].lose(simulation.drivers["bridge"].clock())

    return Scenario(
        seconds=4 * HOUR,
        runs=tuple(Run(name=f"job{n}", at=at - 300.0 + n * 600.0, seconds=900.0) for n in range(6)),
        endpoints={"ep-1": Endpoint(foreign=((0.0, float(foreign)),))},
        acts=(Act(at=at, do=lose),),
        dispatchers=(dispatcher(a_route(max_workers=3, credentials=Credentials.APP)),),
    )
