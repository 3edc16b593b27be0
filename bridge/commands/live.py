"""What `bridge explain --live` asks GitHub and RunPod about one job. Each question may fail without the others."""

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from bridge.core.diagnosis import Diagnosis, Workers, counted, of_job, of_request
from bridge.core.history import JobRecord
from bridge.core.model import JobStatus
from bridge.core.submissions import OPEN_STATES, Submission
from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.commands.composition import Bridge
    from bridge.config.management import ManagementConfig
    from bridge.core.account import ListedWorker

T = TypeVar("T")

HOST_LINES = 20
"""Lines of the log of the host that are read."""


@dataclass(kw_only=True)
class Live:
    """What was found.

    Args:
        github: one line; None if GitHub did not answer.
        runpod: None if there is no open request, or RunPod did not answer.
        workers: of the request's endpoint.
        not_asked: what could not be asked and why, one line each.
    """

    github: str | None = None
    runpod: Diagnosis | None = None
    workers: Workers | None = None
    not_asked: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For a person."""
        told = [f"GitHub, now: {self.github}"] if self.github else []
        told += [f"RunPod, now: {self.runpod.said}"] if self.runpod else []
        return [*told, *(f"not asked: {each}" for each in self.not_asked)]

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "github": self.github,
            "runpod": self.runpod.said if self.runpod else None,
            "stage": self.runpod.stage if self.runpod else None,
            "workers": dict(self.workers.counts) if self.workers else None,
            "not_asked": self.not_asked,
        }


async def ask(bridge: "Bridge", record: JobRecord, managed: "ManagementConfig | None") -> Live:
    """Ask GitHub about a job, and RunPod about its open request.

    Args:
        bridge: has the clients.
        record: what the ledger knows.
        managed: None without a management key.
    """
    found = Live()
    found.github = await _answer(found, "GitHub", _github(bridge, record))
    submission = next((s for s in reversed(_open(record)) if s.request_id), None)
    if submission is None:
        return found
    request = await _answer(found, "RunPod", bridge.runpod.status(submission.endpoint, submission.request_id or ""))
    found.workers = await _workers(found, bridge, submission.endpoint, managed)
    if request:
        found.runpod = of_request(request, found.workers)
    return found


def _open(record: JobRecord) -> list[Submission]:
    """The open submissions that were requested for a job or run it, the oldest first."""
    return [each.submission for each in record.submissions if each.submission.state in OPEN_STATES]


async def _github(bridge: "Bridge", record: JobRecord) -> str:
    repository, job_id = record.job.repository, record.job.id
    job = await bridge.github.job(repository, job_id)
    failed = job is not None and job.status is JobStatus.COMPLETED and job.conclusion == "failure"
    return of_job(job, await bridge.github.failed_step(repository, job_id) if failed else None)


async def _workers(found: Live, bridge: "Bridge", endpoint: str, managed: "ManagementConfig | None") -> Workers:
    if managed is None:
        found.not_asked.append("RunPod's list of workers: RUNPOD_MANAGEMENT_API_KEY is not set")
        health = await _answer(found, "RunPod", bridge.runpod.health(endpoint))
        return Workers(counts=counted(health, None))
    from bridge.commands.management import management

    async with management(api_key=managed.api_key, url=managed.url, key_setting=managed.key_setting) as client:
        listed = await _answer(found, "RunPod's list of workers", client.listed_workers(endpoint))
        settings = await _answer(found, "RunPod's endpoint", client.endpoint(endpoint))
    health = None if listed is not None else await _answer(found, "RunPod", bridge.runpod.health(endpoint))
    return Workers(
        counts=counted(health, listed),
        listed=listed or (),
        host_log=await _host_log(found, endpoint, listed or (), managed),
        most=settings.settings.workers_max if settings else None,
    )


async def _host_log(
    found: Live, endpoint: str, listed: "tuple[ListedWorker, ...]", managed: "ManagementConfig"
) -> tuple[str, ...]:
    """The last lines of the log of the host of the first worker that is starting."""
    starting = next((worker.id for worker in listed if worker.status == "INITIALIZING"), None)
    if starting is None:
        return ()
    from bridge.commands.management import worker_logs
    from bridge.runpod.worker_logs import Source

    async def read() -> tuple[str, ...]:
        async with worker_logs(api_key=managed.api_key, url=managed.url, key_setting=managed.key_setting) as reader:
            lines = reader.past(endpoint, starting, source=Source.SYSTEM, tail=HOST_LINES)
            return tuple([line.text async for line in lines])

    return await _answer(found, f"the log of worker {starting}", read()) or ()


async def _answer(found: Live, asked: str, question: Awaitable[T]) -> T | None:
    """The answer; None if there is none, which is noted."""
    try:
        return await question
    except BridgeError as error:
        found.not_asked.append(f"{asked}: {error}")
        return None
