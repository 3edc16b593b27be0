"""Faults that tests inject into the emulators."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class FaultKind(StrEnum):
    """What happens to a call that matches a fault."""

    ERROR = "error"  # answered with `status` and `body`; not executed
    DELAY = "delay"  # executed after `seconds`
    DROP = "drop"  # the connection closes without an answer; not executed
    HANG = "hang"  # the connection closes without an answer after `seconds`; not executed
    ACCEPT_THEN_ERROR = "accept_then_error"  # executed, but answered with `status` and `body`
    ACCEPT_THEN_HANG = "accept_then_hang"  # executed; the connection closes without an answer after `seconds`
    LATE = "late"  # executed, and answered after `seconds`
    DUPLICATE = "duplicate"  # executed twice


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault for the next `times` calls that match.

    Args:
        method: HTTP method.
        path: regular expression, searched in the path.
        kind: what happens.
        times: number of calls that it affects.
        skip: number of matching calls that pass first.
        status: HTTP status for the error kinds.
        body: raw body for the error kinds.
        headers: headers for the error kinds.
        seconds: for DELAY, HANG, ACCEPT_THEN_HANG and LATE.
    """

    method: str
    path: str
    kind: FaultKind
    times: int = 1
    skip: int = 0
    status: int = 500
    body: str = '{"message": "injected"}'
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class _Armed:
    fault: Fault
    skip: int
    times: int


class Faults:
    """The faults that are waiting for a call."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []

    def add(self, fault: Fault) -> None:
        """Add a fault after the existing ones."""
        self._armed.append(_Armed(fault, fault.skip, fault.times))

    def clear(self) -> None:
        """Remove all faults."""
        self._armed.clear()

    @property
    def pending(self) -> int:
        """Number of faults that wait for a call."""
        return len(self._armed)

    def take(self, method: str, path: str) -> Fault | None:
        """The first fault that matches this call, which counts as used once more."""
        for armed in self._armed:
            if armed.fault.method != method or not re.search(armed.fault.path, path):
                continue
            if armed.skip:
                armed.skip -= 1
                continue
            armed.times -= 1
            if not armed.times:
                self._armed.remove(armed)
            return armed.fault
        return None
