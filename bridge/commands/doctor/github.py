"""The checks of GitHub: credentials, webhook, repositories, runner groups, and the labels of queued jobs."""

import asyncio
from collections.abc import Awaitable, Callable

from bridge.commands.doctor.asking import Failure, unanswered
from bridge.commands.doctor.check import Check, skipped
from bridge.commands.doctor.context import Context
from bridge.commands.doctor.github_access import Access, app_access, clock_check, token_access
from bridge.commands.doctor.github_hook import hook_checks
from bridge.commands.doctor.github_repositories import (
    dependent,
    group_checks,
    repository_checks,
    visible,
    without_repositories,
)
from bridge.commands.doctor.routes import job_checks
from bridge.github.auth import AppAuth

GROUP_PERMISSIONS = frozenset({"organization_self_hosted_runners", "admin:org"})
JOB_PERMISSIONS = frozenset({"actions", "repo"})


async def checks(context: Context) -> list[Check]:
    """All of GitHub. What depends on a failed check is skipped."""
    auth = context.auth
    access = await (app_access(context, auth) if isinstance(auth, AppAuth) else token_access(context))
    hook, rest = await asyncio.gather(
        hook_checks(context, access.app, access.hindrance), _repository_checks(context, access)
    )
    return [_clock(context), *access.checks, *hook, *rest]


def _clock(context: Context) -> Check:
    if not context.clock.learned:
        return skipped("github.clock", "GitHub did not answer")
    return clock_check(context.clock() - context.wall())


async def _repository_checks(context: Context, access: Access) -> list[Check]:
    if access.hindrance:
        return dependent(access.hindrance)
    found = await visible(context)
    if isinstance(found, Failure):
        return [unanswered("github.repositories", found), *without_repositories("the repositories are not known")]
    seen = repository_checks(context.settings.scope, found, access.select_at)
    if not found:
        return [*seen, *without_repositories("there is no repository")]
    groups, jobs = await asyncio.gather(
        _unless(access.lacking & GROUP_PERMISSIONS, "github.group", lambda: group_checks(context, found)),
        _unless(access.lacking & JOB_PERMISSIONS, "route.jobs", lambda: job_checks(context, found)),
    )
    return [*seen, *groups, *jobs]


async def _unless(lacking: frozenset[str], id_: str, made: Callable[[], Awaitable[list[Check]]]) -> list[Check]:
    """Make checks, unless permissions for them are lacking."""
    return [skipped(id_, f"needs {', '.join(sorted(lacking))}")] if lacking else await made()
