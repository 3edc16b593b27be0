"""The bridge's real ledger transactions on SQLite in memory, without threads."""

import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa

from bridge.core.submissions import State, Submission
from bridge.ledger import Transaction, metadata
from bridge.ledger.database import connect
from bridge.ledger.rows import LastRead
from bridge.ledger.tables import meta
from tests.support.histories import broken_histories

T = TypeVar("T")


class _Transaction(Transaction):
    """A real transaction without two statements that take a third of a resync's time and change nothing here."""

    alone: bool

    def prune(self, before: float, now: float) -> None:
        """Prune once in ten minutes and not at each resync."""
        if now % 600.0 < 60.0:
            super().prune(before, now)

    def take_leader_lease(self, name: str, holder: str, now: float, until: float) -> bool:
        """A dispatcher with a ledger of its own always gets the leader lease."""
        return self.alone or super().take_leader_lease(name, holder, now, until)


class Store:
    """A ledger that can be shared, lost and restored.

    Args:
        born: Unix seconds.
        new_id: makes ids that replay.

    Attributes:
        users: how many dispatchers use it.
    """

    def __init__(self, born: float, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._saved: sqlite3.Connection | None = None
        self.users = 0
        self._open(born)

    def lose(self, born: float) -> None:
        """Replace it with an empty ledger, made at `born` (Unix seconds)."""
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
        """Keep a copy."""
        self._saved = sqlite3.connect(":memory:")
        self._raw().backup(self._saved)

    def restore(self) -> None:
        """Restore the copy."""
        if self._saved is None:
            raise ValueError("no copy was made")
        self._saved.backup(self._raw())
        self._last_read = LastRead()

    def _raw(self) -> sqlite3.Connection:
        raw = self._connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        return raw

    def run(self, work: Callable[[Transaction], T], clock: Callable[[], float], *, keep: bool = True) -> T:
        """Run `work` in one write transaction with a dispatcher's `clock` (Unix seconds)."""
        transaction = _Transaction(self._connection, self._last_read, clock, self._new_id)
        transaction.alone = self.users <= 1
        with self._connection.begin() as database:
            with transaction:
                result = work(transaction)
            if not keep:
                database.rollback()
        return result

    def broken_histories(self) -> list[str]:
        """Submissions whose history does not match their state."""
        with self._connection.begin():
            return broken_histories(self._connection)

    def close(self) -> None:
        self._connection.close()
        self._connection.engine.dispose()
        if self._saved:
            self._saved.close()


class LedgerPort:
    """The ledger of one dispatcher.

    Args:
        store: the ledger.
        clock: the dispatcher's clock, Unix seconds.
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
