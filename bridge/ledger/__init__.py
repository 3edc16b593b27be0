"""The ledger: jobs, submissions and readings in SQLite or PostgreSQL, so that a crash loses nothing.

One thread writes, and writes that wait at the same time share a commit. Reads run in threads of their own.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Self, TypeVar, Unpack

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from bridge.core.submissions import Changes, State, Submission
from bridge.core.timing import Timing
from bridge.errors import ConfigError, Unavailable
from bridge.ledger.database import SCHEMA, connect, exists, is_current, migrate, revision
from bridge.ledger.rows import LastRead
from bridge.ledger.tables import metadata
from bridge.ledger.transaction import Transaction
from bridge.ledger.writer import DATABASE_FAILED, Writer

CLAIM_LEASE = Timing().claim_lease

T = TypeVar("T")


def random_id() -> str:
    """An id for a submission: 32 hex digits."""
    return uuid.uuid4().hex


class Ledger:
    """The ledger. `open` makes one.

    Args:
        engine: of the database.
        clock: Unix seconds.
        claim_lease: s that a dispatcher has from one record of a submission to the next.
        new_id: makes an id that no submission has, 32 hex digits.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], float] = time.time,
        claim_lease: float = CLAIM_LEASE,
        new_id: Callable[[], str] = random_id,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._claim_lease = claim_lease
        self._new_id = new_id
        self._last_read = LastRead()
        self._writer = Writer(engine, self._within)

    @classmethod
    def open(cls, url: str, clock: Callable[[], float] = time.time, *, claim_lease: float = CLAIM_LEASE) -> Self:
        """Open the ledger. It is created or migrated if needed.

        Args:
            url: SQLAlchemy's, such as `sqlite:////var/lib/bridge/ledger.sqlite3`.
            clock: Unix seconds.
            claim_lease: s that a dispatcher has from one record of a submission to the next.

        Raises:
            ConfigError: the database cannot be opened, or belongs to a newer bridge.
        """
        engine = connect(url)
        with _opening(engine) as connection:
            migrate(connection, clock())
        return cls(engine, clock, claim_lease)

    @classmethod
    def open_existing(
        cls, url: str, clock: Callable[[], float] = time.time, *, claim_lease: float = CLAIM_LEASE
    ) -> Self:
        """Open the ledger without creating or migrating it. If there is none, open an empty one in memory.

        Args:
            url: as of `open`.
            clock: as of `open`.
            claim_lease: as of `open`.

        Raises:
            ConfigError: the database cannot be opened, or belongs to an older or a newer bridge.
        """
        if not exists(url):
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
        """Where the database is, without its password and its options, which may hold one, too."""
        return self._engine.url.set(query={}).render_as_string(hide_password=True)

    @property
    def is_stored(self) -> bool:
        """Whether this is a database that lasts; not the empty one in memory that `open_existing` makes."""
        return self._engine.url.database not in (None, "", ":memory:")

    def close(self) -> None:
        """Finish the writes that wait, and close every connection."""
        self._writer.close()
        self._engine.dispose()

    async def transact(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in one write transaction, durable on return. Write transactions of all dispatchers are serial.

        Raises:
            Unavailable: the database failed; nothing was written.
        """
        try:
            return await asyncio.wrap_future(self._writer.submit(work))
        except DATABASE_FAILED as error:
            raise Unavailable(f"the ledger could not be written: {_first_line(error)}") from None

    async def preview(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` as `transact` does, but discard what it writes."""
        return await asyncio.to_thread(self._aside, work, only_reads=False)

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """Run `work`, which only reads. It does not wait for write transactions.

        Raises:
            Unavailable: the database failed.
        """
        return await asyncio.to_thread(self._aside, work, only_reads=True)

    async def advance(self, submission: Submission, to: State, **changes: Unpack[Changes]) -> bool:
        """Record a transition of one submission, unless its state has changed meanwhile.

        Args:
            submission: as last read.
            to: the new state.
            changes: other fields.

        Returns:
            Whether it was recorded. If not, another dispatcher has taken over the submission.
        """
        return await self.transact(lambda transaction: transaction.advance(submission, to, **changes))

    def _within(self, connection: Connection) -> Transaction:
        return Transaction(connection, self._last_read, self._clock, self._new_id, self._claim_lease)

    def _aside(self, work: Callable[[Transaction], T], *, only_reads: bool) -> T:
        try:
            with self._engine.connect().execution_options(only_reads=only_reads) as connection:
                return work(self._within(connection))  # closing the connection rolls back what was written
        except DATABASE_FAILED as error:
            raise Unavailable(f"the ledger could not be read: {_first_line(error)}") from None


def schema_of(url: str) -> str | None:
    """The revision of a database's schema; None if it has none. Nothing is created or changed.

    Args:
        url: SQLAlchemy's.

    Raises:
        ConfigError: the database cannot be opened.
    """
    engine = connect(url, as_it_is=True)
    with _opening(engine, only_reads=True) as connection:
        found = revision(connection)
    engine.dispose()
    return found


@contextlib.contextmanager
def _opening(engine: Engine, *, only_reads: bool = False) -> Iterator[Connection]:
    """The first connection. Raises ConfigError if there is none, or if it cannot be used."""
    try:
        with engine.connect().execution_options(only_reads=only_reads) as connection:
            yield connection
    except ConfigError:
        engine.dispose()
        raise
    except (sa.exc.DBAPIError, UnicodeError) as error:  # UnicodeError: a host that is no valid name
        engine.dispose()
        raise ConfigError(f"BRIDGE_DATABASE_URL: cannot open the ledger: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    """What the database's driver says."""
    return str(getattr(error, "orig", error)).partition("\n")[0]


__all__ = ["SCHEMA", "Ledger", "Transaction", "exists", "metadata", "random_id", "schema_of"]
