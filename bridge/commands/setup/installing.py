"""The step of `bridge setup` that waits for the App's installation and checks its permissions."""

from collections.abc import Sequence

from bridge.commands.setup.context import Context, NotDone
from bridge.commands.setup.progress import FILE
from bridge.core.model import Repository
from bridge.errors import AuthError, RateLimited, Unavailable
from bridge.github.api import GitHub
from bridge.github.auth import AppAuth
from bridge.github.installation import Installation, app_page, installation, missing
from bridge.github.manifest import permissions

LOOK_EVERY = 2.0
"""s between two checks for the installation."""

SHOWN = 20
"""Repositories listed; there may be thousands."""


async def install(context: Context) -> tuple[Repository, ...]:
    """Wait for the installation; check its permissions; list its repositories.

    Returns:
        The repositories that the App can see.

    Raises:
        BridgeError: something is missing; the message says what to do.
    """
    auth = context.auth(context.app)
    await _known(context, auth)
    found = await _wait(context, auth)
    _check(context, found)
    github = GitHub(context.http, auth, api_url=context.progress.api_url, timing=context.timing)
    repositories = await github.repositories(context.progress.owner)
    _show(context, repositories)
    if not repositories:
        raise NotDone(f"the App can see no repository; select some at {found.html_url}")
    return repositories


async def _known(context: Context, auth: AppAuth) -> None:
    """Wait until GitHub accepts the App's key. For some seconds it may reject that of a new App."""
    for wait in context.timing.token_waits:
        try:
            await app_page(auth)
        except AuthError:
            await context.timing.sleep(wait)
        else:
            return
    try:
        await app_page(auth)
    except AuthError as error:
        again = f"if the App was deleted, delete {context.folder.path / FILE} to register a new one"
        raise AuthError(f"{error}; {again}") from None


async def _wait(context: Context, auth: AppAuth) -> Installation:
    progress = context.progress
    if found := await installation(auth, progress.owner, organisation=progress.organisation):
        return found
    url = f"{context.app.html_url}/installations/new"
    context.terminal.say(f"Install the App on {progress.owner}:\n  {url}")
    context.terminal.open(url)
    what, deadline, problem = "Waiting for the installation", context.timing.clock() + context.given.wait, ""
    with context.terminal.waiting(what) as show:
        while (left := deadline - context.timing.clock()) > 0:
            show(f"{what} ({left:.0f} s left){problem}")
            await context.timing.sleep(LOOK_EVERY)
            try:
                if found := await installation(auth, progress.owner, organisation=progress.organisation):
                    return found
                problem = ""
            except (Unavailable, RateLimited) as error:
                problem = f"; {error}"
    raise NotDone(f"the App is not installed after {context.given.wait:g} s{problem}; install it at {url}")


def _check(context: Context, found: Installation) -> None:
    if found.suspended:
        raise NotDone(f"the installation is suspended; unsuspend it at {found.html_url}")
    progress = context.progress
    needed = permissions(organisation=progress.organisation, reruns=progress.rerun_lost_jobs > 0)
    lacking = missing(found.permissions, needed)
    for name, level in needed.items():
        context.terminal.say(f"  permission {name}: {level}: {'missing' if name in lacking else 'ok'}")
    if lacking:
        listed = ", ".join(f"{name}: {level}" for name, level in lacking.items())
        raise NotDone(
            f"the App was not granted {listed}; add it in the settings of the App {context.app.slug}, "
            f"then accept it at {found.html_url}"
        )


def _show(context: Context, repositories: Sequence[Repository]) -> None:
    say = context.terminal.say
    say(f"The App can see {len(repositories)} {'repository' if len(repositories) == 1 else 'repositories'}:")
    for repository in repositories[:SHOWN]:
        say(f"  {repository.full_name}{'  (public)' if repository.public else ''}")
    if len(repositories) > SHOWN:
        say(f"  and {len(repositories) - SHOWN} more")
    if any(repository.public for repository in repositories):
        say("Jobs of public repositories are refused, unless you set allow_public_repositories.")
