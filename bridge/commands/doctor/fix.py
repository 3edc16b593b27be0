"""`bridge doctor --fix`: does what the checks propose, each after a question."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import typer

from bridge.commands.doctor.check import Check, Repair
from bridge.errors import BridgeError, ConfigError
from bridge.telemetry import plain

Ask = Callable[[str], bool]


def asker(*, yes: bool) -> Ask:
    """What answers the questions: the person at the terminal, or `--yes`.

    Raises:
        ConfigError: neither is there.
    """
    if yes:
        return lambda _question: True
    if not sys.stdin.isatty():
        raise ConfigError("--yes: missing; there is no terminal to ask on")
    return _confirmed


def _confirmed(question: str) -> bool:
    with _interruptible():
        return typer.confirm(plain(question), err=True)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end a question: asyncio's own handler would only cancel a task, which does not run meanwhile."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


async def repair_all(checks: Sequence[Check], ask: Ask, tell: Callable[[str], None]) -> list[Check]:
    """Do the repairs that are wanted, one after the other.

    Args:
        checks: with repairs.
        ask: answers a question.
        tell: called with what was done, or what could not be done.

    Returns:
        The checks whose repair was tried.
    """
    tried = []
    for check, repair in repairs(checks):
        if ask(repair.question):
            tell(await _result(repair))
            tried.append(check)
    return tried


def repairs(checks: Sequence[Check]) -> list[tuple[Check, Repair]]:
    """The checks that have a repair."""
    return [(check, check.repair) for check in checks if check.repair]


async def _result(repair: Repair) -> str:
    try:
        return await repair.work()
    except BridgeError as error:
        return f"not done: {error}"


def again(tried: Sequence[Check], checks: Sequence[Check]) -> list[Check]:
    """Of the new checks, those that were repaired."""
    keys = {(check.id, check.subject) for check in tried}
    return [check for check in checks if (check.id, check.subject) in keys]


def replaced(checks: Sequence[Check], tried: Sequence[Check], now: Sequence[Check]) -> tuple[Check, ...]:
    """All checks, with the new ones instead of those that were repaired."""
    keys = {(check.id, check.subject) for check in tried}
    return (*(check for check in checks if (check.id, check.subject) not in keys), *now)
