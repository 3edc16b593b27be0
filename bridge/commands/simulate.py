"""`bridge simulate`: how long the jobs of a trace would wait, and how many seconds of workers they would cost."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.commands.options import AsJson

if TYPE_CHECKING:
    from bridge.simulation.result import Result
    from bridge.simulation.run import Setup
    from bridge.simulation.trace import Capacity

SHOWN = ("configuration", "endpoints", "jobs", "median wait", "95% wait", "longest wait", "paid time", "why")
"""The columns of the table."""

Trace = Annotated[
    Path,
    typer.Argument(
        metavar="TRACE",
        help="A CSV file with the columns arrival and duration (in seconds) and route, a line per job.",
    ),
]
Configs = Annotated[
    list[Path] | None,
    typer.Option("--config", help="A bridge.toml; repeat it to compare several. Default: as for other commands."),
]
CapacityPath = Annotated[
    Path | None,
    typer.Option(
        "--capacity",
        help="A CSV file with the columns at (in seconds), endpoint and workers: from then on, for how many workers of "
        "the endpoint RunPod has machines. Default: always for all.",
    ),
]
ColdStart = Annotated[float, typer.Option(min=0, max=86_400, help="Seconds that a worker takes to start.")]


def simulate(
    trace: Trace,
    config: Configs = None,
    capacity: CapacityPath = None,
    cold_start: ColdStart = 60.0,
    as_json: AsJson = False,
) -> None:
    """Replay a trace of jobs against one or more configurations, in virtual time and without any service.

    Each configuration is also simulated with only the preferred endpoint of each route.
    """
    from bridge.commands.report import print_rows
    from bridge.errors import ConfigError

    try:
        rows = list(_rows(trace, config, capacity, cold_start))
    except ConfigError as error:
        typer.echo(f"bridge: {error}", err=True)
        raise typer.Exit(2) from None
    print_rows(rows if as_json else list(map(_cells, rows, [{}, *rows])), SHOWN, as_json=as_json)


def _rows(trace: Path, config: list[Path] | None, capacity: Path | None, cold_start: float) -> Iterator[dict[str, Any]]:
    from bridge.config.file import find
    from bridge.errors import ConfigError
    from bridge.simulation.run import simulate as run
    from bridge.simulation.trace import arrivals, capacities

    found = find(None)
    paths = config or ([found] if found else [])
    if not paths:
        raise ConfigError("--config: missing; name a bridge.toml with the routes of the trace")
    jobs = arrivals(_lines(trace), str(trace))
    steps = capacities(_lines(capacity), str(capacity)) if capacity else ()
    for path in paths:
        setup = _setup(path, steps, jobs[0].at, cold_start)
        several = any(len(route.endpoints) > 1 for route in setup.routes)
        yield _row(path, run(setup, jobs), fallback=several)
        if several:
            preferred = tuple(replace(route, endpoints=route.endpoints[:1]) for route in setup.routes)
            yield _row(path, run(replace(setup, routes=preferred), jobs), fallback=False)


def _lines(path: Path) -> list[str]:
    from bridge.errors import ConfigError

    try:
        return path.expanduser().read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, RuntimeError):
        raise ConfigError(f"{path}: cannot be read: it is not text in UTF-8, or there is no such user") from None


def _setup(path: Path, steps: "Sequence[Capacity]", origin: float, cold_start: float) -> "Setup":
    """What a configuration serves. Only its routes and limits matter; an endpoint needs no RunPod id.

    Args:
        path: of bridge.toml.
        steps: changes of capacity.
        origin: the time of the first arrival, by the clock of the trace.
        cold_start: s.
    """
    from bridge.config import environment, file
    from bridge.config.endpoints import check_names
    from bridge.config.file import RouteTable
    from bridge.config.routes import routes
    from bridge.core.scope import endpoints_of
    from bridge.errors import ConfigError
    from bridge.simulation.clock import START
    from bridge.simulation.cloud import EndpointFacts
    from bridge.simulation.run import Setup

    content = file.read(path)
    check_names(content.endpoint)
    env = environment.combined(content)
    default = env.runpod_endpoint_id or "default"
    tables = [
        table.model_copy(
            update={"repositories": [], "endpoint": None, "endpoints": table.endpoints or [table.endpoint or default]}
        )
        for table in content.route or [RouteTable(name="default")]
    ]
    found = routes(tables, env, owner="")
    used = endpoints_of(found)
    if unknown := next((each.endpoint for each in steps if each.endpoint not in used), None):
        raise ConfigError(f"--capacity: no route of {path} uses the endpoint {unknown}; write it as the route does")
    limits = {table.name: (table.workers_max, table.workers_min) for table in content.endpoint}
    unlimited = sum(route.max_workers for route in found)
    facts = {
        name: EndpointFacts(
            workers_max=limits.get(name, (unlimited, 0))[0],
            workers_min=limits.get(name, (unlimited, 0))[1],
            cold_start=cold_start,
            capacity=tuple((START + each.at - origin, each.workers) for each in steps if each.endpoint == name),
        )
        for name in sorted(used)
    }
    return Setup(routes=found, endpoints=facts, worker_quota=env.runpod_worker_quota, interval=env.bridge_interval)


def _row(path: Path, result: "Result", *, fallback: bool) -> dict[str, Any]:
    waits = [each.waited for each in result.served]
    return {
        "configuration": str(path),
        "fallback": fallback,
        "jobs": len(result.served) + result.unserved,
        "unserved": result.unserved,
        "wait_p50_s": round(result.wait(0.5), 1),
        "wait_p95_s": round(result.wait(0.95), 1),
        "wait_max_s": round(max(waits, default=0.0), 1),
        "paid_s": round(result.paid_seconds),
        "moves": len(result.moves),
        "endpoints": {
            endpoint: {
                "jobs": sum(each.endpoint == endpoint for each in result.served),
                "paid_s": round(paid),
                "most_workers": result.most_workers[endpoint],
            }
            for endpoint, paid in sorted(result.paid.items())
        },
    }


def _cells(row: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """The same row for a person. A row with fallback comes `before` that of the preferred endpoints alone."""
    from bridge.core.steps import span

    unserved, moves = row["unserved"], row["moves"]
    notes = (
        f"jobs without a runner for a day: {unserved}" if unserved else "",
        f"requests that moved to another endpoint: {moves}" if moves else "",
    )
    return {
        "configuration": row["configuration"],
        "endpoints": "preferred" if before.get("fallback") else "all",
        "jobs": row["jobs"],
        "median wait": span(row["wait_p50_s"]),
        "95% wait": span(row["wait_p95_s"]),
        "longest wait": span(row["wait_max_s"]),
        "paid time": span(row["paid_s"]),
        "why": "; ".join(filter(None, notes)),
    }
