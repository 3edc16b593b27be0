"""Re-runs of jobs: a run as far as they need it, and what GitHub's answer to a re-run means. Pure.

https://docs.github.com/rest/actions/workflow-runs#re-run-a-job-from-a-workflow-run
"""

from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from bridge.core.lost import SeenJob, SeenRun
from bridge.core.model import storable
from bridge.errors import BridgeError, NotYet, OutcomeUnknown, Rejected
from bridge.github import parse
from bridge.github.answers import described, error_of, request_id_of

Raw = Mapping[str, Any]

NEEDS = "actions=write"
"""The permission of a re-run, as GitHub names it in `X-Accepted-GitHub-Permissions`."""


def run(raw: Raw) -> SeenRun:
    """A run from `/actions/runs/{id}`, without its jobs and the time of the reading."""
    return SeenRun(
        at=0.0,
        attempt=int(raw["run_attempt"]),
        completed=raw["status"] == "completed",
        created_at=parse.moment(raw["created_at"]) or 0.0,
        fork=parse.fork(raw),
        cancelled=raw.get("conclusion") == "cancelled",
    )


def jobs(raw: Raw) -> Iterable[SeenJob]:
    """Jobs from `/actions/runs/{id}/jobs`, with what their steps show."""
    return [_job(each) for each in raw["jobs"]]


def _job(raw: Raw) -> SeenJob:
    steps = [step for step in raw.get("steps") or () if isinstance(step, Mapping)]
    return SeenJob(
        id=int(raw["id"]),
        name=storable(raw["name"]),
        run_attempt=int(raw.get("run_attempt") or 1),
        conclusion=raw.get("conclusion") or None,
        step_failed=any(step.get("conclusion") == "failure" for step in steps),
        step_open=any(step.get("status") != "completed" for step in steps),
    )


def check_rerun(response: httpx.Response) -> None:
    """Raise unless GitHub has accepted the re-run.

    Raises:
        NotYet: the run has not ended.
        OutcomeUnknown: the answer is none of GitHub's, such as a page of a proxy.
        AuthError, Rejected: it is refused.
    """
    if response.status_code == 201:
        return
    if response.is_success:
        line = f"{described(response)}: unreadable answer; it may have been done; if you use a proxy, check it"
        raise OutcomeUnknown(line, request_id=request_id_of(response))
    raise _refusal(response)


def _refusal(response: httpx.Response) -> BridgeError:
    """GitHub answers 403 for a missing permission, and for a run that it does not re-run.

    The texts are those of https://github.com/cli/cli/issues/9221 and https://github.com/cli/cli/issues/9989; only known
    texts are shown.
    """
    if response.status_code != 403:
        return error_of(response)
    text, line, request_id = response.text.lower(), described(response), request_id_of(response)
    if "already running" in text:
        return NotYet(f"{line}: the run has not ended", request_id=request_id)
    if "over a month ago" in text:
        return Rejected(f"{line}: GitHub re-runs no run older than 30 days", status=403, request_id=request_id)
    if "resource not accessible" in text or response.headers.get("x-accepted-github-permissions"):
        return error_of(response)
    fix = f"give the App or token the permission {NEEDS}, or re-run the job by hand to see GitHub's reason"
    return Rejected(f"{line}: GitHub does not re-run the job; {fix}", status=403, request_id=request_id)
