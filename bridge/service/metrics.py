"""The service's metrics, for Prometheus. They are passed to the code that records them; there is no global registry.

Names and units: https://prometheus.io/docs/practices/naming/. No label has a value from a job, such as its name or id:
there would be too many.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from bridge import __version__
from bridge.controller.report import Decision, Report
from bridge.core.actions import Transition
from bridge.core.breaker import OPENS_AT
from bridge.core.lost import RerunState
from bridge.core.model import JobStatus, WorkflowJob
from bridge.core.submissions import OPEN_STATES, State
from bridge.service.outcomes import DeliveryOutcome, PassOutcome

_WAITS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_DURATIONS = (10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 86_400)

NO_ROUTE = ""
"""The label `route` of jobs that no route serves."""

Calls = Callable[[], Mapping[str, Mapping[str, int]]]
RateLimits = Callable[[], Mapping[str, int]]


def _no_calls() -> Mapping[str, Mapping[str, int]]:
    return {}


def _no_limits() -> Mapping[str, int]:
    return {}


class Clients(Collector):
    """What the clients of GitHub and RunPod count themselves, read at each scrape.

    Args:
        calls: returns the number of calls since the start, by service and kind of call.
        rate_limits: returns the calls that are left of a rate limit, by service.
    """

    def __init__(self, calls: Calls, rate_limits: RateLimits) -> None:
        self._calls = calls
        self._rate_limits = rate_limits

    def collect(self) -> Iterator[Metric]:
        """The metrics now."""
        yield InfoMetricFamily("bridge_build", "The bridge's version", value={"version": __version__})
        calls = CounterMetricFamily("bridge_calls", "Calls to GitHub and RunPod", labels=["service", "call"])
        for service, counts in self._calls().items():
            for call, count in counts.items():
                calls.add_metric([service, call], count)
        yield calls
        left = GaugeMetricFamily(
            "bridge_rate_limit_remaining", "Calls left of the hourly rate limit", labels=["service"]
        )
        for service, count in self._rate_limits().items():
            left.add_metric([service], count)
        yield left


class Metrics:
    """The metrics of one service.

    Args:
        clients: counts calls.
        clock: Unix seconds.
    """

    def __init__(self, clients: Clients | None = None, clock: Callable[[], float] = time.time) -> None:
        self._registry = registry = CollectorRegistry()
        self._clock = clock
        registry.register(clients or Clients(_no_calls, _no_limits))
        self._deliveries = Counter(
            "bridge_deliveries", "Deliveries and callbacks received", ["event", "outcome"], registry=registry
        )
        self._passes = Counter("bridge_passes", "Passes that ended", ["kind", "outcome"], registry=registry)
        self._seconds = Histogram("bridge_pass_seconds", "Duration of a pass", ["kind"], registry=registry)
        self._resynced_at = Gauge(
            "bridge_last_resync_timestamp_seconds", "When the last resync without a problem ended", registry=registry
        )
        self._jobs = JobMetrics(registry, clock)
        self._submissions = SubmissionMetrics(registry)
        self._endpoints = EndpointMetrics(registry)
        self._costs = CostMetrics(registry)

    def delivery(self, event: str, outcome: DeliveryOutcome) -> None:
        """Count a delivery, or a callback with the event `runpod`."""
        self._deliveries.labels(event, outcome).inc()

    def passed(self, kind: str, report: Report) -> None:
        """Record a pass that ran to its end."""
        self._passes.labels(kind, PassOutcome.PROBLEMS if report.problems else PassOutcome.DONE).inc()
        self._seconds.labels(kind).observe(report.seconds)
        self._jobs.passed(report)
        self._submissions.passed(report, self._clock())
        self._endpoints.passed(report.decision)
        self._costs.passed(report.decision)

    def failed(self, kind: str) -> None:
        """Record a pass that failed."""
        self._passes.labels(kind, PassOutcome.FAILED).inc()

    def resynced(self, at: float) -> None:
        """Record when a resync without a problem ended, in Unix seconds."""
        self._resynced_at.set(at)

    def page(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self._registry)


class JobMetrics:
    """How long jobs wait and run.

    Args:
        registry: of the metrics.
        clock: Unix seconds.
    """

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._request = Histogram(
            "bridge_job_to_request_seconds",
            "Time from a job's creation to its first request",
            buckets=_WAITS,
            registry=registry,
        )
        self._wait = Histogram(
            "bridge_job_wait_seconds",
            "Time from a job's creation to its start on one of our runners",
            ["route"],
            buckets=_WAITS,
            registry=registry,
        )
        self._ran = Histogram(
            "bridge_job_seconds",
            "Duration of a job on one of our runners",
            ["route", "result"],
            buckets=_DURATIONS,
            registry=registry,
        )
        self._queued = Gauge("bridge_jobs_queued", "Queued jobs that the bridge knows", ["route"], registry=registry)
        self._oldest = Gauge(
            "bridge_oldest_queued_seconds", "Age of the oldest queued job", ["route"], registry=registry
        )
        self._given_up = Gauge(
            "bridge_jobs_given_up", "Queued jobs that get no more runners until `bridge retry`", registry=registry
        )

    def passed(self, report: Report) -> None:
        """Record what a pass saw of jobs."""
        jobs = {job.id: job for job in report.decision.jobs}
        for submission in report.submitted:
            job = jobs.get(submission.job_id)
            if submission.generation == 1 and job:
                self._request.observe(max(0.0, submission.since - job.created_at))
        for transition in report.decision.plan.transitions:
            held = transition.held_job_id or transition.submission.held_job_id
            if held in jobs:
                self._taken(transition, jobs[held])
        self._set_gauges(report.decision)

    def _taken(self, transition: Transition, job: WorkflowJob) -> None:
        route = transition.submission.pool.route
        if transition.to is State.BUSY and transition.submission.held_job_id is None and job.started_at:
            self._wait.labels(route).observe(max(0.0, job.started_at - job.created_at))
        if transition.to is State.FINISHED and job.started_at and job.completed_at:
            result = job.conclusion or "unknown"
            self._ran.labels(route, result).observe(max(0.0, job.completed_at - job.started_at))

    def _set_gauges(self, decision: Decision) -> None:
        plan = decision.plan
        routes = {skip.job_id: skip.route or NO_ROUTE for skip in plan.skips}
        routes |= {claim.job_id: claim.pool.route for claim in plan.claims}
        queued: dict[str, list[float]] = {}
        for job in decision.jobs:
            if job.status is JobStatus.QUEUED:
                queued.setdefault(routes.get(job.id, NO_ROUTE), []).append(job.created_at)
        self._given_up.set(len(plan.given_up))
        self._queued.clear()
        self._oldest.clear()
        for route, times in queued.items():
            self._queued.labels(route).set(len(times))
            self._oldest.labels(route).set_function(partial(self._age, min(times)))

    def _age(self, at: float) -> float:
        return max(0.0, self._clock() - at)


_STAGES = {
    (State.SUBMITTED, State.STARTED): "worker_start",
    (State.SUBMITTED, State.BUSY): "worker_start",
    (State.STARTED, State.BUSY): "listen",
}
"""The stage that a transition ends."""


class SubmissionMetrics:
    """Requested runners.

    Args:
        registry: of the metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._submitted = Counter("bridge_requests", "Requests that RunPod accepted", ["route"], registry=registry)
        self._transitions = Counter(
            "bridge_submissions", "Submissions that entered a state", ["state"], registry=registry
        )
        self._outcomes = Counter(
            "bridge_outcomes", "Submissions that ended, by reason", ["route", "reason"], registry=registry
        )
        self._stages = Histogram(
            "bridge_stage_seconds",
            "Time from a claim to its request, to its worker's start, and until its runner had a job",
            ["stage"],
            buckets=_WAITS,
            registry=registry,
        )
        self._reruns = Counter(
            "bridge_reruns",
            "Jobs that lost their worker, by what became of them: rerun, refused, skipped",
            ["route", "result"],
            registry=registry,
        )
        self._open = Gauge("bridge_submissions_open", "Open submissions", ["route", "state"], registry=registry)

    def passed(self, report: Report, now: float) -> None:
        """Record what a pass did; `now` in Unix seconds."""
        for submission in report.submitted:
            self._submitted.labels(submission.pool.route).inc()
            self._stages.labels("submit").observe(max(0.0, submission.since - submission.created_at))
        for transition in report.decision.plan.transitions:
            self._moved(transition, now)
        for each in report.reruns:
            if each.state and each.state is not RerunState.NOT_LOST:
                self._reruns.labels(each.route, each.state).inc()
        self._open.clear()
        for (route, state), count in report.decision.standing.items():
            self._open.labels(route, state).set(count)

    def _moved(self, transition: Transition, now: float) -> None:
        before = transition.submission
        self._transitions.labels(transition.to).inc()
        if transition.to not in OPEN_STATES:
            self._outcomes.labels(before.pool.route, transition.reason or transition.to).inc()
        if stage := _STAGES.get((before.state, transition.to)):
            self._stages.labels(stage).observe(max(0.0, now - before.since))


class EndpointMetrics:
    """RunPod's endpoints.

    Args:
        registry: of the metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._streaks = Gauge(
            "bridge_endpoint_breakdowns", "Failures in a row of workers and requests", ["endpoint"], registry=registry
        )
        self._breakers = Gauge(
            "bridge_breaker_open",
            "1 if an endpoint gets only single requests as tries",
            ["endpoint"],
            registry=registry,
        )
        self._workers = Gauge(
            "bridge_workers", "Workers of an endpoint, as RunPod reports them", ["endpoint", "state"], registry=registry
        )

    def passed(self, decision: Decision) -> None:
        """Record the endpoints of a pass."""
        for gauge in (self._streaks, self._breakers, self._workers):
            gauge.clear()
        for endpoint in decision.health.keys() | decision.streaks.keys():
            streak = decision.streaks.get(endpoint)
            failures = streak.failures if streak else 0
            self._streaks.labels(endpoint).set(failures)
            self._breakers.labels(endpoint).set(failures >= OPENS_AT)
        for endpoint, health in decision.health.items():
            for state, count in health.workers.items():
                self._workers.labels(endpoint, state).set(count)


class CostMetrics:
    """What the workers cost, by the bridge's estimate.

    Args:
        registry: of the metrics.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._cost = Counter(
            "bridge_cost_dollars", "USD of the submissions that ended, as estimated", ["route"], registry=registry
        )
        self._budget = Gauge(
            "bridge_budget_dollars",
            "USD that may be used today (UTC); route is empty for the budget of all routes",
            ["route"],
            registry=registry,
        )
        self._used = Gauge(
            "bridge_budget_used_dollars", "USD of a budget that are used today (UTC)", ["route"], registry=registry
        )

    def passed(self, decision: Decision) -> None:
        """Record the costs and budgets of a pass."""
        for route, usd in decision.costs.items():
            self._cost.labels(route).inc(usd)
        self._budget.clear()
        self._used.clear()
        for budget in decision.budgets:
            self._budget.labels(budget.route).set(budget.usd)
            self._used.labels(budget.route).set(budget.used)
