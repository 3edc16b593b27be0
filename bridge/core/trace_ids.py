"""The ids of a run's and a job's spans, as the GitHub receiver of the OpenTelemetry collector derives them. Pure.

So the bridge, the worker and that receiver write into one trace without asking each other.
https://github.com/open-telemetry/opentelemetry-collector-contrib/blob/main/receiver/githubreceiver/trace_event_handling.go
"""

from hashlib import sha256


def trace_id(run_id: int, attempt: int) -> str:
    """The trace of one attempt of a run: 32 hex digits."""
    return _hash(f"{run_id}{attempt}t")[:32]


def run_span_id(run_id: int, attempt: int) -> str:
    """The span of one attempt of a run: 16 hex digits."""
    return _span_id(f"{run_id}{attempt}s")


def job_span_id(job_id: int) -> str:
    """The span of a job, from its creation to its end. The receiver has used this id since v0.151.0."""
    return _span_id(f"{job_id}-j")


def queue_span_id(job_id: int) -> str:
    """The span of a job's time in the queue."""
    return _span_id(f"{job_id}-q")


def stage_span_id(submission: str, stage: str) -> str:
    """The span of one stage of a submission: the bridge's own.

    Args:
        submission: the ledger's id.
        stage: its name.
    """
    return _span_id(f"{submission}-{stage}")


def _span_id(text: str) -> str:
    return _hash(text)[16:32]


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()
