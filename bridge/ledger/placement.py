"""What the choice of endpoints needs of the ledger: how requests at each endpoint fared."""

from collections import defaultdict

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bridge.core.submissions import Starvation, State, Streak
from bridge.core.worker import Reason
from bridge.ledger import statements as st
from bridge.ledger.tables import submissions

_OF = submissions.c
_RECENT = _OF.since > sa.bindparam("after")
_LEFT = sa.select(_OF.endpoint, _OF.since).where(
    _RECENT, _OF.state.in_([State.WITHDRAWN, State.CANCELLED]), _OF.reason == Reason.STARVED
)
_STARTED = (
    sa.select(_OF.endpoint, sa.func.max(sa.func.coalesce(_OF.started_at, _OF.taken_at)))
    .where(_RECENT)
    .group_by(_OF.endpoint)
)
"""The newest start of a worker. A row's `since` is never before it, so the index on `since` finds it."""


def streaks(connection: Connection) -> dict[str, Streak]:
    """By endpoint id, the workers that failed since one last worked."""
    return {
        endpoint: Streak(failures=failures, first=first, last=last, reason=reason)
        for endpoint, failures, first, last, reason in connection.execute(st.STREAKS)
    }


def unanswered(connection: Connection) -> dict[str, tuple[float, ...]]:
    """By endpoint id, Unix seconds of the requests that RunPod did not answer since it last answered one."""
    found: dict[str, tuple[float, ...]] = {}
    for endpoint, at in connection.execute(st.UNANSWERED):
        found[endpoint] = (*found.get(endpoint, ()), at)
    return found


def starvations(connection: Connection, after: float) -> dict[str, Starvation]:
    """By endpoint id, the requests that left it after this time (Unix seconds) because it had no capacity."""
    times: dict[str, list[float]] = defaultdict(list)
    for endpoint, at in connection.execute(_LEFT, {"after": after}):
        times[endpoint].append(at)
    if not times:
        return {}
    started = {endpoint: at or 0.0 for endpoint, at in connection.execute(_STARTED, {"after": after})}
    return {
        endpoint: Starvation(first=min((at for at in left if at > started[endpoint]), default=None), last=max(left))
        for endpoint, left in times.items()
    }
