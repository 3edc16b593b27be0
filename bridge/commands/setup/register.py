"""The first step of `bridge setup`: an App with its key, new or existing."""

from dataclasses import replace
from urllib.parse import parse_qs, quote, urlsplit

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bridge.commands.setup.context import Context, NotDone
from bridge.commands.setup.inputs import ExistingApp
from bridge.commands.setup.page import LocalPage, same, submitting_page
from bridge.commands.setup.progress import app_name
from bridge.errors import ConfigError, OutcomeUnknown, Rejected
from bridge.github import manifest as manifests
from bridge.github.auth import AppKey
from bridge.github.installation import app_page
from bridge.github.manifest import CodeRefused, NewApp

PAGE = "register-app.html"
"""The file that posts the manifest, for a browser on another machine."""

UNREACHED = "http://127.0.0.1:49151/callback"
"""Where GitHub redirects with --no-browser. Nothing listens on this reserved port; the address bar keeps the code."""

TRIES = (1.0, 4.0)
"""s before each retry of a conversion that got no answer: perhaps GitHub did not use the code."""

LOOK_EVERY = 0.1
"""s between two checks for the redirect."""


async def register(context: Context) -> None:
    """Get the App: from an interrupted run, from the environment, or a new one.

    Raises:
        BridgeError: there is no App; the message says how to continue.
    """
    if context.progress.app:
        return
    if not context.progress.code and not context.given.code and context.given.app:
        context.progress.app = await _existing(context, context.given.app)
    else:
        context.progress.code = _given_code(context) or context.progress.code or await _new_code(context)
        context.save()
        context.progress.app = await _converted(context, context.progress.code)
    context.save()  # at once, and in one write: GitHub does not show the key again
    context.folder.remove(PAGE)
    context.terminal.say(f"GitHub App: {context.progress.app.html_url}")


async def _existing(context: Context, given: ExistingApp) -> NewApp:
    key = AppKey.load(given.private_key)
    pem = key.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    app = NewApp(client_id=given.issuer, slug="", owner="", html_url="", webhook_secret=given.webhook_secret, pem=pem)
    page = await app_page(context.auth(app))
    return replace(app, slug=page.slug, owner=page.owner, html_url=page.html_url)


# --- a new App: the code ---


def _given_code(context: Context) -> str | None:
    code = context.given.code
    return pasted_code(code, context.progress.state) if code else None


async def _new_code(context: Context) -> str:
    # A new name each time: the last one belongs to an App if the last run ended before it stored the code.
    context.progress.name = context.given.app_name or app_name(context.progress.owner)
    context.save()
    context.terminal.say(f"Registering the GitHub App {context.progress.name} for {context.progress.owner}.")
    if context.given.browser and context.terminal.interactive:
        return await _code_from_browser(context)
    return _code_from_paste(context)


async def _code_from_browser(context: Context) -> str:
    with _local_page(context) as page:
        context.terminal.say(f"Open this address in a browser on this machine (or use --no-browser):\n  {page.url}")
        context.terminal.open(page.url)
        what, deadline = "Waiting for the App to be created at GitHub", context.timing.clock() + context.given.wait
        with context.terminal.waiting(what) as show:
            while page.code is None:
                if (left := deadline - context.timing.clock()) < 0:
                    raise NotDone(_no_code(context))
                show(f"{what} ({left:.0f} s left)")
                await context.timing.sleep(LOOK_EVERY)
        return page.code


def _local_page(context: Context) -> LocalPage:
    try:
        return LocalPage(lambda redirect: _page(context, redirect), context.progress.state)
    except OSError as error:
        raise NotDone(f"127.0.0.1: no page can be served ({error.strerror}); use --no-browser") from None


def _code_from_paste(context: Context) -> str:
    context.folder.write(PAGE, _page(context, UNREACHED))
    path = context.folder.path / PAGE
    context.terminal.say(
        f"Open this file in any browser; copy it to your own machine if needed:\n  {path}\n  {path.as_uri()}"
    )
    context.terminal.say("After the last click the browser cannot open 127.0.0.1. That is expected.")
    answer = context.terminal.ask(
        "Paste the whole address of that page, or the code in it",
        f"no GitHub App: set GITHUB_APP_CLIENT_ID and GITHUB_APP_PRIVATE_KEY_FILE, or open {path} in a browser and "
        "repeat with --code CODE",
    )
    return pasted_code(answer, context.progress.state)


def pasted_code(answer: str, state: str) -> str:
    """The code in what was pasted: GitHub's redirect, or the code alone.

    Raises:
        ConfigError: there is none, or the redirect belongs to another registration.
    """
    if "code=" not in answer:
        code = answer
    else:
        query = parse_qs(urlsplit(answer).query)
        code = query.get("code", [""])[0]
        if not same(query.get("state", [""])[0], state):
            raise ConfigError("the pasted address belongs to another registration; open the newest page and try again")
    if not code or not code.isascii() or quote(code, safe="") != code:
        raise ConfigError("this is not a code from GitHub; paste the whole address, from http:// to its end")
    return code


def _page(context: Context, redirect_url: str) -> str:
    progress = context.progress
    owner = progress.owner if progress.organisation else None
    document = manifests.manifest(
        name=progress.name,
        homepage=f"{manifests.web_url(progress.api_url)}/{progress.owner}",
        redirect_url=redirect_url,
        permissions=manifests.permissions(organisation=progress.organisation, reruns=progress.rerun_lost_jobs > 0),
        webhook_url=progress.webhook_url,
    )
    return submitting_page(manifests.form_url(progress.api_url, owner, progress.state), document, progress.owner)


def _no_code(context: Context) -> str:
    return (
        f"no App was created at GitHub within {context.given.wait:g} s. If GitHub showed 404, you are not signed in as "
        f"an owner of {context.progress.owner}: sign in, or ask an owner to run this command. If GitHub refused the "
        "configuration, correct the option that it names"
    )


# --- a new App: its secrets ---


async def _converted(context: Context, code: str) -> NewApp:
    try:
        app = await _convert(context, code)
    except CodeRefused as error:
        name = context.progress.name or "of this set-up"
        _forget(context)
        lost = f"If an App {name} exists at {_settings(context)}, delete it: GitHub does not show its key again"
        without = ". Leave out --code" if context.given.code else ""
        raise Rejected(f"{error}. {lost}{without}", status=error.status) from None
    if app.owner.lower() != context.progress.owner.lower():
        _forget(context)
        raise NotDone(
            f"the App {app.slug} was registered for {app.owner}, not for {context.progress.owner}; delete it at "
            f"{app.html_url}, and sign in to GitHub as {context.progress.owner}"
        )
    return app


async def _convert(context: Context, code: str) -> NewApp:
    """Exchange the code. If no readable answer comes, try the same code again."""
    for wait in TRIES:
        try:
            return await manifests.convert(context.http, context.progress.api_url, code, context.timing)
        except OutcomeUnknown as error:
            context.terminal.say(f"{error}; trying again in {wait:g} s")
            await context.timing.sleep(wait)
    return await manifests.convert(context.http, context.progress.api_url, code, context.timing)


def _forget(context: Context) -> None:
    """Start a new registration in the next run."""
    context.progress.forget_code()
    context.save()


def _settings(context: Context) -> str:
    """The page of the owner's Apps."""
    web, progress = manifests.web_url(context.progress.api_url), context.progress
    return f"{web}/organizations/{progress.owner}/settings/apps" if progress.organisation else f"{web}/settings/apps"
