"""What `demo` and `emulate` share: the repository, and the jobs that are queued in the emulated GitHub."""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import typer

from bridge.commands import demo_routes
from bridge.config.file import RouteTable
from bridge.emulator.act import find_act
from bridge.emulator.cloud import Cloud, repository_name, sample_repository
from bridge.emulator.github.state import GitHubState
from bridge.emulator.job_variants import WorkflowError
from bridge.emulator.jobs import RunSpec
from bridge.emulator.runner import check_installed
from bridge.emulator.synthetic import fill
from bridge.emulator.workflows import runs_of, top_level
from bridge.errors import ConfigError

Queue = Callable[[GitHubState], Awaitable[None]]
"""Queues jobs in the emulated GitHub."""


@contextlib.contextmanager
def repository(path: Path | None, runner_dir: Path | None) -> Iterator[Path]:
    """The root of the repository at `path`, or a sample repository that exists until the end of the block.

    Args:
        path: within a local git repository; None for the sample.
        runner_dir: the folder of an official runner; None for the stand-in, which needs act.

    Raises:
        OSError, WorkflowError: there is no repository, or no program to run its jobs with.
    """
    check_installed(runner_dir) if runner_dir else find_act()  # raises here, not in each worker
    if path:
        yield top_level(path)
        return
    with sample_repository() as sample:
        yield sample


@contextlib.contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Report an unsuitable repository, route, port or machine in one line, and exit with status 2."""
    try:
        yield
    except (WorkflowError, ConfigError, OSError) as error:
        typer.echo(f"bridge: {error}", err=True)
        raise typer.Exit(2) from None


def settings(cloud: Cloud, routes: Sequence[RouteTable]) -> dict[str, str]:
    """The bridge's environment variables. Routes other than its default are in a file beside the ledger."""
    if list(routes) == demo_routes.tables((), (), None):
        return cloud.settings()
    config = cloud.folder / "bridge.toml"
    config.write_text(demo_routes.document(routes))
    return {"BRIDGE_CONFIG": str(config), **cloud.settings()}


def pushed(path: Path, event: str) -> Queue:
    """The jobs of a repository's workflows.

    Args:
        path: the root of a local git repository.
        event: the event that triggers the workflows.
    """

    async def queue(state: GitHubState) -> None:
        name = repository_name(path)
        if name not in state.repositories:
            state.add_repository(name)
        specs = await asyncio.to_thread(runs_of, path, event, full_name=name)
        if not specs:
            print(f"bridge: {path} has no workflow that {event} triggers", file=sys.stderr)
        for spec in specs:
            state.add_run(name, spec, path)

    return queue


def tolerant(queue: Queue) -> Queue:
    """The same jobs; an invalid workflow is only reported, because someone may be about to fix it."""

    async def queue_or_report(state: GitHubState) -> None:
        try:
            await queue(state)
        except WorkflowError as error:
            print(f"bridge: {error}", file=sys.stderr)

    return queue_or_report


def printable(text: str) -> str:
    """A text from a repository without the characters that could control a terminal."""
    return "".join(each if each.isprintable() else " " for each in text)


def notes(spec: RunSpec) -> Iterator[str]:
    """What is different from GitHub in a whole run, in lines for a person."""
    if spec.unsupported:
        yield f"unsupported: {spec.path}: {spec.unsupported}"
    for name in spec.not_applied:
        yield f"not applied: {spec.path}: {name}"


class Unsupported:
    """Prints the files and jobs that the emulated GitHub does not queue, and why, each once.

    Filters that were not applied are printed, too.

    Args:
        state: of the emulated GitHub.
    """

    def __init__(self, state: GitHubState) -> None:
        self._state = state
        self._reported: set[str] = set()

    def report(self) -> None:
        """Print those that were not printed before, to stderr."""
        for run in self._state.runs.values():
            jobs = (f"unsupported: {job.name}: {job.unsupported}" for job in run.spec.jobs if job.unsupported)
            for line in (*notes(run.spec), *jobs):
                if line not in self._reported:
                    self._reported.add(line)
                    print(printable(line), file=sys.stderr)


def synthetic(repositories: int, jobs: int) -> Queue:
    """Trivial jobs, evenly spread over new repositories."""

    async def queue(state: GitHubState) -> None:
        fill(state, repositories, jobs)

    return queue
