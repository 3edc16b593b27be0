"""Rows of `jobs` and `submissions` <-> values of bridge.core."""

import json
from collections.abc import Iterable
from dataclasses import fields
from functools import lru_cache
from sys import intern
from typing import Any

from bridge.core.model import JobStatus, Source, WorkflowJob
from bridge.core.readings import Readings
from bridge.core.submissions import Pool, State, Submission
from bridge.core.worker import Credentials, Reason
from bridge.ledger.readings import Decoded, decoded
from bridge.ledger.statements import JOB_FIELDS, SUBMISSION_FIELDS

_REPEATED = ("repository", "name", "workflow_name", "head_branch", "runner_group")
"""Columns whose texts many jobs share."""

_pool = lru_cache(maxsize=1024)(Pool)


class LastRead:
    """What was last read. Most rows are the same at each pass, and all passes share the values made of them.

    Attributes:
        born: Unix seconds when the ledger was made; None before it was read.
    """

    def __init__(self) -> None:
        self.born: float | None = None
        self._jobs: dict[int, tuple[tuple[Any, ...], WorkflowJob]] = {}
        self._submissions: dict[str, tuple[tuple[Any, ...], Submission]] = {}
        self._readings: Decoded = {}

    def jobs(self, rows: Iterable[tuple[Any, ...]]) -> dict[int, tuple[WorkflowJob, float]]:
        """By id the jobs of `rows`, each of which is `seen_at` and JOB, with when they were seen."""
        before, now, found = self._jobs, {}, {}
        for row in rows:
            job_id, values = row[1], row[1:]
            kept = before.get(job_id)
            if kept is None or kept[0] != values:
                kept = values, job_of(values)
            now[job_id] = kept
            found[job_id] = kept[1], row[0]
        self._jobs = now
        return found

    def submissions(self, rows: Iterable[tuple[Any, ...]]) -> dict[str, Submission]:
        """By id the submissions of `rows`, each of which is as SUBMISSION."""
        before, now, found = self._submissions, {}, {}
        for row in rows:
            key, values = row[0], row[:]
            kept = before.get(key)
            if kept is None or kept[0] != values:
                kept = values, submission_of(values)
            now[key] = kept
            found[key] = kept[1]
        self._submissions = now
        return found

    def readings(self, rows: Iterable[tuple[Any, ...]]) -> Readings:
        """The readings of `rows`, each of which is as READINGS selects it."""
        found, self._readings = decoded(rows, self._readings)
        return found


def job_of(values: Iterable[Any]) -> WorkflowJob:
    """The job that JOB's columns hold."""
    row = dict(zip(JOB_FIELDS, values, strict=True))
    row |= {name: intern(row[name]) for name in _REPEATED if row[name]}
    row["labels"] = tuple(map(intern, json.loads(row["labels"])))
    row["status"] = JobStatus(row["status"])
    return WorkflowJob(**row)


def row_of_job(job: WorkflowJob, seen_at: float, source: Source) -> dict[str, Any]:
    """The row of a job that was seen at `seen_at` (Unix seconds). What is known of its first sight is kept."""
    seen = {"seen_at": seen_at, "queued_since": seen_at, "first_seen_at": seen_at, "source": source}
    return {**{name: getattr(job, name) for name in JOB_FIELDS}, **seen}


def submission_of(values: Iterable[Any]) -> Submission:
    """The submission that SUBMISSION's columns hold."""
    row = dict(zip(SUBMISSION_FIELDS, values, strict=True))
    row["pool"] = _pool(row.pop("route"), row.pop("target"))
    row["endpoint"] = intern(row["endpoint"])
    row["credentials"] = Credentials(row["credentials"])
    row["state"] = State(row["state"])
    row["reason"] = Reason(row["reason"]) if row["reason"] else None
    return Submission(**row)


def row_of_submission(submission: Submission) -> dict[str, Any]:
    """The row of a submission."""
    row = {f.name: getattr(submission, f.name) for f in fields(submission) if f.name != "pool"}
    return {**row, "route": submission.pool.route, "target": submission.pool.target}


def step_row(submission: str, start: State | None, to: State, at: float, **why: str | None) -> dict[str, Any]:
    """A row of the history; `why` may have `reason` and `detail`."""
    step = {"of": submission, "from_state": start, "to_state": to, "at": at}
    return {**step, "reason": why.get("reason"), "detail": why.get("detail")}
