"""Runs all checks. Those of one subject do not hinder those of another."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType

from bridge.commands.doctor import configuration, github, ledger, routes, runner, runpod, self_test, service
from bridge.commands.doctor.check import Check, failed
from bridge.commands.doctor.context import Context
from bridge.errors import BridgeError

Subject = Callable[[Context], Awaitable[Sequence[Check]]]
"""The checks of one subject. A BridgeError that it raises is a failed check with the subject's name as id."""

SUBJECTS: Mapping[str, Subject] = MappingProxyType(
    {
        "configuration": configuration.checks,
        "github": github.checks,
        "route": routes.checks,
        "runpod": runpod.checks,
        "runner": runner.checks,
        "self_test": self_test.not_tested,
        "ledger": ledger.checks,
        "service": service.checks,
    }
)
"""In the order in which their checks are shown."""


async def examine(context: Context, subjects: Mapping[str, Subject] = SUBJECTS) -> tuple[Check, ...]:
    """All checks.

    Args:
        context: of the run.
        subjects: by name.
    """
    # Not asyncio.gather: after Ctrl-C it would not wait until each subject has cleaned up.
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_checked(name, subject, context)) for name, subject in subjects.items()]
    return tuple(check for task in tasks for check in task.result())


async def _checked(name: str, subject: Subject, context: Context) -> Sequence[Check]:
    try:
        return await subject(context)
    except BridgeError as error:
        return [failed(name, str(error), "correct it, and run `bridge doctor` again")]
