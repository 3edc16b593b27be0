"""The Listener's session with the broker: opened, kept during outages, closed. A thread waits for messages."""

import json
import os
import queue
import random
import threading
import time
from typing import Any
from urllib.parse import urlencode

from . import console, web
from .identity import RegistrationDeleted, new_token
from .settings import Credentials, Settings
from .shutdown import Signals
from .web import Answer, Unreachable

CONFLICT_INTERVAL = 30.0
CONFLICT_LIMIT = 240.0
QUIET_INTERVALS = (5.0, 15.0)
RECONNECT_INTERVALS = (15.0, 30.0)
QUIET_TRIES = 5
POLL = 100.0
"""s that one call may wait for a message; the intervals are s between two attempts, of which the first are quiet."""

ZERO = "00000000-0000-0000-0000-000000000000"


class SessionConflict(Exception):
    """Another process holds this registration's session."""


class SessionRefused(Exception):
    """The server refuses the session; the reason was printed."""


class Deprecated(Exception):
    """The server no longer accepts runners of this version; its text."""


def pause(seconds: float) -> None:
    """Sleep. Tests shorten all pauses with `RUNNER_STANDIN_WAIT_FACTOR`."""
    time.sleep(seconds * float(os.environ.get("RUNNER_STANDIN_WAIT_FACTOR", "1")))


class Session:
    """One session.

    Args:
        runner: the registration.
        credentials: of the registration.
        version: of the runner.
        signals: received between attempts and while it waits for a job, so that an open session is closed.
    """

    def __init__(
        self, runner: Settings, credentials: Credentials, version: str, log: console.Diagnostics, signals: Signals
    ) -> None:
        self._runner = runner
        self._credentials = credentials
        self._version = version
        self._log = log
        self._signals = signals
        self._token = ""
        self._id: str | None = None
        self._connected = True
        self._closing = False
        self._jobs: queue.SimpleQueue[dict[str, Any] | Exception | None] = queue.SimpleQueue()
        self._poller: threading.Thread | None = None
        self.busy = False
        self.cancelled: set[str] = set()

    @property
    def authorization(self) -> str:
        """The header with the runner's token."""
        return f"Bearer {self._token}"

    def sign_in(self) -> None:
        """Get a new token.

        Raises:
            RegistrationDeleted: the server does not know the runner any more.
            Unreachable: there was no valid answer.
        """
        self._token = new_token(self._credentials)

    def create(self) -> None:
        """Open the session; retry until there is one.

        Raises:
            SessionConflict: another session existed for 240 s.
            SessionRefused: the registration is gone.
        """
        waited = 0.0
        while True:
            try:
                answer = self._try_to_open()
            except RegistrationDeleted:
                raise _refused(
                    "Failed to create a session. The runner registration has been deleted from the server, "
                    "please re-configure."
                ) from None
            except Unreachable as error:
                self._lost(str(error))
            else:
                if answer.ok:
                    self._id = str(answer.body["sessionId"])
                    self._log.info("Session created.")
                    self._found()
                    return
                waited = self._wait_for_other(answer, waited)
            with self._signals.heard():
                pause(CONFLICT_INTERVAL)

    def next_job(self) -> dict[str, Any] | None:
        """Wait for a job; returns its announcement, or None if the registration was deleted.

        Raises:
            Deprecated: the server refuses this version.
            SessionRefused: the session ended, and there is no other.
        """
        if self._poller is None:
            self._poller = threading.Thread(target=self._poll, daemon=True)
            self._poller.start()
        with self._signals.heard():
            found = self._jobs.get()
        if isinstance(found, Exception):
            raise found
        return found

    def acknowledge(self, request: dict[str, Any]) -> bool:
        """Say that the announcement arrived, if the server asks for it; False if the job is not ours any more."""
        if not request.get("should_acknowledge"):
            return True
        body = {"runnerRequestId": request["runner_request_id"]}
        try:
            answer = web.post(self._url("acknowledge"), body, self.authorization, timeout=5.0)
        except Unreachable as error:
            self._log.info(f"Ignore any exception during acknowledge. {error}")
            return True
        return answer.error_kind != "AcknowledgeJobNotFound"

    def delete(self) -> None:
        """Close the session. Errors are ignored."""
        self._closing = True
        try:
            web.call("DELETE", self._url("session"), None, {"Authorization": self.authorization}, web.TIMEOUT)
        except Unreachable as error:
            self._log.info(f"Ignore any exception during DeleteSession. {error}")

    def _try_to_open(self) -> Answer:
        runner = self._runner
        if runner.server_url and runner.server_url != runner.server_url_v2:
            query = "connectOptions=1&lastChangeId=-1&lastChangeId64=-1"
            web.get(f"{runner.server_url}_apis/connectionData?{query}")
        console.say()
        console.success("Connected to GitHub")
        console.say()
        self.sign_in()
        agent = {
            "id": runner.runner_id,
            "name": runner.name,
            "version": self._version,
            "osDescription": "Linux",
        }
        owner = f"{os.uname().nodename} (PID: {os.getpid()})"
        body = {"sessionId": ZERO, "ownerName": owner, "agent": agent, "useFipsEncryption": False}
        return web.post(f"{runner.server_url_v2}session", body, self.authorization)

    def _wait_for_other(self, answer: Answer, waited: float) -> float:
        """What the server's refusal means; returns the s that were waited for another session to end."""
        if answer.status != 409:
            detail = "Error: Forbidden" if answer.status == 403 else answer.message
            raise _refused(f"Failed to create session. {detail}")
        if not waited:
            console.complain("A session for this runner already exists.")
        if waited >= CONFLICT_LIMIT:
            console.complain("Failed to create session. A session for this runner already exists.")
            raise SessionConflict
        self._lost("Error: Conflict")
        return waited + CONFLICT_INTERVAL

    def _poll(self) -> None:
        """Wait for messages until the session is closed."""
        tries = 0
        while not self._closing:
            try:
                self._receive()
                self._found()
                tries = 0
            except Unreachable as error:
                tries += 1
                if tries > QUIET_TRIES:
                    self._lost(str(error))
                quiet = tries <= QUIET_TRIES
                pause(random.uniform(*(QUIET_INTERVALS if quiet else RECONNECT_INTERVALS)))  # noqa: S311  # spreads load
            except _Over as over:
                self._jobs.put(over.why)
                return
            except Exception as error:  # the Listener exits with it
                self._jobs.put(error)
                return

    def _receive(self) -> None:
        query = {
            "sessionId": self._id,
            "status": "Busy" if self.busy else "Online",
            "runnerVersion": self._version,
            "os": "Linux",
            "architecture": "X64",
            "disableUpdate": "true",
        }
        answer = web.get(f"{self._url('message')}?{urlencode(query)}", self.authorization, POLL)
        if self._closing:
            return
        if answer.ok:
            self._handle(answer.body)
        elif answer.error_kind == "RunnerNotFound":
            raise _Over(None)
        elif answer.error_kind == "RunnerSessionInvalid":
            self._reopen()
        elif answer.status == 401:
            self._reopen_token()
        else:
            raise _refusal(answer, self._version)

    def _handle(self, message: dict[str, Any]) -> None:
        body = json.loads(message.get("body") or "{}")
        if message.get("messageType") == "RunnerJobRequest":
            self._jobs.put(body)
        elif message.get("messageType") == "JobCancellation":
            self.cancelled.add(str(body["jobId"]))

    def _reopen(self) -> None:
        try:
            answer = self._try_to_open()
        except RegistrationDeleted:
            raise _Over(None) from None
        if not answer.ok:
            raise Unreachable(f"Response status code does not indicate success: {answer.status}.")
        self._id = str(answer.body["sessionId"])

    def _reopen_token(self) -> None:
        try:
            self.sign_in()
        except RegistrationDeleted:
            raise _Over(None) from None

    def _url(self, path: str) -> str:
        return f"{self._runner.server_url_v2}{path}"

    def _lost(self, why: str) -> None:
        self._log.info(f"Runner connect error: {why}")
        if self._connected:
            console.complain(f"{console.timestamp()}: Runner connect error: {why}. Retrying until reconnected.")
        self._connected = False

    def _found(self) -> None:
        if not self._connected:
            console.event("Runner reconnected.")
        self._connected = True


class _Over(Exception):
    """No more messages will come.

    Args:
        why: None if the registration was deleted.
    """

    def __init__(self, why: Exception | None) -> None:
        self.why = why


def _refused(text: str) -> SessionRefused:
    console.complain(text)
    return SessionRefused(text)


def _refusal(answer: Answer, version: str) -> Exception:
    """What an answer to a poll means that is no success."""
    if answer.error_kind == "RunnerVersionTooOld":
        return _Over(Deprecated(answer.message))
    if answer.status == 403:
        text = f"Error: Forbidden Runner version v{version} is deprecated and cannot receive messages."
        return _Over(Deprecated(text))
    return Unreachable(f"Response status code does not indicate success: {answer.status}.")
