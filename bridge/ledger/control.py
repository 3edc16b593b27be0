"""The part of a transaction that is about what people order, and about why jobs wait."""

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bridge.core.history import Wait
from bridge.core.model import JobStatus
from bridge.core.pauses import Pause
from bridge.core.submissions import Submission
from bridge.ledger import statements as st
from bridge.ledger import waits
from bridge.ledger.readings import ReadingKind
from bridge.ledger.rows import submission_of
from bridge.ledger.tables import jobs, pauses, readings, submissions

CLOCK_AHEAD = 600.0
"""s by which a command's own clock may be ahead of the newest time in the ledger; a later time is cut to that."""


class Control:
    """A base of `bridge.ledger.transaction.Transaction`.

    Args:
        connection: in a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def retry(self, job_id: int, now: float) -> bool:
        """Forget a job's failed attempts, and all refusals.

        Args:
            job_id: of the job.
            now: Unix seconds, by the clock of the command.

        Returns:
            Whether the job is known and not completed. If not, nothing is changed.
        """
        # This machine's clock may be behind the one that wrote the attempts. Or it may be ahead: then runners that
        # end without a job would not count until that time has come.
        times = (submissions.c.since, readings.c.at, jobs.c.seen_at)
        newest = max(self._connection.execute(sa.select(sa.func.max(each))).scalar() or 0.0 for each in times)
        ends = sa.select(sa.func.max(submissions.c.since)).where(submissions.c.job_id == job_id)
        last = self._connection.execute(ends).scalar() or 0.0
        known = (jobs.c.id == job_id) & (jobs.c.status != JobStatus.COMPLETED)
        at = max(min(now, newest + CLOCK_AHEAD), last)
        found = self._connection.execute(sa.update(jobs).where(known).values(retried_at=at)).rowcount == 1
        if found:
            self._connection.execute(sa.delete(readings).where(readings.c.kind == ReadingKind.REFUSAL))
        return found

    def named_submissions(self, names: Collection[str]) -> tuple[Submission, ...]:
        """The submissions whose runner or own id is one of these names."""
        s = submissions.c
        rows = self._connection.execute(sa.select(*st.SUBMISSION).where(s.name.in_(names) | s.id.in_(names)))
        return tuple(map(submission_of, rows))

    def keep_waits(self, found: Mapping[int, Wait]) -> None:
        """Write why jobs wait, by job id: see `bridge.ledger.waits.keep`."""
        waits.keep(self._connection, found)

    def pauses(self) -> Mapping[str, Pause]:
        """The paused routes, by name."""
        rows = self._connection.execute(st.PAUSES)
        return {route: Pause(route=route, at=at, by=by, reason=reason) for route, at, by, reason in rows}

    def pause(self, given: Pause) -> Pause:
        """Pause a route. Returns the pause that stands: if there is one already, it is kept."""
        if before := self.pauses().get(given.route):
            return before
        row = {"route": given.route, "at": given.at, "paused_by": given.by, "reason": given.reason}
        self._connection.execute(sa.insert(pauses), row)
        return given

    def resume(self, route: str) -> Pause | None:
        """End the pause of a route. Returns it, None if the route was not paused."""
        before = self.pauses().get(route)
        self._connection.execute(sa.delete(pauses).where(pauses.c.route == route))
        return before
