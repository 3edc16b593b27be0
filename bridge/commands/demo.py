"""`bridge demo`: a repository's workflows from push to result, on this machine and without an account."""

from typing import Annotated

import typer

from bridge.commands.options import AsJson, Event, NamedRoutes, Repository, RouteLabels, RoutesFile, RunnerDir, Workers
from bridge.core.scope import MOST_RERUNS


def demo(  # noqa: PLR0913, PLR0917 - each is an option of its own
    repo: Repository = None,
    event: Event = "push",
    workers: Workers = 3,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Run this many trivial jobs instead of a repository's.")
    ] = None,
    limit: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="Stop waiting after this time.")] = 600,
    label: RouteLabels = None,
    route: NamedRoutes = None,
    config: RoutesFile = None,
    runner_dir: RunnerDir = None,
    kill_worker: Annotated[
        bool, typer.Option("--kill-worker", help="Kill one worker in the middle of its job, as if its machine failed.")
    ] = False,
    rerun_lost_jobs: Annotated[
        int, typer.Option(min=0, max=MOST_RERUNS, help="How often a job is re-run after it has lost its worker.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Run a repository's workflows through the bridge, with an emulated GitHub and RunPod on this machine.

    Exit status: 0 every job for the bridge has ended, 1 one has not, 2 the repository or the machine is unsuitable. A
    repository is unsuitable if the event triggers jobs, but the demo can run none of them.
    """
    import asyncio

    from bridge.commands.demo_engine import run_demo
    from bridge.commands.demo_kill import Killing, rerunning
    from bridge.commands.demo_routes import tables
    from bridge.commands.emulation import errors_in_one_line, pushed, repository, synthetic
    from bridge.commands.signals import until_stopped

    with errors_in_one_line(), repository(repo, runner_dir) as path:
        routes = rerunning(tables(label or (), route or (), config), rerun_lost_jobs)
        killing = Killing(wanted=kill_worker, reruns=rerun_lost_jobs)
        queue = synthetic(1, jobs) if jobs else pushed(path, event)
        running = run_demo(
            queue, routes, workers=workers, limit=limit, as_json=as_json, runner_dir=runner_dir, killing=killing
        )
        raise typer.Exit(asyncio.run(until_stopped(running)))
