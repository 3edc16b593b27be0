"""Reports steps and logs to the results service, in the background: it may be slow or fail, and the job goes on."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from . import console, web
from .job import Job
from .web import Unreachable

CLOSE_LIMIT = 20.0
TIMEOUT = 10.0
"""s."""

STEPS = "twirp/github.actions.results.api.v1.WorkflowStepUpdateService/WorkflowStepsUpdate"
RECEIVER = "twirp/results.services.receiver.Receiver/"
BOM = "\ufeff"


class Results(threading.Thread):
    """Sends what the Worker reports, one thing after the other.

    Args:
        job: whose results these are.
        log: gets the errors.
    """

    def __init__(self, job: Job, log: console.Diagnostics) -> None:
        super().__init__(daemon=True)
        self._job = job
        self._url = job.variable("system.github.results_endpoint")
        self._log = log
        self._tasks: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._order = 0

    def run(self) -> None:
        """Send until `close`."""
        while task := self._tasks.get():
            try:
                task()
            except (Unreachable, KeyError, TypeError) as error:
                self._log.info(f"Ignore any exception during a report of results. {error}")

    def steps(self, steps: Sequence[Mapping[str, object]]) -> None:
        """Report the states of steps."""
        self._order += 1
        body = {"steps": [dict(step) for step in steps], "change_order": self._order}
        if self._url:
            self._tasks.put(lambda: self._post(STEPS, body))

    def step_log(self, step_id: str, text: str) -> None:
        """Upload the log of a step."""
        self._tasks.put(lambda: self._upload("StepLogs", text, {"step_backend_id": step_id}))

    def job_log(self, text: str) -> None:
        """Upload the log of the job."""
        self._tasks.put(lambda: self._upload("JobLogs", text, {}))

    def close(self) -> None:
        """Wait until everything has been sent, but not for ever."""
        self._tasks.put(None)
        self.join(CLOSE_LIMIT)

    def _upload(self, kind: str, text: str, ids: Mapping[str, str]) -> None:
        if not self._url:
            return
        url = self._post(f"{RECEIVER}Get{kind}SignedBlobURL", ids)["logs_url"]
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": "text/plain"}
        content = (BOM + text).encode("utf-8", "surrogatepass")
        web.call("PUT", url, content, headers, TIMEOUT)
        uploaded = {"uploaded_at": now(), "line_count": text.count("\n")}
        self._post(f"{RECEIVER}Create{kind}Metadata", {**ids, **uploaded})

    def _post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        ids = self._job.ids
        backend = {"workflow_run_backend_id": ids["planId"], "workflow_job_run_backend_id": ids["jobId"]}
        return web.post(f"{self._url}{path}", {**backend, **body}, self._job.authorization, TIMEOUT).body


def now() -> str:
    """The current time in the format of logs."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}0Z"
