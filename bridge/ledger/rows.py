"""Rows of the ledger's tables -> our values, and back."""

import json
from collections.abc import Iterable
from dataclasses import fields
from functools import lru_cache
from sys import intern
from typing import Any

from sqlalchemy.engine import Row

from bridge.core.model import JobStatus, WorkflowJob
from bridge.core.readings import Readings
from bridge.core.submissions import Pool, State, Submission
from bridge.core.worker import Credentials, Reason
from bridge.ledger.readings import Decoded, decoded
from bridge.ledger.statements import JOB_FIELDS

_REPEATED = ("repository", "name", "workflow_name", "head_branch", "runner_group")
"""Texts that many jobs have."""

_pool = lru_cache(maxsize=1024)(Pool)


class LastRead:
    """Jobs and readings as they were last read. Most are the same at each pass, and all passes share them."""

    def __init__(self) -> None:
        self._jobs: dict[int, tuple[tuple[Any, ...], WorkflowJob]] = {}
        self._readings: Decoded = {}

    def jobs(self, rows: Iterable[Row[Any]]) -> dict[int, tuple[WorkflowJob, float]]:
        """By id the jobs of `rows`, each of which is `seen_at` and JOB, with when they were seen."""
        before, now, found = self._jobs, {}, {}
        for row in rows:
            values, kept = row[1:], before.get(row.id)
            now[row.id] = kept if kept and kept[0] == values else (values, job_of(values))
            found[row.id] = now[row.id][1], row.seen_at
        self._jobs = now
        return found

    def readings(self, rows: Iterable[Row[Any]]) -> Readings:
        """The readings of `rows`, each of which is as READINGS selects it."""
        found, self._readings = decoded(rows, self._readings)
        return found


def job_of(values: Iterable[Any]) -> WorkflowJob:
    """The job that JOB's columns hold."""
    told = dict(zip(JOB_FIELDS, values, strict=True))
    told |= {name: intern(told[name]) for name in _REPEATED if told[name]}
    told["labels"] = tuple(map(intern, json.loads(told["labels"])))
    told["status"] = JobStatus(told["status"])
    return WorkflowJob(**told)


def row_of_job(job: WorkflowJob, seen_at: float) -> dict[str, Any]:
    """A job as its table has it, as it was seen at `seen_at` (Unix seconds)."""
    return {**{name: getattr(job, name) for name in JOB_FIELDS}, "seen_at": seen_at, "queued_since": seen_at}


def submission_of(row: Row[Any]) -> Submission:
    """A row of submissions."""
    told = row._asdict()
    told["pool"] = _pool(told.pop("route"), told.pop("target"))
    told["endpoint"] = intern(told["endpoint"])
    told["credentials"] = Credentials(told["credentials"])
    told["state"] = State(told["state"])
    told["reason"] = Reason(told["reason"]) if told["reason"] else None
    return Submission(**told)


def row_of_submission(submission: Submission) -> dict[str, Any]:
    """A submission as its table has it."""
    told = {f.name: getattr(submission, f.name) for f in fields(submission) if f.name != "pool"}
    return {**told, "route": submission.pool.route, "target": submission.pool.target}
