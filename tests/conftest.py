"""For all tests: no connection leaves this machine, no test hangs, and the report says how much was tried."""

import os
import signal
import socket
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import settings

from tests.support.effort import tried
from tests.support.postgres import Postgres, new_ledger, postgres

_connect = socket.socket.connect
_connect_ex = socket.socket.connect_ex
_LOOPBACK = ("127.", "::1", "localhost")


# A shell makes background jobs ignore SIGINT, and the programs that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A collector that the developer's shell names must not get the traces of tests.
for _name in [name for name in os.environ if name.startswith("OTEL_")]:
    del os.environ[_name]

# Without it, Hypothesis fails an example that takes 200 ms, as any can on a busy machine. Each test has a timeout.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


class TimedOut(BaseException):
    """A test took longer than its timeout. Hypothesis would catch pytest's own error and repeat the hanging example."""


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_timeout_set_timer() -> Generator[None, Any, Any]:
    """Raise `TimedOut` in place of pytest-timeout's error."""
    handled = yield
    ring = signal.getsignal(signal.SIGALRM)

    def end_test(number: int, frame: Any) -> None:
        try:
            if callable(ring):
                ring(number, frame)
        except pytest.fail.Exception as error:
            raise TimedOut(str(error)) from None

    signal.signal(signal.SIGALRM, end_test)
    return handled


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the counts of an xdist worker to the main process."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["tried"] = dict(tried)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add up the counts of the xdist workers."""
    tried.update(getattr(node, "workeroutput", {}).get("tried", {}))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how much was tried."""
    for what, count in sorted(tried.items()):
        terminalreporter.write_line(f"{what}: {count}")


def _refuse(address: Any) -> None:
    if isinstance(address, tuple) and not str(address[0]).startswith(_LOOPBACK):
        raise AssertionError(f"a test tried to reach {address[0]}:{address[1]}; only loopback is allowed")


@pytest.fixture(autouse=True, scope="session")
def _only_loopback() -> Any:
    def connect(self: socket.socket, address: Any) -> None:
        _refuse(address)
        _connect(self, address)

    def connect_ex(self: socket.socket, address: Any) -> int:
        _refuse(address)
        return _connect_ex(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", connect)
    patch.setattr(socket.socket, "connect_ex", connect_ex)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """Reset the log after each test: a command may have directed it to a stream that is closed by now."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def a_postgres() -> Iterator[Postgres]:
    """A PostgreSQL server that all tests of the session share."""
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new ledger, once on SQLite and once on PostgreSQL."""
    return new_ledger(request, tmp_path)
