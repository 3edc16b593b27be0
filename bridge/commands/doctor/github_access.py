"""Whether GitHub accepts the credentials, and what they may do."""

from collections.abc import Mapping
from dataclasses import dataclass

from bridge.commands.doctor.asking import Failure, asked, unanswered
from bridge.commands.doctor.check import Check, failed, ok, skipped, warning
from bridge.commands.doctor.context import Context
from bridge.config.credentials import App
from bridge.github.auth import AppAuth
from bridge.github.installation import AppPage, Installation, app_page, installation, missing
from bridge.github.manifest import permissions
from bridge.github.personal import PersonalToken

DAY = 86_400.0

EXPIRES_SOON = 14 * DAY
"""s before the end of a token that a person is told."""

CLOCK_TOLERANCE = 30.0
"""s that this machine's clock may differ from GitHub's: GitHub's `Date` has whole seconds, and answers take time."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """What the credentials may do.

    Args:
        checks: of the credentials.
        hindrance: why nothing else can be asked; None if it can.
        lacking: permissions and scopes that are missing to serve jobs.
        app: the App; None for a personal access token.
        select_at: where a person selects the repositories.
    """

    checks: tuple[Check, ...]
    hindrance: str | None = None
    lacking: frozenset[str] = frozenset()
    app: AppPage | None = None
    select_at: str = ""


async def app_access(context: Context, auth: AppAuth) -> Access:
    """Ask for the App and its installation."""
    page = await asked(app_page(auth))
    if isinstance(page, Failure):
        why = "GitHub did not confirm the App"
        rest = (skipped("github.installation", why), skipped("github.permission", why))
        return Access(checks=(unanswered("github.app", page), *rest), hindrance=why)
    known = ok("github.app", f"GitHub accepts the key of the App {page.slug}, which belongs to {page.owner}")
    found = await asked(_installed(context, auth))
    if isinstance(found, Failure):
        state = unanswered("github.installation", found)
    else:
        state = installation_check(context.settings.scope.owner, page, found, _installation_id(context))
    if isinstance(found, Failure) or found is None or state.fix:
        why = "the App has no usable installation"
        return Access(checks=(known, state, skipped("github.permission", why)), hindrance=why, app=page)
    organisation = context.settings.scope.organisation is not None
    reruns = any(route.rerun_lost_jobs for route in context.settings.scope.routes)
    needed = permissions(organisation=organisation, reruns=reruns)
    to_serve = permissions(organisation=organisation, reruns=False)
    return Access(
        checks=(known, state, *permission_checks(needed, page, found)),
        lacking=frozenset(missing(found.permissions, to_serve)),
        app=page,
        select_at=found.html_url,
    )


async def _installed(context: Context, auth: AppAuth) -> Installation | None:
    owner = context.settings.scope.owner
    return await installation(auth, owner, organisation=True) or await installation(auth, owner, organisation=False)


def _installation_id(context: Context) -> int | None:
    return context.settings.github.installation_id if isinstance(context.settings.github, App) else None


def installation_check(owner: str, app: AppPage, found: Installation | None, configured: int | None) -> Check:
    """Whether the App can act for the owner.

    Args:
        owner: whose jobs are served.
        app: the App.
        found: its installation on the owner.
        configured: GITHUB_APP_INSTALLATION_ID.
    """
    id_ = "github.installation"
    if found is None:
        return failed(
            id_,
            f"the App {app.slug} is not installed on {owner}",
            f"install it at {app.html_url}/installations/new, or correct GITHUB_ORG or GITHUB_REPOSITORIES",
        )
    if found.suspended:
        return failed(id_, f"the installation on {owner} is suspended", f"unsuspend it at {found.html_url}")
    if configured not in (None, found.id):
        return failed(
            id_,
            f"GITHUB_APP_INSTALLATION_ID is {configured}, but the installation on {owner} has the id {found.id}",
            f"set it to {found.id}, or remove it",
        )
    return ok(id_, f"the App is installed on {owner}")


def permission_checks(needed: Mapping[str, str], app: AppPage, found: Installation) -> list[Check]:
    """One check for each permission that is needed."""
    lacking = missing(found.permissions, needed)
    fix = f"grant it in the settings of the App {app.slug}, then accept it at {found.html_url}"
    return [
        failed("github.permission", f"granted {found.permissions.get(name, 'none')}, needs {level}", fix, subject=name)
        if name in lacking
        else ok("github.permission", f"granted {found.permissions[name]}", subject=name)
        for name, level in needed.items()
    ]


async def token_access(context: Context) -> Access:
    """Ask what the personal access token may do."""
    found = await asked(context.github.personal_token())
    if isinstance(found, Failure):
        why = "GitHub did not accept the token"
        return Access(checks=(unanswered("github.token", found), skipped("github.scope", why)), hindrance=why)
    needed = ("admin:org", "repo") if context.settings.scope.organisation else ("repo",)
    lacking = frozenset(needed) - found.scopes if found.scopes is not None else frozenset()
    return Access(
        checks=(token_check(found, context.clock()), *scope_checks(needed, found)),
        lacking=lacking,
        select_at=f"{context.settings.scope.web_url}/settings/tokens",
    )


def token_check(token: PersonalToken, now: float) -> Check:
    """Whether the token stays valid.

    Args:
        token: which GitHub accepts.
        now: Unix seconds.
    """
    if token.expires_at is None:
        return ok("github.token", "GitHub accepts the token; it has no end date")
    days = int((token.expires_at - now) / DAY)
    line = f"GitHub accepts the token; it expires in {days} days"
    if token.expires_at - now < EXPIRES_SOON:
        return warning("github.token", line, "create a new token and set GITHUB_PAT, or use a GitHub App")
    return ok("github.token", line)


def scope_checks(needed: tuple[str, ...], token: PersonalToken) -> list[Check]:
    """One check for each scope that a classic token needs."""
    if token.scopes is None:
        return [skipped("github.scope", "GitHub does not show the permissions of a fine-grained token")]
    listed = ", ".join(sorted(token.scopes)) or "none"
    return [
        ok("github.scope", "granted", subject=scope)
        if scope in token.scopes
        else failed(
            "github.scope",
            f"missing; the token's scopes are: {listed}",
            "add the scope to the token in GitHub's settings",
            subject=scope,
        )
        for scope in needed
    ]


def clock_check(ahead: float) -> Check:
    """Whether this machine's clock is right. The bridge itself uses GitHub's clock.

    Args:
        ahead: s that GitHub's clock is ahead of this machine's.
    """
    shown = f"{abs(ahead) / 60:.0f} min" if abs(ahead) >= 120 else f"{abs(ahead):.0f} s"
    if abs(ahead) <= CLOCK_TOLERANCE:
        return ok("github.clock", f"this machine's clock differs from GitHub's by {abs(ahead):.0f} s")
    return warning(
        "github.clock",
        f"this machine's clock is {shown} {'behind' if ahead > 0 else 'ahead of'} GitHub's",
        "turn on NTP; the bridge uses GitHub's clock, but times in logs are wrong, and TLS fails if the error grows",
    )
