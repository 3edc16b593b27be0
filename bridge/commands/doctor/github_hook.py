"""The App's webhook, if the bridge runs as a service."""

from collections.abc import Sequence

from bridge.commands.doctor.asking import Failure, asked, unanswered
from bridge.commands.doctor.check import Check, Repair, failed, ok, skipped, warning
from bridge.commands.doctor.context import Context
from bridge.github.auth import AppAuth
from bridge.github.hook import Attempt, Hook, attempts, hook, set_hook
from bridge.github.installation import AppPage

UNSIGNED = 401
"""What the bridge answers to a delivery with another signature."""


async def hook_checks(context: Context, app: AppPage | None, hindrance: str | None) -> list[Check]:
    """Ask for the webhook's settings and its last deliveries.

    Args:
        context: of the run.
        app: the App; None for a personal access token.
        hindrance: why GitHub cannot be asked.
    """
    settings = context.settings
    if not (settings.scope.public_url or settings.webhook_secrets):
        return [skipped("github.webhook", "no service: neither BRIDGE_PUBLIC_URL nor GITHUB_WEBHOOK_SECRET is set")]
    if not isinstance(context.auth, AppAuth):
        return [skipped("github.webhook", "a personal access token cannot read an App's webhook")]
    if app is None:
        return [skipped("github.webhook", hindrance or "GitHub did not confirm the App")]
    found = await asked(hook(context.auth))
    if isinstance(found, Failure):
        return [unanswered("github.webhook", found)]
    if found is None:
        return [_no_hook(app)]
    checks = [*settings_checks(context, app, found, context.auth)]
    if any(check.id == "github.webhook.url" and check.fix for check in checks):
        why = "the webhook leads elsewhere"
        return [*checks, skipped("github.webhook.secret", why), skipped("github.webhook.deliveries", why)]
    sent = await asked(attempts(context.auth))
    if isinstance(sent, Failure):
        return [*checks, unanswered("github.webhook.deliveries", sent)]
    return [*checks, secret_check(settings.webhook_secrets, sent, _repair(context, context.auth)), deliveries(sent)]


def _no_hook(app: AppPage) -> Check:
    return failed(
        "github.webhook",
        f"the App {app.slug} has no webhook",
        f"set its URL and secret at {app.html_url}, and tick Active; until then the service finds jobs by scanning",
    )


def settings_checks(context: Context, app: AppPage, found: Hook, auth: AppAuth) -> list[Check]:
    """The checks of the webhook's settings."""
    return [
        url_check(found.url, _ours(context), _repair(context, auth)),
        events_check(app),
        certificate_check(app, found),
    ]


def _ours(context: Context) -> str | None:
    public = context.settings.scope.public_url
    return f"{public}/webhook" if public else None


def _repair(context: Context, auth: AppAuth) -> Repair | None:
    url, secrets = _ours(context), context.settings.webhook_secrets
    if url is None or not secrets:
        return None

    async def work() -> str:
        await set_hook(auth, url=url, secret=secrets[0])
        return f"the webhook's URL is {url}, and its secret is GITHUB_WEBHOOK_SECRET"

    return Repair(question=f"Set the App's webhook to {url} and its secret to GITHUB_WEBHOOK_SECRET?", work=work)


def url_check(there: str, ours: str | None, repair: Repair | None) -> Check:
    """Whether GitHub posts to this bridge.

    Args:
        there: the webhook's URL.
        ours: the URL of this bridge; None if it is not configured.
        repair: what sets it.
    """
    id_ = "github.webhook.url"
    if ours is None:
        return skipped(id_, f"BRIDGE_PUBLIC_URL is not set; the webhook posts to {there}")
    if there.rstrip("/") == ours:
        return ok(id_, f"the webhook posts to {ours}")
    fix = f"set the webhook's URL to {ours}, or correct BRIDGE_PUBLIC_URL"
    return failed(id_, f"the webhook posts to {there}", fix, repair=repair)


def events_check(app: AppPage) -> Check:
    """Whether GitHub sends the events of jobs."""
    id_ = "github.webhook.events"
    if "workflow_job" in app.events:
        return ok(id_, "the App subscribes to workflow_job")
    return failed(
        id_,
        "the App does not subscribe to workflow_job",
        f"tick Workflow job in the settings of the App {app.slug}, under Permissions & events",
    )


def certificate_check(app: AppPage, found: Hook) -> Check:
    """Whether GitHub verifies whom it posts to."""
    id_ = "github.webhook.certificate"
    if found.verifies:
        return ok(id_, "GitHub verifies the certificate of the webhook's URL")
    return warning(
        id_,
        "GitHub does not verify the certificate of the webhook's URL",
        f"turn on SSL verification in the webhook settings of the App {app.slug}",
    )


def secret_check(secrets: Sequence[str], sent: Sequence[Attempt], repair: Repair | None) -> Check:
    """Whether both sides have the same secret. GitHub never shows it, so the last delivery must tell.

    Args:
        secrets: the configured ones.
        sent: deliveries, newest first.
        repair: what sets it.
    """
    id_ = "github.webhook.secret"
    if not secrets:
        return failed(id_, "GITHUB_WEBHOOK_SECRET is not set", "set it to the App's webhook secret")
    if not sent:
        return skipped(id_, "GitHub does not show the secret, and has sent no delivery in the last days")
    if sent[0].status != UNSIGNED:
        return ok(id_, "the last delivery was not refused for its signature")
    fix = "set the App's webhook secret and GITHUB_WEBHOOK_SECRET to the same value, and restart the service"
    return failed(id_, "the service refused the signature of the last delivery (401)", fix, repair=repair)


def deliveries(sent: Sequence[Attempt]) -> Check:
    """Whether deliveries arrive. Those with a wrong signature are the matter of `secret_check`.

    Args:
        sent: deliveries, newest first.
    """
    id_ = "github.webhook.deliveries"
    failures = [each for each in sent if not each.ok and each.status != UNSIGNED]
    if not failures:
        return ok(id_, f"none of the last {len(sent)} deliveries failed" if sent else "no deliveries yet")
    line = (
        f"{len(failures)} of the last {len(sent)} deliveries failed; the last failure had status {failures[0].status}"
    )
    if sent[0] is failures[0]:
        return failed(id_, line, "see `service.healthz`, and the log of the service and its proxy")
    return warning(id_, line, "nothing if the service was down then: it reads missed deliveries from GitHub's log")
