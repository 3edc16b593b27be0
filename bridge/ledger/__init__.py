"""Where claims, submissions and jobs are written down: a crash loses nothing, nothing is done twice.

SQLAlchemy Core over SQLite or PostgreSQL. Writes go through one thread and share commits; reads have their own.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from bridge.core.submissions import State, Submission
from bridge.core.timing import Timing
from bridge.errors import ConfigError, Unavailable
from bridge.ledger.database import SCHEMA, connect, is_current, is_there, migrate
from bridge.ledger.rows import LastRead
from bridge.ledger.tables import metadata
from bridge.ledger.transaction import Transaction
from bridge.ledger.writer import OUT_OF_ORDER, Writer

T = TypeVar("T")


class Ledger:
    """The bridge's memory. Made by `open`."""

    def __init__(self, engine: Engine, clock: Callable[[], float], claim_lease: float) -> None:
        self._engine = engine
        self._clock = clock
        self._claim_lease = claim_lease
        self._writer = Writer(engine)
        self._last_read = LastRead()

    @classmethod
    def open(
        cls, url: str, clock: Callable[[], float] = time.time, *, claim_lease: float = Timing().claim_lease
    ) -> Self:
        """Open the ledger, made or migrated as needed.

        Args:
            url: SQLAlchemy's, such as `sqlite:////var/lib/bridge/ledger.sqlite3`.
            clock: Unix seconds.
            claim_lease: s that a dispatcher has from one record of a submission to the next.

        Raises:
            ConfigError: the database cannot be opened, or is of a newer bridge.
        """
        engine = connect(url)
        with _opening(engine) as connection:
            migrate(connection, clock())
        return cls(engine, clock, claim_lease)

    @classmethod
    def open_to_look(
        cls, url: str, clock: Callable[[], float] = time.time, *, claim_lease: float = Timing().claim_lease
    ) -> Self:
        """Open the ledger without making or migrating it; where there is none, an empty one in memory.

        Args:
            url: as of `open`.
            clock: as of `open`.
            claim_lease: as of `open`.

        Raises:
            ConfigError: the database cannot be opened, or is of an older or a newer bridge.
        """
        if not is_there(url):
            return cls.open("sqlite://", clock, claim_lease=claim_lease)
        engine = connect(url, as_it_is=True)
        with _opening(engine, only_reads=True) as connection:
            current = is_current(connection)
        if current:
            return cls(engine, clock, claim_lease)
        engine.dispose()
        return cls.open("sqlite://", clock, claim_lease=claim_lease)

    @property
    def url(self) -> str:
        """Where it is, without a password; its options may hold one, too."""
        return self._engine.url.set(query={}).render_as_string(hide_password=True)

    def close(self) -> None:
        """Finish what is being written, and close every connection."""
        self._writer.close()
        self._engine.dispose()

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one write transaction, durable on return; those of all dispatchers follow each other.

        Raises:
            Unavailable: the database is out of order; nothing was written.
        """
        try:
            return await asyncio.wrap_future(
                self._writer.submit(lambda connection: work(self._transaction(connection)))
            )
        except OUT_OF_ORDER as error:
            raise Unavailable(f"the ledger could not be written: {str(error.orig).splitlines()[0]}") from None

    async def preview(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` as `transact` would, and keep nothing of what it wrote."""
        return await asyncio.to_thread(self._aside, work, only_reads=False)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work`, which only reads, beside any transaction.

        Raises:
            Unavailable: the database is out of order.
        """
        return await asyncio.to_thread(self._aside, work, only_reads=True)

    async def advance(self, submission: Submission, to: State, **values: Any) -> bool:
        """Record an arrow of one submission, unless its state has changed meanwhile.

        Args:
            submission: as last read; only its id and state are used.
            to: the new state.
            values: further columns.

        Returns:
            Whether it was recorded: False tells the caller that another dispatcher has taken over.
        """
        return await self.transact(lambda transaction: transaction.advance(submission, to, **values))

    def _transaction(self, connection: Connection) -> Transaction:
        return Transaction(connection, self._last_read, self._clock, self._claim_lease)

    def _aside(self, work: Callable[[Transaction], T], *, only_reads: bool) -> T:
        try:
            with self._engine.connect().execution_options(only_reads=only_reads) as connection:
                return work(self._transaction(connection))  # the connection's end rolls back what was written
        except OUT_OF_ORDER as error:
            raise Unavailable(f"the ledger could not be read: {str(error.orig).splitlines()[0]}") from None


@contextlib.contextmanager
def _opening(engine: Engine, *, only_reads: bool = False) -> Iterator[Connection]:
    """The first connection; where it cannot be had or used, a ConfigError."""
    try:
        with engine.connect().execution_options(only_reads=only_reads) as connection:
            yield connection
    except ConfigError:
        engine.dispose()
        raise
    except (sa.exc.DBAPIError, UnicodeError) as error:  # UnicodeError: a host that can be no name
        engine.dispose()
        why = str(getattr(error, "orig", error)).partition("\n")[0]
        raise ConfigError(f"BRIDGE_DATABASE_URL: cannot open the ledger: {why}") from None


__all__ = ["SCHEMA", "Ledger", "Transaction", "metadata"]
