"""The steps of `bridge setup`, in order. Each can be repeated: it does only what is not done yet."""

import shlex
from collections.abc import Awaitable, Callable

import httpx

from bridge.commands.setup import progress as progress_file
from bridge.commands.setup.context import Context, confirm_overwrite
from bridge.commands.setup.folder import PUBLIC, Folder
from bridge.commands.setup.inputs import Given
from bridge.commands.setup.installing import install
from bridge.commands.setup.progress import Progress
from bridge.commands.setup.register import PAGE, register
from bridge.commands.setup.runpod import ask
from bridge.commands.setup.terminal import Terminal
from bridge.commands.setup.texts import CONFIG, KEY, SECRETS, Addresses, config_text, secrets_text
from bridge.errors import BridgeError, ConfigError, OutcomeUnknown, RateLimited, Unavailable
from bridge.github.timing import DEFAULT_TIMING, GitHubTiming

Step = Callable[[Context], Awaitable[None]]

LATER = (OutcomeUnknown, RateLimited, Unavailable)
"""Errors after which the same command may succeed."""


class Unfinished(BridgeError):
    """A step failed; what the steps before did is kept.

    Args:
        error: the step's.
    """

    def __init__(self, error: BridgeError) -> None:
        again = "run the same command again later" if isinstance(error, LATER) else "then run the same command again"
        super().__init__(f"{str(error).rstrip('.')}; {again}: it continues where it stopped")
        self.error = error


async def write_secrets(context: Context) -> None:
    """Write the key and secrets.env, as soon as they are known."""
    context.write(KEY, context.app.pem)
    context.write(SECRETS, secrets_text(context.progress))


async def configure(context: Context) -> None:
    """Wait for the installation, ask for RunPod's key, and write what follows from both."""
    repositories = await install(context)
    await ask(context)
    context.write(SECRETS, secrets_text(context.progress))
    text = config_text(
        context.progress,
        client_id=context.app.client_id,
        key=context.folder.path / KEY,
        repositories=[repository.full_name for repository in repositories],
        runpod=Addresses(requests=context.given.runpod_url, management=context.given.wanted.management_url),
    )
    context.write(CONFIG, text, PUBLIC)


async def finish(context: Context) -> None:
    """Delete the progress, and say what comes next."""
    context.folder.remove(progress_file.FILE)
    context.folder.remove(PAGE)
    say, path = context.terminal.say, context.folder.path
    say(f"Written to {path}: {KEY}, {SECRETS} (both secret), {CONFIG}")
    if any((parent / ".git").exists() for parent in (path, *path.parents)):
        say(f"{path} is in a git repository: do not commit {KEY} and {SECRETS}.")
    if not context.progress.endpoint and not context.progress.endpoints:
        say(f"Create a RunPod endpoint (docs/image.md) and put its id into {CONFIG}.")
    say("Next:")
    for line in _next(context):
        say(f"  {line}")


def _next(context: Context) -> list[str]:
    """The commands to type."""
    path, progress = context.folder.path, context.progress
    key = [] if progress.management_key else ["read -rs RUNPOD_MANAGEMENT_API_KEY && export RUNPOD_MANAGEMENT_API_KEY"]
    return [
        f"cd {shlex.quote(str(path))}",
        f"set -a; . ./{SECRETS}; set +a",
        *([*key, "bridge endpoints apply"] if progress.endpoints else []),
        "bridge doctor",
        "bridge dispatch --dry-run",
    ]


STEPS: tuple[Step, ...] = (register, write_secrets, configure, finish)


async def run(
    given: Given, terminal: Terminal, folder: Folder, http: httpx.AsyncClient, timing: GitHubTiming = DEFAULT_TIMING
) -> None:
    """Do all steps that are not done.

    Args:
        given: options and environment.
        terminal: the person.
        folder: where the files go.
        http: made by `bridge.github.transport.http_client`.
        timing: the clock and the waiting times.

    Raises:
        ConfigError: the folder cannot be used.
        Unfinished: one line, with how to continue.
    """
    context = Context(
        given=given, terminal=terminal, folder=folder, progress=begin(given, folder), http=http, timing=timing
    )
    if progress_file.load(folder) is None:
        _claim(context)
        context.save()
    for step in STEPS:
        try:
            await step(context)
        except BridgeError as error:
            raise Unfinished(error) from None


def _claim(context: Context) -> None:
    """Ask once, before anything is done, whether the files that exist may be replaced."""
    folder = context.folder
    there = [name for name in (KEY, SECRETS, CONFIG) if folder.read(name) is not None]
    if there:
        listed = ", ".join(there)
        refused = f"{folder.path}: has {listed}, and nothing is overwritten; choose another folder with --dir"
        confirm_overwrite(context, there, refused)
    for name in there:
        context.progress.note(name, folder.read(name) or "")


def begin(given: Given, folder: Folder) -> Progress:
    """The progress of the interrupted run, else a new one.

    Raises:
        ConfigError: the interrupted run was for something else.
    """
    new = Progress(
        owner=given.owner,
        organisation=given.organisation,
        api_url=given.api_url,
        webhook_url=given.webhook_url,
        rerun_lost_jobs=given.rerun_lost_jobs,
    )
    found = progress_file.load(folder)
    if found is None:
        return new
    differs = next((name for name in _OPTIONS if getattr(found, name) != getattr(new, name)), None)
    if differs:
        raise ConfigError(
            f"{folder.path}: an interrupted set-up is here with another {_OPTIONS[differs]} "
            f"({getattr(found, differs) or 'none'}); repeat it with that, or delete {progress_file.FILE} to start again"
        )
    return found


_OPTIONS = {
    "owner": "owner",
    "organisation": "kind of owner",
    "api_url": "GITHUB_API_URL",
    "webhook_url": "--webhook-url",
    "rerun_lost_jobs": "--rerun-lost-jobs",
}
