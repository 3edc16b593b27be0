"""Which worker has the request of a job."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.core.history import JobRecord, SubmissionRecord
from bridge.core.model import RequestStatus
from bridge.core.submissions import OPEN_STATES

if TYPE_CHECKING:
    from bridge.runpod.management import Management
    from bridge.runpod.requests import RunPod

_WAITS = frozenset({RequestStatus.IN_QUEUE, RequestStatus.IN_PROGRESS})


@dataclass(frozen=True, kw_only=True)
class Found:
    """The worker of a request, or why there is none to read from.

    Args:
        worker: RunPod's id; None if it is not known.
        why: one line if it is not known.
        later: it may become known.
    """

    worker: str | None = None
    why: str = ""
    later: bool = False


def submission_of(record: JobRecord) -> SubmissionRecord | None:
    """The submission whose runner took a job; else the newest that was requested for it and got a request id."""
    requested = [each for each in record.submissions if each.submission.request_id]
    own = (each for each in requested if each.submission.name == record.job.runner_name)
    mine = [each for each in requested if each.submission.job_id == record.job.id]
    return next(own, mine[-1] if mine else None)


async def find(record: SubmissionRecord, runpod: "RunPod", management: "Management") -> Found:
    """Find the worker that has, or had, the request of a submission.

    Args:
        record: with a request id.
        runpod: tells the worker of a request.
        management: lists the workers of an endpoint.

    Raises:
        BridgeError: RunPod could not be asked.
    """
    submission, known = record.submission, record.execution.worker_id
    if known and submission.state not in OPEN_STATES:
        return Found(worker=known)
    name, request_id = submission.name, submission.request_id or ""
    request = await runpod.status(submission.endpoint, request_id)
    if worker := request.worker_id or known:  # RunPod may have given the request to another worker meanwhile
        return Found(worker=worker)
    if request.status is RequestStatus.IN_QUEUE:
        said = f"`bridge explain {submission.job_id} --live` says what RunPod waits for"
        return Found(why=f"no worker has taken the request of runner {name} yet; {said}", later=True)
    if request.status not in _WAITS:
        why = f"the request of runner {name} is {request.status}, and RunPod does not say which worker had it"
        return Found(why=why)
    return await _only_running(name, submission.endpoint, management)


async def _only_running(name: str, endpoint: str, management: "Management") -> Found:
    """The endpoint's running worker, if there is only one."""
    running = [each.id for each in await management.listed_workers(endpoint) if each.status == "RUNNING"]
    if len(running) == 1:
        return Found(worker=running[0])
    if not running:
        return Found(why=f"RunPod does not list the worker of runner {name} yet; try again", later=True)
    names = ", ".join(running[:10])
    return Found(why=f"RunPod does not say which worker runner {name} is on; add --worker with one of: {names}")
