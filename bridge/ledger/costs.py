"""What costs and budgets need of the ledger: the use of workers, prices with the time of each reading, and raises."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bridge.core.budget import Raise, Spent
from bridge.core.cost import Usage, cost_of
from bridge.core.prices import PriceReading, Prices, PriceSource
from bridge.core.submissions import Submission
from bridge.ledger import statements as st
from bridge.ledger.rows import submission_of
from bridge.ledger.tables import budget_raises, jobs, prices, submissions

_s = submissions.c
_BEGAN = sa.func.coalesce(_s.started_at, _s.taken_at)
"""When the bridge first saw a worker run."""

_HELD = sa.func.coalesce(_s.held_job_id, _s.job_id)

_USAGES = sa.select(
    _s.id,
    _s.route,
    _s.endpoint,
    _s.created_at,
    _BEGAN.label("began"),
    sa.case((~st.IS_OPEN, _s.since)).label("ended"),
    _s.boot,
    _s.delay,
    _s.execution,
    _s.gpu_type,
    _s.taken_at,
    jobs.c.repository,
    jobs.c.workflow_name,
    jobs.c.started_at.label("job_started_at"),
    jobs.c.completed_at.label("job_completed_at"),
    _s.held_job_id,
    _s.phases,
    _s.gpu_usage,
).select_from(sa.outerjoin(submissions, jobs, jobs.c.id == _HELD))
_USAGES_OPEN = _USAGES.where(st.IS_OPEN)
_USAGES_ENDED = _USAGES.where(~st.IS_OPEN & (_s.since > sa.bindparam("since")))
_USAGES_OF = _USAGES.where(_s.id.in_(sa.bindparam("ids", expanding=True)))
_PRICES = sa.select(prices).order_by(prices.c.endpoint, prices.c.at)


class Costs:
    """The part of a transaction that is about money.

    Args:
        connection: in a transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def usages(self, since: float) -> tuple[Usage, ...]:
        """The use of workers: of the open submissions, and of those that ended after `since` (Unix seconds)."""
        rows = [*self._rows(_USAGES_OPEN), *self._rows(_USAGES_ENDED, since=since)]
        return tuple(map(_usage, rows))

    def usages_of(self, ids: Collection[str]) -> tuple[Usage, ...]:
        """The use of the workers of these submissions."""
        return tuple(map(_usage, self._rows(_USAGES_OF, ids=list(ids)))) if ids else ()

    def of_ended(self, ids: Collection[str]) -> dict[str, float]:
        """By id, USD of those submissions that have ended and whose price is known."""
        prices_known = self.prices()
        usages = {row["id"]: _usage(row) for row in self._rows(_USAGES_OF, ids=list(ids))}
        costs = {id_: cost_of(usage, prices_known, usage.ended) for id_, usage in usages.items() if usage.ended}
        return {id_: usd for id_, usd in costs.items() if usd is not None}

    def _rows(self, statement: sa.Select[Any], **parameters: Any) -> Any:
        return self._connection.execute(statement, parameters).mappings().all()

    def untold(self, since: float, most: int) -> tuple[Submission, ...]:
        """Submissions whose workers ran, and that ended before RunPod told how their requests were executed.

        Args:
            since: Unix seconds; only those that ended later.
            most: how many at most, the newest first.
        """
        ran = _BEGAN.is_not(None) & _s.request_id.is_not(None) & _s.execution.is_(None)
        newest = sa.select(*st.SUBMISSION).where(~st.IS_OPEN, _s.since > since, ran).order_by(_s.since.desc())
        return tuple(map(submission_of, self._connection.execute(newest.limit(most))))

    def spent(self, since: float, now: float) -> tuple[Spent, ...]:
        """The time that was paid between two times (Unix seconds), by route, endpoint and GPU type."""
        return tuple(_spent(key, seconds) for key, seconds in self._sums(_SPENT, since, now).items())

    def spent_by_repository(self, since: float, now: float) -> tuple[tuple[str | None, Spent], ...]:
        """The same, by repository as well; None for a job that the ledger no longer has."""
        found = self._sums(_SPENT_BY_REPOSITORY, since, now).items()
        return tuple((key[3], _spent(key, seconds)) for key, seconds in found)

    def _sums(self, statements: Iterable[sa.Select[Any]], since: float, now: float) -> Mapping[Any, float]:
        found: dict[Any, float] = defaultdict(float)
        for statement in statements:
            for *key, seconds in self._connection.execute(statement, {"since": since, "now": now}):
                found[tuple(key)] += seconds
        return found

    def prices(self) -> Prices:
        """All prices that were ever read, by endpoint id, the oldest first."""
        found: dict[str, list[PriceReading]] = defaultdict(list)
        for row in self._connection.execute(_PRICES):
            found[row.endpoint].append(
                PriceReading(
                    at=row.at, read_at=row.read_at, usd_per_hour=row.usd_per_hour, source=PriceSource(row.source)
                )
            )
        return found

    def note_prices(self, read: Mapping[str, Mapping[str, float]], source: PriceSource, at: float) -> None:
        """Write prices that were read at `at` (Unix seconds), by endpoint id. A price that has not changed is kept.

        Args:
            read: for each endpoint, USD per hour of one worker, by GPU type.
            source: where they come from.
            at: Unix seconds.
        """
        known = self.prices()
        for endpoint, usd_per_hour in read.items():
            last = known[endpoint][-1] if known.get(endpoint) else None
            if last and last.source is source and last.usd_per_hour == usd_per_hour:
                same = (prices.c.endpoint == endpoint) & (prices.c.at == last.at)
                self._connection.execute(sa.update(prices).where(same).values(read_at=at))
            else:
                row = {"endpoint": endpoint, "at": max(at, last.at + 0.001) if last else at, "read_at": at}
                self._connection.execute(
                    sa.insert(prices).values(**row, source=source, usd_per_hour=dict(usd_per_hour))
                )

    def raises(self, now: float) -> tuple[Raise, ...]:
        """The raises of budgets that hold at `now` (Unix seconds)."""
        rows = self._connection.execute(sa.select(budget_raises).where(budget_raises.c.until > now))
        return tuple(Raise(route=row.route, usd=row.usd, until=row.until, by=row.by, at=row.at) for row in rows)

    def raise_budget(self, raised: Raise) -> None:
        """Write down that somebody has raised a budget."""
        row = {name: getattr(raised, name) for name in ("route", "usd", "until", "by", "at")}
        insert = st.INSERT[self._connection.dialect.name](budget_raises)
        self._connection.execute(insert.on_conflict_do_update(index_elements=["route", "at"], set_=row), row)


def _usage(row: Any) -> Usage:
    usage = row["gpu_usage"] or {}
    return Usage(
        route=row["route"],
        endpoint=row["endpoint"],
        created_at=row["created_at"],
        began=row["began"],
        ended=row["ended"],
        boot=row["boot"],
        delay=row["delay"],
        execution=row["execution"],
        took_job=row["taken_at"] is not None or row["held_job_id"] is not None,
        job_began=row["taken_at"] if row["job_started_at"] is None else row["job_started_at"],
        job=_job_seconds(row),
        gpu_type=row["gpu_type"] or usage.get("name"),
        repository=row["repository"],
        workflow=row["workflow_name"],
        peak_memory_mb=usage.get("peak_memory_mb"),
    )


def _job_seconds(row: Any) -> float | None:
    """How long the job ran: as the worker says, else as GitHub says. None if neither does, or it still runs."""
    told = (row["phases"] or {}).get("job")
    if told is not None:
        return float(told)
    began, ended = row["job_started_at"], row["job_completed_at"]
    return max(0.0, ended - began) if began is not None and ended is not None else None


def _spent(key: tuple[Any, ...], seconds: float) -> Spent:
    return Spent(route=key[0], endpoint=key[1], gpu_type=key[2], seconds=seconds)


def _sums(
    seconds: sa.ColumnElement[float], most: sa.ColumnElement[float], by: Sequence[sa.ColumnElement[Any]]
) -> sa.Select[Any]:
    """The sums of the use of workers: of each submission the seconds, but at least 0 and at most `most`."""
    within = sa.case((seconds < 0, 0.0), (seconds > most, most), else_=seconds)
    return sa.select(*by, sa.func.sum(within)).group_by(*by)


_SINCE, _NOW = sa.bindparam("since", type_=sa.Float), sa.bindparam("now", type_=sa.Float)
_BOOT = sa.func.coalesce(_s.boot, 0.0)
_TOLD_OR_SEEN = sa.func.coalesce(_s.execution + _BOOT, _s.since - _BEGAN + _BOOT, 0.0)


def _statements(by: Sequence[sa.ColumnElement[Any]]) -> tuple[sa.Select[Any], ...]:
    """The paid time since `since`, as `bridge.core.cost.paid_between` has it, summed by some columns.

    Each statement uses an index; a union of both takes twice as long.
    """
    return (
        _sums(_NOW - _BEGAN + _BOOT, _NOW - _SINCE, by).where(st.IS_OPEN, _BEGAN.is_not(None)),
        _sums(_TOLD_OR_SEEN, _s.since - _SINCE, by).where(~st.IS_OPEN, _s.since > _SINCE),
    )


_KIND = (_s.route, _s.endpoint, _s.gpu_type)
_REPOSITORY = (
    sa.select(jobs.c.repository).where(jobs.c.id == _HELD).correlate(submissions).scalar_subquery().label("repository")
)
_SPENT = _statements(_KIND)
_SPENT_BY_REPOSITORY = _statements((*_KIND, _REPOSITORY))
