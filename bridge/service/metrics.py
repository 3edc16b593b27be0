"""What is counted and measured, for Prometheus. Handed to whoever records; nothing records by import."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from bridge.controller.report import Decision, Report
from bridge.core.model import JobStatus
from bridge.service.outcomes import DeliveryOutcome, PassOutcome

_WAITS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Metrics:
    """The service's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._deliveries = Counter("bridge_deliveries", "Deliveries received", ["event", "outcome"], registry=registry)
        self._passes = Counter("bridge_passes", "Passes", ["kind", "outcome"], registry=registry)
        self._seconds = Histogram("bridge_pass_seconds", "Duration of a pass", ["kind"], registry=registry)
        self._submitted = Counter("bridge_requests", "Requests that RunPod accepted", ["route"], registry=registry)
        self._wait = Histogram(
            "bridge_job_to_request_seconds", "From a job queued to its request sent", buckets=_WAITS, registry=registry
        )
        self._transitions = Counter(
            "bridge_submissions", "Submissions that came to a state", ["state"], registry=registry
        )
        self._queued = Gauge("bridge_jobs_queued", "Queued jobs known", registry=registry)
        self._given_up = Gauge(
            "bridge_jobs_given_up", "Queued jobs that get no more runners until they are retried", registry=registry
        )
        self._open = Gauge("bridge_submissions_open", "Open submissions", ["route", "state"], registry=registry)
        self._streaks = Gauge(
            "bridge_endpoint_breakdowns", "Workers that broke down in a row", ["endpoint"], registry=registry
        )
        self._looked_at = Gauge("bridge_last_look_timestamp_seconds", "Last look without problem", registry=registry)
        self._calls = Gauge("bridge_calls", "Calls made since the start", ["service", "call"], registry=registry)

    def delivery(self, event: str, outcome: DeliveryOutcome) -> None:
        """Count a delivery."""
        self._deliveries.labels(event, outcome).inc()

    def passed(self, kind: str, report: Report) -> None:
        """Record a pass that came to its end."""
        self._passes.labels(kind, PassOutcome.PROBLEMS if report.problems else PassOutcome.DONE).inc()
        self._seconds.labels(kind).observe(report.seconds)
        queued_at = {job.id: job.created_at for job in report.decision.jobs}
        for submission in report.submitted:
            self._submitted.labels(submission.pool.route).inc()
            if submission.generation == 1 and submission.job_id in queued_at:
                self._wait.observe(max(0.0, submission.since - queued_at[submission.job_id]))
        for transition in report.decision.plan.transitions:
            self._transitions.labels(transition.to).inc()
        self._stand(report.decision)

    def failed(self, kind: str) -> None:
        """Record a pass that broke off."""
        self._passes.labels(kind, PassOutcome.FAILED).inc()

    def looked(self, at: float) -> None:
        """Record a look without a problem, at Unix seconds."""
        self._looked_at.set(at)

    def page(self, calls: Mapping[str, Mapping[str, int]]) -> bytes:
        """All of it, in Prometheus' text format.

        Args:
            calls: by service, how often what was called.
        """
        for service, counts in calls.items():
            for call, count in counts.items():
                self._calls.labels(service, call).set(count)
        return generate_latest(self._registry)

    def _stand(self, decision: Decision) -> None:
        self._queued.set(sum(job.status is JobStatus.QUEUED for job in decision.jobs))
        self._given_up.set(len(decision.plan.given_up))
        self._streaks.clear()
        for endpoint, streak in decision.streaks.items():
            self._streaks.labels(endpoint).set(streak.failures)
        self._open.clear()
        for (route, state), count in decision.standing.items():
            self._open.labels(route, state).set(count)
