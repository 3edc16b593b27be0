"""Values of `bridge.core` for tests, with defaults for every field."""

from typing import Any

from bridge.core.model import JobStatus, Runner, WorkflowJob
from bridge.core.naming import parse_name
from bridge.core.scope import Route
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import OPEN_STATES, Pool, State, Submission
from bridge.core.timing import Timing
from bridge.core.worker import Credentials

NOW = 1_800_000_000.0
TIMING = Timing()
ORG = "orgs/acme"


def a_route(**given: Any) -> Route:
    """A route; `endpoint` is short for a list with one endpoint."""
    labels = frozenset(given.pop("labels", ("runpod", "gpu")))
    endpoints = tuple(given.pop("endpoints", (given.pop("endpoint", "ep-1"),)))
    return Route(**{"name": "gpu", "endpoints": endpoints, "max_workers": 10, "labels": labels, **given})


def a_job(job_id: int, **given: Any) -> WorkflowJob:
    defaults: dict[str, Any] = {
        "id": job_id,
        "run_id": 1,
        "repository": "acme/web",
        "name": f"job {job_id}",
        "labels": ("self-hosted", "runpod", "gpu"),
        "status": JobStatus.QUEUED,
        "fork": False,
        "created_at": NOW - 1000 + job_id,
    }
    return WorkflowJob(**{**defaults, **given})


def a_submission(job_id: int = 1, state: State = State.SUBMITTED, **given: Any) -> Submission:
    generation = given.pop("generation", 1)
    defaults: dict[str, Any] = {
        "id": f"s{job_id}-{generation}",
        "name": f"runpod-{job_id}-{generation}",
        "job_id": job_id,
        "generation": generation,
        "pool": Pool("gpu", ORG),
        "endpoint": "ep-1",
        "credentials": Credentials.JIT,
        "state": state,
        "since": NOW - 60,
        "created_at": NOW - 60,
        "lease_until": NOW - 1,
        "not_after": NOW + 3000,
        "runner_id": 100 + job_id,
        "request_id": f"r{job_id}",
    }
    return Submission(**{**defaults, **given})


def a_runner(name: str, **given: Any) -> Runner:
    """A runner. If its name is that of a submission, it has the `runner_id` that `a_submission` sets."""
    labels = ("self-hosted", "linux", "x64", "runpod", "gpu", f"runpod-at-{int(NOW - 60)}")
    parts = parse_name("runpod", name)
    return Runner(
        **{"id": 100 + parts[0] if parts else 7, "name": name, "online": True, "busy": False, "labels": labels, **given}
    )


def is_registered(submission: Submission) -> bool:
    """Whether GitHub lists the runner of a submission."""
    return submission.runner_id is not None and submission.state in OPEN_STATES


def its_runner(submission: Submission) -> Runner:
    """The runner of a submission, in the state that fits the submission."""
    started = submission.state in (State.STARTED, State.BUSY)
    busy = submission.state is State.BUSY
    return a_runner(submission.name, id=submission.runner_id, online=started, busy=busy)


def a_snapshot(**given: Any) -> Snapshot:
    defaults: dict[str, Any] = {
        "began": NOW,
        "at": NOW,
        "runners_read_at": NOW,
        "ledger_born": NOW - 1_000_000,
        "knows_since": given.get("ledger_born", NOW - 1_000_000),
        "prefix": "runpod",
        "organisation": "acme",
        "routes": (a_route(),),
        "jobs": (),
        "runners": {ORG: tuple(map(its_runner, filter(is_registered, given.get("submissions", ()))))},
    }
    merged = {**defaults, **given}
    return Snapshot(**{"runners_at": dict.fromkeys(merged["runners"], NOW), **merged})
