"""Until when GitHub gives jobs to the runner in each endpoint's image."""

import asyncio
import time
from collections.abc import Mapping

from bridge.commands.doctor.asking import Failure, asked, unanswered
from bridge.commands.doctor.check import Check, failed, ok, skipped, warning
from bridge.commands.doctor.clients import endpoint_names
from bridge.commands.doctor.context import Context
from bridge.concurrency import each
from bridge.core.scope import Scope
from bridge.github.deprecations import Deprecation
from bridge.ledger import Ledger
from bridge.telemetry import plain

SUPPORT = "image.support"

SOON = 14 * 86_400.0
"""s before the end from which on a person is told."""

BUILD = "build the image with the newest runner, and set it on the endpoint (docs/image.md)"


async def checks(context: Context) -> list[Check]:
    """One check for each endpoint whose workers have reported their runner's version."""
    names = endpoint_names(context)
    versions = await asked(_versions(context.settings.database_url))
    if isinstance(versions, Failure):
        return [skipped(SUPPORT, "the ledger cannot be read")]
    used = {endpoint: plain(version) for endpoint, version in versions.items() if endpoint in names}
    if not used:
        return [skipped(SUPPORT, "no worker has reported the version of its runner yet")]
    target = target_of(context.settings.scope)
    found = await each(set(used.values()), lambda version: asked(context.github.runner_deprecation(target, version)))
    return [support(names[endpoint], version, found[version], context.clock()) for endpoint, version in used.items()]


async def _versions(url: str) -> Mapping[str, str]:
    ledger = await asyncio.to_thread(Ledger.open_existing, url)
    try:
        return await ledger.read(lambda transaction: transaction.runner_versions())
    finally:
        ledger.close()


def target_of(scope: Scope) -> str:
    """Where a question about runners may be asked: an API path without its leading slash."""
    return f"orgs/{scope.organisation}" if scope.organisation else f"repos/{scope.repositories[0]}"


def support(endpoint: str, version: str, found: Deprecation | Failure | None, now: float) -> Check:
    """Whether GitHub gives jobs to a version, and for how long.

    Args:
        endpoint: its name.
        version: of the runner.
        found: what GitHub says; None if it says nothing about this version.
        now: Unix seconds.
    """
    if isinstance(found, Failure):
        return unanswered(SUPPORT, found, subject=endpoint)
    if found is None or found.runs_until is None:
        return ok(SUPPORT, f"runner {version}; GitHub has not set its end", subject=endpoint)
    day = time.strftime("%Y-%m-%d", time.gmtime(found.runs_until))
    if now >= found.runs_until:
        return failed(SUPPORT, f"GitHub gives runner {version} no jobs since {day}", BUILD, subject=endpoint)
    line = f"GitHub gives runner {version} jobs until {day}"
    if now >= found.runs_until - SOON:
        return warning(SUPPORT, line, BUILD, subject=endpoint)
    return ok(SUPPORT, line, subject=endpoint)
