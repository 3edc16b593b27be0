"""What the choice of endpoints needs of the ledger: how requests at each endpoint fared."""

from collections import defaultdict

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bridge.core.placement import starvation
from bridge.core.submissions import Starvation, State, Streak
from bridge.core.worker import Reason
from bridge.ledger import statements as st
from bridge.ledger.tables import submissions

_OF = submissions.c
_RECENT = _OF.since > sa.bindparam("after")
_LEFT = sa.select(_OF.endpoint, _OF.since).where(
    _RECENT, _OF.state.in_([State.WITHDRAWN, State.CANCELLED]), _OF.reason == Reason.STARVED
)
_STARTED = sa.select(_OF.endpoint, sa.func.coalesce(_OF.started_at, _OF.taken_at).label("at")).where(
    _RECENT, _OF.started_at.is_not(None) | _OF.taken_at.is_not(None)
)
"""The starts of workers. A row's `since` is never before its start, so the index on `since` finds it."""


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
    left, started = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for endpoint, at in connection.execute(_LEFT, {"after": after}):
        left[endpoint].append(at)
    for endpoint, at in connection.execute(_STARTED, {"after": after}) if left else ():
        started[endpoint].append(at)
    return {endpoint: starvation(times, started[endpoint]) for endpoint, times in left.items()}
