"""The service's metrics, for Prometheus. They are passed to the code that records them; there is no global registry."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from bridge.controller.report import Decision, Report
from bridge.core.model import JobStatus
from bridge.service.outcomes import DeliveryOutcome, PassOutcome

_WAITS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Metrics:
    """The metrics of one service."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._deliveries = Counter(
            "bridge_deliveries", "Deliveries and callbacks received", ["event", "outcome"], registry=registry
        )
        self._passes = Counter("bridge_passes", "Passes that ended", ["kind", "outcome"], registry=registry)
        self._seconds = Histogram("bridge_pass_seconds", "Duration of a pass", ["kind"], registry=registry)
        self._submitted = Counter("bridge_requests", "Requests that RunPod accepted", ["route"], registry=registry)
        self._wait = Histogram(
            "bridge_job_to_request_seconds",
            "Time from a job's creation to its first request",
            buckets=_WAITS,
            registry=registry,
        )
        self._transitions = Counter(
            "bridge_submissions", "Submissions that entered a state", ["state"], registry=registry
        )
        self._queued = Gauge("bridge_jobs_queued", "Queued jobs that the bridge knows", registry=registry)
        self._given_up = Gauge(
            "bridge_jobs_given_up", "Queued jobs that get no more runners until `bridge retry`", registry=registry
        )
        self._open = Gauge("bridge_submissions_open", "Open submissions", ["route", "state"], registry=registry)
        self._streaks = Gauge(
            "bridge_endpoint_breakdowns", "Failures in a row of workers and requests", ["endpoint"], registry=registry
        )
        self._resynced_at = Gauge(
            "bridge_last_resync_timestamp_seconds", "When the last resync without a problem ended", registry=registry
        )
        self._calls = Gauge(
            "bridge_calls", "Calls to GitHub and RunPod since the start", ["service", "call"], registry=registry
        )

    def delivery(self, event: str, outcome: DeliveryOutcome) -> None:
        """Count a delivery, or a callback with the event `runpod`."""
        self._deliveries.labels(event, outcome).inc()

    def passed(self, kind: str, report: Report) -> None:
        """Record a pass that ran to its end."""
        self._passes.labels(kind, PassOutcome.PROBLEMS if report.problems else PassOutcome.DONE).inc()
        self._seconds.labels(kind).observe(report.seconds)
        queued_at = {job.id: job.created_at for job in report.decision.jobs}
        for submission in report.submitted:
            self._submitted.labels(submission.pool.route).inc()
            if submission.generation == 1 and submission.job_id in queued_at:
                self._wait.observe(max(0.0, submission.since - queued_at[submission.job_id]))
        for transition in report.decision.plan.transitions:
            self._transitions.labels(transition.to).inc()
        self._set_gauges(report.decision)

    def failed(self, kind: str) -> None:
        """Record a pass that failed."""
        self._passes.labels(kind, PassOutcome.FAILED).inc()

    def resynced(self, at: float) -> None:
        """Record when a resync without a problem ended, in Unix seconds."""
        self._resynced_at.set(at)

    def page(self, calls: Mapping[str, Mapping[str, int]]) -> bytes:
        """All metrics in the text format of Prometheus.

        Args:
            calls: the number of calls, by service and kind of call.
        """
        for service, counts in calls.items():
            for call, count in counts.items():
                self._calls.labels(service, call).set(count)
        return generate_latest(self._registry)

    def _set_gauges(self, decision: Decision) -> None:
        self._queued.set(sum(job.status is JobStatus.QUEUED for job in decision.jobs))
        self._given_up.set(len(decision.plan.given_up))
        self._streaks.clear()
        for endpoint, streak in decision.streaks.items():
            self._streaks.labels(endpoint).set(streak.failures)
        self._open.clear()
        for (route, state), count in decision.standing.items():
            self._open.labels(route, state).set(count)
