"""The bridge's real ledger transactions over SQLite in memory, without threads."""

import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa

from bridge.core.submissions import State, Submission
from bridge.ledger import Transaction, metadata
from bridge.ledger.database import connect
from bridge.ledger.rows import LastRead
from bridge.ledger.tables import meta

T = TypeVar("T")


class _Transaction(Transaction):
    """A real one, without two statements of each resync that take a third of its time and decide nothing here."""

    alone: bool

    def prune(self, before: float, now: float) -> None:
        """Once in ten minutes, not at each resync."""
        if now % 600.0 < 60.0:
            super().prune(before, now)

    def take_leader_lease(self, name: str, holder: str, now: float, until: float) -> bool:
        """A dispatcher that shares its ledger with nobody always has the lease."""
        return self.alone or super().take_leader_lease(name, holder, now, until)


class Store:
    """A ledger that dispatchers may share, lose and restore.

    Args:
        born: Unix seconds.
        new_id: makes ids that replay.

    Attributes:
        users: how many dispatchers have it.
    """

    def __init__(self, born: float, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._saved: sqlite3.Connection | None = None
        self.users = 0
        self._open(born)

    def lose(self, born: float) -> None:
        """Begin with an empty ledger, made at `born` (Unix seconds)."""
        self._connection.close()
        self._connection.engine.dispose()
        self._open(born)

    def _open(self, born: float) -> None:
        self._connection = connect("sqlite://").connect()
        self._last_read = LastRead()
        with self._connection.begin():
            metadata.create_all(self._connection)
            self._connection.execute(sa.insert(meta).values(born=born))

    def save(self) -> None:
        """Make a copy."""
        self._saved = sqlite3.connect(":memory:")
        self._raw().backup(self._saved)

    def restore(self) -> None:
        """Go back to the copy."""
        if self._saved is None:
            raise ValueError("no copy was made")
        self._saved.backup(self._raw())
        self._last_read = LastRead()

    def _raw(self) -> sqlite3.Connection:
        raw = self._connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        return raw

    def run(self, work: Callable[[Transaction], T], clock: Callable[[], float], *, keep: bool = True) -> T:
        """Run `work` in one write transaction, by a dispatcher's `clock` (Unix seconds)."""
        with self._connection.begin() as database:
            transaction = _Transaction(self._connection, self._last_read, clock, self._new_id)
            transaction.alone = self.users <= 1
            result = work(transaction)
            if not keep:
                database.rollback()
        return result

    def close(self) -> None:
        self._connection.close()
        self._connection.engine.dispose()
        if self._saved:
            self._saved.close()


class LedgerPort:
    """The ledger as a dispatcher knows it.

    Args:
        store: where it is.
        clock: the dispatcher's, Unix seconds.
    """

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self.store, self._clock = store, clock
        store.users += 1

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        return self.store.run(work, self._clock)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        return self.store.run(work, self._clock)

    async def preview(self, work: Callable[[Transaction], T]) -> T:
        return self.store.run(work, self._clock, keep=False)

    async def advance(self, submission: Submission, to: State, **values: Any) -> bool:
        return self.store.run(lambda transaction: transaction.advance(submission, to, **values), self._clock)
