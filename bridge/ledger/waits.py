"""The table `waits`: why each job has waited so far. bridge.core.waits says which reasons are kept."""

from collections import defaultdict
from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bridge.core.history import Wait
from bridge.core.waits import MOST, is_new
from bridge.ledger.tables import jobs, waits

_READ = sa.select(waits.c.job_id, waits.c.number, waits.c.at, waits.c.kind, waits.c.why, waits.c.route).order_by(
    waits.c.job_id, waits.c.number
)
_OF_JOBS = _READ.where(waits.c.job_id.in_(sa.bindparam("ids", expanding=True)))
_KNOWN = sa.select(jobs.c.id).where(jobs.c.id.in_(sa.bindparam("ids", expanding=True)))


def keep(connection: Connection, found: Mapping[int, Wait]) -> None:
    """Write the reasons that are new. Those of jobs that the ledger does not keep are ignored.

    Args:
        connection: in a write transaction.
        found: by job id, why it waits.
    """
    if not found:
        return
    known = set(connection.execute(_KNOWN, {"ids": list(found)}).scalars())
    before = read(connection, known)
    rows = []
    for job_id in sorted(known):
        kept, wait = before[job_id], found[job_id]
        if len(kept) < MOST and is_new(wait, kept[-1] if kept else None):
            why = {"kind": wait.kind, "why": wait.why, "route": wait.route}
            rows.append({"job_id": job_id, "number": len(kept) + 1, "at": wait.at, **why})
    if rows:
        connection.execute(sa.insert(waits), rows)


def read(connection: Connection, job_ids: Collection[int]) -> Mapping[int, list[Wait]]:
    """By job id, the reasons of each job, the oldest first."""
    found: dict[int, list[Wait]] = defaultdict(list)
    if job_ids:
        for row in connection.execute(_OF_JOBS, {"ids": list(job_ids)}):
            found[row.job_id].append(Wait(at=row.at, kind=row.kind, why=row.why, route=row.route))
    return found
