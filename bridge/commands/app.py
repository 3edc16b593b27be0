"""`python -m bridge`: a look without an account. The bridge itself is `python -m bridge.dispatch`."""

import asyncio
import contextlib
import signal
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.commands.inspection import jobs, retry, submissions
from bridge.commands.setup.command import setup

if TYPE_CHECKING:
    from bridge.emulator.cloud import Cloud
    from bridge.emulator.github import GitHubState

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
for command in (setup, jobs, submissions, retry):
    app.command()(command)

STOPPED = 128 + signal.SIGINT
"""The exit status of a command that a signal ended."""

Repo = Annotated[Path | None, typer.Option(help="A local git repository. Default: a sample with one workflow.")]
Event = Annotated[str, typer.Option(help="What triggers the workflows.")]
Workers = Annotated[int, typer.Option(min=1, help="Workers at a time.")]


@app.command()
def demo(  # noqa: PLR0913, PLR0917 - each is an option of its own
    repo: Repo = None,
    event: Event = "push",
    workers: Workers = 3,
    jobs: Annotated[int | None, typer.Option(min=1, help="That many trivial jobs instead of a repository's.")] = None,
    limit: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="Give up after this long.")] = 600,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Run a repository's workflows through the bridge, with GitHub and RunPod emulated on this machine."""
    from bridge.commands.demo import pushed, run_demo, trivial

    with _one_line(), _repository(repo) as path:
        queue = trivial(jobs) if jobs else pushed(path, event)
        ran = run_demo(queue, workers=workers, limit=limit, as_json=as_json)
        raise typer.Exit(asyncio.run(_stoppable(ran)))


@app.command()
def emulate(  # noqa: PLR0913, PLR0917 - each is an option of its own
    repo: Repo = None,
    event: Event = "push",
    workers: Workers = 3,
    github_port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    runpod_port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    cold_start: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Before a worker starts.")] = 15,
    auto_push: Annotated[
        float | None, typer.Option(min=0.1, metavar="SECONDS", help="Queue a new run every so often.")
    ] = None,
    synthetic: Annotated[
        str | None, typer.Option(metavar="REPOS,JOBS", help="Fill GitHub with trivial jobs instead.")
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Send GitHub's events there, such as http://127.0.0.1:8080/webhook."),
    ] = None,
) -> None:
    """Serve GitHub and RunPod until a signal, and print the settings that point the bridge at them."""
    from bridge.commands.demo import forgiving, pushed
    from bridge.emulator.cloud import cloud, github_state
    from bridge.emulator.runpod import EndpointConfig

    config = EndpointConfig(workers_max=workers, cold_start=cold_start)
    given: dict[str, Any] = {"github_port": github_port, "runpod_port": runpod_port, "webhook_url": _url(webhook)}

    async def serve(path: Path) -> None:
        state, queue, stop = github_state(), pushed(path, event), _told_to_stop()
        async with cloud(state, config, **given) as served:
            if synthetic:
                _fill(state, synthetic)
            else:
                await queue(state)
            _print_exports(served)
            while auto_push and not await _within(auto_push, stop):
                await forgiving(queue)(state)
            await stop.wait()

    with _one_line(), _repository(repo) as path:
        asyncio.run(serve(path))


async def _stoppable(work: Coroutine[Any, Any, int]) -> int:
    """The exit status of `work`. A signal ends it, once, and all that it started."""
    task, told = asyncio.create_task(work), asyncio.create_task(_told_to_stop().wait())
    await asyncio.wait((task, told), return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        return STOPPED


def _told_to_stop() -> asyncio.Event:
    """Set at SIGINT or SIGTERM, also where a shell had a background job ignore them, and at SIGHUP without nohup."""
    stop = asyncio.Event()
    hang_up = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    for number in (signal.SIGINT, signal.SIGTERM, *hang_up):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def _within(seconds: float, event: asyncio.Event) -> bool:
    with contextlib.suppress(TimeoutError):
        return await asyncio.wait_for(event.wait(), seconds)
    return False


@contextlib.contextmanager
def _repository(path: Path | None) -> Iterator[Path]:
    from bridge.emulator.cloud import sample_repository
    from bridge.emulator.workflows import top_level

    if path:
        yield top_level(path)
        return
    with sample_repository() as sample:
        yield sample


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Say in one line what is wrong with a repository, a port or the machine."""
    from bridge.emulator.workflow_jobs import WorkflowError

    try:
        yield
    except (WorkflowError, OSError) as error:
        typer.echo(f"bridge: {error}", err=True)
        raise typer.Exit(2) from None


def _fill(state: "GitHubState", synthetic: str) -> None:
    from bridge.emulator.synthetic import fill

    repositories, _, jobs = synthetic.partition(",")
    if not (repositories.isdecimal() and jobs.isdecimal() and int(repositories)):
        raise typer.BadParameter("must be REPOS,JOBS, such as 200,500", param_hint="--synthetic")
    fill(state, int(repositories), int(jobs))


def _url(webhook: str | None) -> str | None:
    if webhook and not _is_url(webhook):
        raise typer.BadParameter("must be a URL such as http://127.0.0.1:8080/webhook", param_hint="--webhook")
    return webhook


def _is_url(text: str) -> bool:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none
        return False


def _print_exports(served: "Cloud") -> None:
    import shlex

    for name, value in served.settings().items():
        typer.echo(f"export {name}={shlex.quote(value)}")


if __name__ == "__main__":
    app()
