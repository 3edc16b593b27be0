"""The rule of the history: each submission's transitions form a chain that ends in its present state."""

from collections import defaultdict

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bridge.ledger.tables import submissions, transitions


def broken_histories(connection: Connection) -> list[str]:
    """One line for each submission whose history does not match its state, and for each history without one."""
    s, t = submissions.c, transitions.c
    states = sa.select(s.id, sa.literal(0).label("number"), sa.null().label("start"), s.state)
    steps = sa.select(t.submission, t.number, t.from_state, t.to_state)
    # One statement: a dispatcher may be writing meanwhile.
    rows = connection.execute(sa.union_all(states, steps)).all()
    state: dict[str, str] = {}
    chains: dict[str, list[tuple[str | None, str]]] = defaultdict(list)
    for submission, number, start, to in sorted(rows, key=lambda row: (row[0], row[1])):
        if number == 0:
            state[submission] = to
        else:
            chains[submission].append((start, to))
    return [
        f"submission {each} is {state.get(each)}, its history is {chains[each]}"
        for each in sorted(state.keys() | chains.keys())
        if not _leads_to(chains[each], state.get(each))
    ]


def _leads_to(chain: list[tuple[str | None, str]], state: str | None) -> bool:
    ends = [None, *(to for _, to in chain)]
    return [start for start, _ in chain] == ends[:-1] and ends[-1] == state
