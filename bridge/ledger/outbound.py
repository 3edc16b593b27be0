"""What was sent to people and to a collector of traces, and which traces are still to be sent."""

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bridge.core.history import JobRecord
from bridge.core.model import JobStatus
from bridge.core.spans import TRACE
from bridge.ledger import history
from bridge.ledger import statements as st
from bridge.ledger.tables import jobs, outbound, submissions


class Outbound:
    """This part of a transaction."""

    _connection: Connection

    def untraced(self, since: float, most: int) -> tuple[JobRecord, ...]:
        """Completed jobs for which a runner was requested, and whose trace was not sent: the oldest of them.

        Args:
            since: Unix seconds; only jobs that were completed later.
            most: how many.
        """
        s, j = submissions.c, jobs.c
        # A submission changes at the latest when its job is completed, or a little earlier by another clock.
        changed = (submissions.c.since > since - 60) | st.IS_OPEN
        ids = sa.union(sa.select(s.job_id).where(changed), sa.select(s.held_job_id).where(changed))
        sent = sa.exists().where((outbound.c.kind == TRACE) & (outbound.c.key == sa.cast(j.id, sa.Text)))
        over = (j.status == JobStatus.COMPLETED) & (j.completed_at > since)
        wanted = sa.select(j.id).where(over & j.id.in_(ids) & ~sent).order_by(j.completed_at, j.id).limit(most)
        found = list(self._connection.execute(wanted).scalars())
        return history.records(self._connection, jobs.c.id.in_(found)) if found else ()

    def sent(self, kinds: Collection[str]) -> Mapping[tuple[str, str], float]:
        """By kind and key of what was sent, Unix seconds when it was.

        Args:
            kinds: only these.
        """
        o = outbound.c
        rows = self._connection.execute(sa.select(o.kind, o.key, o.at).where(o.kind.in_(list(kinds))))
        return {(row.kind, row.key): row.at for row in rows}

    def note_sent(self, kind: str, keys: Collection[str], at: float) -> frozenset[str]:
        """Write that something is about to be sent.

        Args:
            kind: of all of it.
            keys: of each.
            at: Unix seconds.

        Returns:
            The keys that were not written before: only these must be sent.
        """
        new = set()
        for key in keys:
            insert = st.INSERT[self._connection.dialect.name](outbound).values(kind=kind, key=key, at=at)
            written = insert.on_conflict_do_nothing(index_elements=["kind", "key"]).returning(outbound.c.key)
            new |= set(self._connection.execute(written).scalars())
        return frozenset(new)

    def forget_sent(self, kind: str, keys: Collection[str], before: float) -> None:
        """Forget that something was sent, so that it can be sent again.

        Args:
            kind: of all of it.
            keys: of each.
            before: Unix seconds; what was sent later stays.
        """
        o = outbound.c
        of_these = (o.kind == kind) & o.key.in_(list(keys)) & (o.at <= before)
        self._connection.execute(sa.delete(outbound).where(of_these))
