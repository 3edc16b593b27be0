"""Faults that the emulators inject on request."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class FaultKind(StrEnum):
    """What happens to a call that a fault meets."""

    ERROR = "error"  # answered with `status` and `body`; nothing is done
    DELAY = "delay"  # done after `seconds`
    DROP = "drop"  # the connection ends without an answer; nothing is done
    HANG = "hang"  # the connection ends without an answer after `seconds`; nothing is done
    ACCEPT_THEN_ERROR = "accept_then_error"  # done, but answered with `status` and `body`
    ACCEPT_THEN_HANG = "accept_then_hang"  # done, and the connection ends without an answer after `seconds`
    LATE = "late"  # done, and answered after `seconds`
    DUPLICATE = "duplicate"  # done twice


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault, for the next `times` calls that match.

    Args:
        method: HTTP method.
        path: regular expression, searched in the path.
        kind: what happens.
        times: calls it meets before it is spent.
        skip: matching calls it lets pass first.
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
    """The faults that wait to be met."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []

    def add(self, fault: Fault) -> None:
        """Arm `fault` behind those already armed."""
        self._armed.append(_Armed(fault, fault.skip, fault.times))

    def clear(self) -> None:
        """Disarm all."""
        self._armed.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """Spend and return the first armed fault that meets this call."""
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
