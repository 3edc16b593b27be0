"""Scenarios that tests and benchmarks share: jobs that GitHub does not dispatch.

They check nothing themselves.
"""

from typing import Any

from bridge.core.scope import Route
from tests.simulation.scenario import (
    DAY,
    HOUR,
    Dispatcher,
    GitHub,
    Run,
    Scenario,
    Window,
)
from tests.support.values import a_route

REAP = (120.0, 360.0)
"""s (from, to) after which GitHub deletes an idle registration that listens (facts/runner.md)."""

MINUTE = 60.0

A, B = "acme/a", "acme/b"


def dispatcher(*routes: Route, **given: Any) -> Dispatcher:
    """A service with webhooks and callbacks, by default with one route."""
    return Dispatcher(routes=routes or (a_route(),), **given)


def job_day(*, reap: tuple[float, float] | None = None, seconds: float = DAY) -> Scenario:
    """One job that is never dispatched, for a day."""
    return Scenario(
        seconds=seconds,
        runs=(Run(name="stuck", dispatched=False),),
        github=GitHub(reap=reap),
        dispatchers=(dispatcher(),),
    )


def outage(*, jobs: int = 20, hours: float = 3.0, reap: tuple[float, float] | None = None) -> Scenario:
    """GitHub dispatches no job for some hours while jobs are queued; then it works again for an hour."""
    return Scenario(
        seconds=(hours + 1) * HOUR,
        runs=(Run(name="job", at=MINUTE, jobs=jobs),),
        github=GitHub(outages=(Window(until=hours * HOUR),), reap=reap),
        dispatchers=(dispatcher(a_route(max_workers=20)),),
    )
