"""The Listener's session with the server: opened, kept during outages, closed."""

import os
import random
import time

from . import console
from .server import Answer, Server, Unreachable
from .shutdown import Signals

CONFLICT_INTERVAL = 30.0
CONFLICT_LIMIT = 240.0
RECONNECT_INTERVALS = (15.0, 30.0)
POLL = 20.0
"""s that one call waits for a job; the others are s between two attempts."""


class SessionConflict(Exception):
    """Another process holds this registration's session."""


class SessionRefused(Exception):
    """The server refuses the session; the reason was printed."""


class Deprecated(Exception):
    """The server no longer accepts runners of this version."""


def pause(seconds: float) -> None:
    """Sleep. Tests shorten all pauses with `RUNNER_STANDIN_WAIT_FACTOR`."""
    time.sleep(seconds * float(os.environ.get("RUNNER_STANDIN_WAIT_FACTOR", "1")))


class Session:
    """One session.

    Args:
        server: with the runner's credential.
        version: of the runner.
        signals: received between attempts and while it waits for a job, so that an open session is closed.
    """

    def __init__(self, server: Server, version: str, log: console.Diagnostics, signals: Signals) -> None:
        self.server = server
        self._signals = signals
        self._version = version
        self._log = log
        self._id: str | None = None
        self._connected = True

    def create(self) -> None:
        """Open the session; retry until there is one.

        Raises:
            SessionConflict: another session existed for 240 s.
            SessionRefused: the registration is gone.
            Deprecated: the server refuses this version.
        """
        waited = 0.0
        while self._id is None:
            try:
                answer = self.server.post("/sessions", {"version": self._version})
            except Unreachable as error:
                self._lost(str(error))
            else:
                console.say()
                console.success("Connected to GitHub")
                console.say()
                if answer.status != 409:
                    self._open(answer)
                    return
                if not waited:
                    console.complain("A session for this runner already exists.")
                if waited >= CONFLICT_LIMIT:
                    console.complain("Failed to create session. A session for this runner already exists.")
                    raise SessionConflict
                self._lost("Error: Conflict")
                waited += CONFLICT_INTERVAL
            with self._signals.heard():
                pause(CONFLICT_INTERVAL)

    def next_job(self) -> int | None:
        """Wait for a job; returns its id, or None if the registration was deleted.

        Raises:
            Deprecated: the server refuses this version.
        """
        with self._signals.heard():
            return self._next_job()

    def _next_job(self) -> int | None:
        while True:
            try:
                answer = self.server.get(f"/messages?session={self._id}&wait={POLL:g}", POLL + 10)
            except Unreachable as error:
                self._lost(str(error))
                pause(random.uniform(*RECONNECT_INTERVALS))  # noqa: S311  # spreads load, hides nothing
                continue
            _refuse_deprecated(answer)
            if answer.status in (401, 404):
                return None
            self._found()
            if answer.status == 200:
                return int(str(answer.body["job_id"]))

    def delete(self) -> None:
        """Close the session. Errors are ignored."""
        try:
            self.server.delete("/sessions")
        except Unreachable as error:
            self._log.info(f"Ignore any exception during DeleteSession. {error}")

    def _open(self, answer: Answer) -> None:
        _refuse_deprecated(answer)
        if answer.status in (401, 404):
            console.complain(
                "Failed to create a session. The runner registration has been deleted from the server, "
                "please re-configure."
            )
            raise SessionRefused
        if answer.status >= 400:
            console.complain(f"Failed to create session. {answer.message}")
            raise SessionRefused
        self._id = str(answer.body["session_id"])
        self._log.info("Session created.")
        self._found()

    def _lost(self, why: str) -> None:
        self._log.info(f"Runner connect error: {why}")
        if self._connected:
            console.complain(f"{console.timestamp()}: Runner connect error: {why}. Retrying until reconnected.")
        self._connected = False

    def _found(self) -> None:
        if not self._connected:
            console.event("Runner reconnected.")
        self._connected = True


def _refuse_deprecated(answer: Answer) -> None:
    if answer.deprecated:
        raise Deprecated
