"""One thread that writes. Work that arrives during a commit shares the next one."""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError

T = TypeVar("T")
W = TypeVar("W")

LARGEST_BATCH = 256
"""Pieces of work in one transaction, at most."""

DATABASE_FAILED = (OperationalError, InternalError, InterfaceError)
"""Errors of the database itself, whatever it was asked. PostgreSQL raises InternalError if nobody can write."""


class _Waiting(NamedTuple):
    work: Callable[[Any], Any]
    done: "Future[Any]"


class Writer(Generic[W]):
    """Runs pieces of work in write transactions. Each piece is written completely or not at all.

    Args:
        engine: made by `bridge.ledger.database.connect`.
        within: makes what the pieces of work of one transaction write with.
    """

    def __init__(self, engine: Engine, within: Callable[[Connection], AbstractContextManager[W]]) -> None:
        self._engine = engine
        self._within = within
        self._waiting: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[W], T]) -> "Future[T]":
        """Run `work` in a transaction. The future is done when the work is durable."""
        done: Future[T] = Future()
        self._waiting.put(_Waiting(work, done))
        return done

    def close(self) -> None:
        """Finish the work that waits, and end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            while len(batch) < LARGEST_BATCH and not self._waiting.empty():
                further = self._waiting.get()
                if further is None:
                    self._waiting.put(None)
                    break
                batch.append(further)
            self._commit([each for each in batch if each.done.set_running_or_notify_cancel()])

    def _commit(self, batch: Sequence[_Waiting]) -> None:
        try:
            with self._engine.begin() as connection, self._within(connection) as transaction:
                results = [each.work(transaction) for each in batch]
        except Exception as error:
            # An error of one piece must not fail the others; an error of the database fails all.
            if len(batch) > 1 and not isinstance(error, DATABASE_FAILED):
                for each in batch:
                    self._commit([each])
                return
            for each in batch:
                each.done.set_exception(error)
        else:
            for each, result in zip(batch, results, strict=True):
                each.done.set_result(result)
