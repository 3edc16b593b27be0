"""The history of jobs and submissions: how RunPod executed requests, and all that is known of a job."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bridge.core.history import Execution, JobRecord, SubmissionRecord, TransitionRecord
from bridge.core.model import Source, WorkflowJob
from bridge.core.reference import Reference
from bridge.core.submissions import State
from bridge.ledger import reruns, waits
from bridge.ledger import statements as st
from bridge.ledger.costs import Costs
from bridge.ledger.rows import job_of, submission_of
from bridge.ledger.tables import jobs, submissions, transitions

_EXECUTIONS = sa.select(submissions.c.id, *(submissions.c[name] for name in st.EXECUTION_FIELDS)).where(
    submissions.c.id.in_(sa.bindparam("ids", expanding=True))
)
_KEEP = (
    sa.update(submissions)
    .where(submissions.c.id == sa.bindparam("of"))
    .values(
        {
            name: sa.func.coalesce(sa.bindparam(f"new_{name}", type_=submissions.c[name].type), submissions.c[name])
            for name in st.EXECUTION_FIELDS
        }
    )
)
"""What is not told stays as it was."""


def keep(connection: Connection, executions: Mapping[str, Execution]) -> None:
    """Write how RunPod executed requests. What is known and is not told again stays as it was.

    Args:
        connection: in a write transaction.
        executions: by submission id.
    """
    told = {key: execution for key, execution in executions.items() if execution != Execution()}
    if not told:
        return
    known = _executions(connection, told)
    rows = [
        {"of": key, **{f"new_{name}": getattr(execution, name) for name in st.EXECUTION_FIELDS}}
        for key, execution in told.items()
        if key in known and _tells_more(execution, known[key])
    ]
    if rows:
        connection.execute(_KEEP, rows)


def _tells_more(execution: Execution, known: Execution) -> bool:
    told = ((getattr(execution, name), getattr(known, name)) for name in st.EXECUTION_FIELDS)
    return any(new is not None and new != before for new, before in told)


def named(connection: Connection, reference: Reference) -> tuple[JobRecord, ...]:
    """What is known of the job that is named, or of each job of the run, in the order of their ids."""
    if reference.job_id is None:
        return records(connection, jobs.c.run_id == reference.run_id)
    found = records(connection, jobs.c.id == reference.job_id)
    alone = reference.run_id is None  # a number: it may be the id of a run
    return found or (records(connection, jobs.c.run_id == reference.job_id) if alone else ())


def of_jobs(connection: Connection, job_ids: Collection[int]) -> tuple[JobRecord, ...]:
    """What is known of these jobs, in the order of their ids."""
    return records(connection, jobs.c.id.in_(list(job_ids))) if job_ids else ()


def records(connection: Connection, wanted: st.Condition) -> tuple[JobRecord, ...]:
    """What is known of each job of a condition, in the order of their ids."""
    seen = (jobs.c.first_seen_at, jobs.c.source, jobs.c.retried_at)
    rows = connection.execute(sa.select(*seen, *st.JOB).where(wanted).order_by(jobs.c.id)).all()
    found = [(row[: len(seen)], job_of(row[len(seen) :])) for row in rows]
    of_jobs = _submissions(connection, [job for _, job in found])
    waited = waits.read(connection, [job.id for _, job in found])
    decided = reruns.of_jobs(connection, [job.id for _, job in found])
    return tuple(
        JobRecord(
            job=job,
            first_seen_at=first_seen_at,
            source=Source(source) if source else None,
            retried_at=retried_at,
            submissions=tuple(each for each in of_jobs if _concerns(each, job)),
            waits=tuple(waited[job.id]),
            rerun=decided.get(job.id),
        )
        for (first_seen_at, source, retried_at), job in found
    )


def _concerns(record: SubmissionRecord, job: WorkflowJob) -> bool:
    submission = record.submission
    return job.id in (submission.job_id, submission.held_job_id) or submission.name == job.runner_name


def _submissions(connection: Connection, of: Collection[WorkflowJob]) -> list[SubmissionRecord]:
    """The submissions that were requested for these jobs or took them, the oldest first."""
    ids, names = [job.id for job in of], [job.runner_name for job in of if job.runner_name]
    s = submissions.c
    wanted = s.job_id.in_(ids) | s.held_job_id.in_(ids) | s.name.in_(names)
    rows = connection.execute(sa.select(*st.SUBMISSION).where(wanted).order_by(s.created_at, s.name)).all()
    found = [submission_of(row) for row in rows]
    steps = _transitions(connection, [each.id for each in found])
    executions = _executions(connection, [each.id for each in found])
    costs = Costs(connection).of_ended([each.id for each in found])
    return [
        SubmissionRecord(
            submission=each,
            transitions=tuple(steps[each.id]),
            execution=executions[each.id],
            usd=costs.get(each.id),
        )
        for each in found
    ]


def _transitions(connection: Connection, ids: Collection[str]) -> Mapping[str, list[TransitionRecord]]:
    """By submission id, the transitions of each, the oldest first."""
    t = transitions.c
    columns = (t.submission, t.from_state, t.to_state, t.at, t.reason, t.detail)
    rows = connection.execute(sa.select(*columns).where(t.submission.in_(ids)).order_by(t.submission, t.number))
    found: dict[str, list[TransitionRecord]] = defaultdict(list)
    for submission, start, to, at, reason, detail in rows:
        found[submission].append(
            TransitionRecord(start=State(start) if start else None, to=State(to), at=at, reason=reason, detail=detail)
        )
    return found


def _executions(connection: Connection, ids: Iterable[str]) -> dict[str, Execution]:
    """By submission id, how RunPod executed its request."""
    rows = connection.execute(_EXECUTIONS, {"ids": list(ids)}).all()
    return {row[0]: Execution(**dict(zip(st.EXECUTION_FIELDS, row[1:], strict=True))) for row in rows}


def runner_versions(connection: Connection) -> dict[str, str]:
    """By endpoint id, the version of the official runner that its newest worker reported."""
    s = submissions.c
    rows = sa.select(s.endpoint, s.runner_version).where(s.runner_version.is_not(None)).order_by(s.created_at)
    return {row.endpoint: row.runner_version for row in connection.execute(rows)}
