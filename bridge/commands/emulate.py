"""`bridge emulate`: serves an emulated GitHub and RunPod, to try the bridge against."""

import shlex
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from bridge.commands.options import Event, NamedRoutes, Repository, RouteLabels, RoutesFile, RunnerDir, Workers

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from bridge.commands.emulation import Queue
    from bridge.config.file import RouteTable
    from bridge.emulator.cloud import Cloud

Port = Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free port.")]


def emulate(  # noqa: PLR0913, PLR0917 - each is an option of its own
    repo: Repository = None,
    event: Event = "push",
    workers: Workers = 3,
    github_port: Port = 0,
    runpod_port: Port = 0,
    cold_start: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Time that RunPod needs to start a worker.")
    ] = 15,
    auto_push: Annotated[
        float | None, typer.Option(min=0.1, metavar="SECONDS", help="Push again after each such interval.")
    ] = None,
    synthetic: Annotated[
        str | None, typer.Option(metavar="REPOS,JOBS", help="Queue trivial jobs instead of a repository's.")
    ] = None,
    runner_dir: RunnerDir = None,
    webhook: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Send GitHub's events there, such as http://127.0.0.1:8080/webhook."),
    ] = None,
    label: RouteLabels = None,
    route: NamedRoutes = None,
    config: RoutesFile = None,
) -> None:
    """Serve an emulated GitHub and RunPod until a signal, and print the settings that point the bridge at them."""
    import asyncio

    from bridge.commands import demo_routes, emulation
    from bridge.emulator.cloud import cloud, github_state
    from bridge.emulator.runpod import EndpointConfig

    endpoint = EndpointConfig(workers_max=workers, cold_start=cold_start)
    webhook_url, counts = _url(webhook), _counts(synthetic)

    async def serve(pushed: "Queue") -> None:
        served = cloud(
            github_state(),
            endpoint,
            github_port=github_port,
            runpod_port=runpod_port,
            webhook_url=webhook_url,
            runner_dir=runner_dir,
        )
        queue = emulation.synthetic(*counts) if counts else pushed
        await _serve(served, routes, queue, pushed, auto_push)

    with emulation.errors_in_one_line(), emulation.repository(repo, runner_dir) as path:
        routes = demo_routes.tables(label or (), route or (), config)
        demo_routes.checked(routes)
        asyncio.run(serve(emulation.pushed(path, event)))


async def _serve(
    serving: "AbstractAsyncContextManager[Cloud]",
    routes: "list[RouteTable]",
    queue: "Queue",
    pushed: "Queue",
    auto_push: float | None,
) -> None:
    """Serve the queue until a signal, and queue `pushed` every `auto_push` seconds."""
    from bridge.commands import emulation
    from bridge.commands.emulation import Unsupported, tolerant
    from bridge.commands.signals import is_set_within, stop_event

    stop = stop_event(hang_up=True)
    async with serving as served:
        state = served.github.state
        # As of `bridge setup --rerun-lost-jobs`, so that a bridge.toml with `rerun_lost_jobs` works here.
        served.github.app.permissions["actions"] = "write"
        unsupported = Unsupported(state)
        await queue(state)
        unsupported.report()
        for name, value in emulation.settings(served, routes).items():
            typer.echo(f"export {name}={shlex.quote(value)}")
        while auto_push and not await is_set_within(auto_push, stop):
            await tolerant(pushed)(state)
            unsupported.report()
        await stop.wait()


def _counts(synthetic: str | None) -> tuple[int, int] | None:
    """The number of repositories and of jobs in `REPOS,JOBS`."""
    if not synthetic:
        return None
    repositories, _, jobs = synthetic.partition(",")
    if not (repositories.isdecimal() and jobs.isdecimal() and int(repositories)):
        raise typer.BadParameter("must be REPOS,JOBS, such as 200,500", param_hint="--synthetic")
    return int(repositories), int(jobs)


def _url(webhook: str | None) -> str | None:
    if webhook and not _is_url(webhook):
        raise typer.BadParameter("must be a URL such as http://127.0.0.1:8080/webhook", param_hint="--webhook")
    return webhook


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is not a number, or too large
        return False
