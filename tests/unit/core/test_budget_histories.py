"""Whatever happens: no budget is passed by more than what the requests cost that were in flight when it was reached."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.budget import ALL, Budget, Raise, Spent, budgets
from bridge.core.cost import DAY, Usage, midnight, paid_between
from bridge.core.plan import plan
from bridge.core.prices import ANY, PriceReading
from bridge.core.submissions import Pool, State, Submission
from tests.support.effort import FULL, tried
from tests.support.values import NOW, ORG, a_job, a_route, a_snapshot, a_submission

ROUTES = (
    a_route(max_workers=4, usd_per_day=30.0),
    a_route(name="cpu", labels=("runpod", "cpu"), endpoint="ep-2", max_workers=3),
)
USD_PER_DAY = 40.0
PRICES = {
    "ep-1": [PriceReading(at=0.0, read_at=NOW, usd_per_hour={ANY: 36.0})],
    "ep-2": [PriceReading(at=0.0, read_at=NOW, usd_per_hour={ANY: 7.2})],
}


@dataclass
class Run:
    """A requested runner: when its worker was seen, and when it ended (Unix seconds)."""

    job_id: int
    route: str
    endpoint: str
    created_at: float
    began: float | None = None
    ended: float | None = None

    @property
    def usage(self) -> Usage:
        return Usage(
            route=self.route, endpoint=self.endpoint, created_at=self.created_at, began=self.began, ended=self.ended
        )

    def spent(self, since: float, now: float) -> Spent:
        seconds = paid_between(self.usage, since, now, now)
        return Spent(route=self.route, endpoint=self.endpoint, gpu_type=None, seconds=seconds)

    def submission(self) -> Submission:
        began = self.began is not None
        return a_submission(
            self.job_id,
            State.BUSY if began else State.SUBMITTED,
            pool=Pool(self.route, ORG),
            endpoint=self.endpoint,
            held_job_id=self.job_id if began else None,
            since=self.began or self.created_at,
            created_at=self.created_at,
            not_after=NOW + 100 * DAY,
        )


@dataclass
class History:
    """Jobs and runners over some days, and what had been used of each budget when it last allowed a request."""

    now: float = NOW
    queued: dict[int, str] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    raises: list[Raise] = field(default_factory=list)
    ids: int = 0
    allowed: dict[str, tuple[float, float]] = field(default_factory=dict)  # by budget: when, and the limit then

    def budgets(self) -> tuple[Budget, ...]:
        today = midnight(self.now)
        spent = [
            Spent(
                route=r.route, endpoint=r.endpoint, gpu_type=None, seconds=paid_between(r.usage, today, 1e12, self.now)
            )
            for r in self.runs
        ]
        return budgets(USD_PER_DAY, ROUTES, spent=spent, prices=PRICES, raises=self.raises, now=self.now)

    def dispatch(self) -> None:
        """A pass of the bridge."""
        found = self.budgets()
        running = tuple(run.submission() for run in self.runs if run.ended is None)
        jobs = tuple(
            a_job(n, labels=("self-hosted", "runpod", route), created_at=NOW) for n, route in self.queued.items()
        )
        times = {"began": self.now, "at": self.now, "runners_read_at": self.now}
        planned = plan(
            a_snapshot(
                jobs=jobs,
                seen_at=dict.fromkeys(self.queued, self.now),
                submissions=running,
                routes=ROUTES,
                budgets=found,
                **times,
            ),
            self.now,
        )
        endpoints = {route.name: route.endpoints[0] for route in ROUTES}
        for claim in planned.claims:
            route = claim.pool.route
            self.runs.append(Run(claim.job_id, route, endpoints[route], self.now))
            for budget in found:
                if budget.route in (ALL, route):
                    assert budget.used < budget.usd, "a request although the budget is used up"
                    self.allowed[budget.route] = (self.now, budget.usd)

    def check(self) -> None:
        """What was spent after a budget last allowed a request was spent by those in flight then."""
        for budget in self.budgets():
            when, limit = self.allowed.get(budget.route, (-1.0, 0.0))
            if when < midnight(self.now):
                continue
            in_flight = sum(
                paid_between(run.usage, when, 1e12, self.now) / 3600 * PRICES[run.endpoint][0].usd_per_hour[ANY]
                for run in self.runs
                if budget.route in (ALL, run.route) and (run.ended is None or run.ended > when)
            )
            assert budget.used <= limit + in_flight + 1e-6


STEPS = st.one_of(
    st.tuples(st.just("queue"), st.sampled_from(["gpu", "cpu"]), st.integers(1, 5)),
    st.tuples(st.just("start"), st.integers(0, 9)),
    st.tuples(st.just("end"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 60.0, 600.0, 3600.0, 20_000.0])),
    st.tuples(st.just("raise"), st.sampled_from([ALL, "gpu"]), st.sampled_from([50.0, 80.0])),
    st.just(("dispatch",)),
)


def act(history: History, step: tuple) -> None:
    match step:
        case ("queue", route, count):
            for _ in range(count):
                history.ids += 1
                history.queued[history.ids] = route
        case ("start", which):
            waiting = [run for run in history.runs if run.began is None]
            if waiting:
                run = waiting[which % len(waiting)]
                run.began = history.now
                history.queued.pop(run.job_id, None)
        case ("end", which):
            running = [run for run in history.runs if run.began is not None and run.ended is None]
            if running:
                running[which % len(running)].ended = history.now
        case ("wait", seconds):
            history.now += seconds
        case ("raise", route, usd):
            until = history.now + 3600
            history.raises.append(Raise(route=route, usd=usd, until=until, by="ann@host", at=history.now))
        case _:
            history.dispatch()


@pytest.mark.parametrize("passes", ["between all steps", "now and then"])
@given(steps=st.lists(STEPS, min_size=5, max_size=80 if FULL else 40))
def test_no_budget_is_passed_by_more_than_what_was_in_flight(passes: str, steps: list[tuple]) -> None:
    history = History()
    for step in steps:
        act(history, step)
        history.check()
        if passes == "between all steps":
            history.dispatch()
            history.check()
    tried["budget histories"] += 1


def test_such_a_history_reaches_its_budget_and_goes_on_the_next_day() -> None:
    """So that the histories above say something: the budgets do hold requests in them."""
    history = History()
    for step in (
        ("queue", "gpu", 9),
        ("dispatch",),
        ("start", 0),
        ("start", 0),
        ("wait", 3600.0),
        ("end", 0),
        ("end", 0),
    ):
        act(history, step)
    requested = len(history.runs)
    act(history, ("dispatch",))
    assert len(history.runs) == requested == 4, "72 USD are used"
    history.check()
    act(history, ("wait", DAY))
    act(history, ("dispatch",))
    assert len(history.runs) > requested
