"""bridge.toml: its tables, and how the file is read. It has no key for a secret."""

import difflib
import os
import tomllib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bridge.config.endpoints import EndpointName, EndpointTable
from bridge.config.types import (
    EndpointId,
    Label,
    LogLevel,
    PublicDatabaseUrl,
    RepositoryName,
    RouteName,
    RunnerGroup,
    Seconds,
    ServiceUrl,
    Team,
    Usd,
)
from bridge.core.scope import MOST_RERUNS, Route
from bridge.core.worker import Credentials
from bridge.errors import ConfigError

DEFAULT_FILE = Path("bridge.toml")
"""Used if it exists, and neither an option nor BRIDGE_CONFIG names a file. In the working directory."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class GitHubTable(_Table):
    """`[github]`: the GITHUB_ variables that are not secret. The environment wins."""

    org: str | None = None
    repositories: list[RepositoryName] | None = None
    api_url: ServiceUrl | None = None
    app_client_id: str | None = None
    app_id: int | None = None
    app_private_key_file: str | None = None
    app_installation_id: int | None = None


class RunPodTable(_Table):
    """`[runpod]`: the RUNPOD_ variables that are not secret. The environment wins."""

    endpoint_base_url: ServiceUrl | None = None
    endpoint_id: EndpointId | None = None
    management_url: ServiceUrl | None = None
    worker_quota: int | None = None


class BridgeTable(_Table):
    """`[bridge]`: the BRIDGE_ variables that are not secret. The environment wins."""

    prefix: str | None = None
    database_url: PublicDatabaseUrl | None = None
    labels: list[Label] | None = None
    max_workers: int | None = None
    interval: float | None = None
    full_scan_every: float | None = None
    retention_days: float | None = None
    allow_public_repositories: bool | None = None
    allow_forks: bool | None = None
    public_url: str | None = None
    log_level: LogLevel | None = None
    trace_jobs: bool | None = None


class BudgetTable(_Table):
    """`[budget]`: what may be spent. The environment wins."""

    usd_per_day: Usd | None = None


class DashboardTable(_Table):
    """`[dashboard]`: the BRIDGE_DASHBOARD_ variables that are not secret. The environment wins."""

    client_id: str | None = None
    teams: list[Team] | None = None
    actions: bool | None = None


class RouteTable(_Table):
    """`[[route]]`. None means: the value that the environment or `[bridge]` sets for all routes."""

    name: RouteName
    labels: Annotated[list[Label], Field(min_length=1, max_length=96)] | None = None
    endpoint: EndpointId | None = None
    endpoints: Annotated[list[EndpointName], Field(min_length=1)] | None = None
    max_workers: Annotated[int, Field(ge=1)] | None = None
    credentials: Credentials = Route.credentials
    runner_group: RunnerGroup = Route.runner_group
    job_timeout: Seconds = Route.job_timeout
    queue_timeout: Seconds = Route.queue_timeout
    idle_timeout: Seconds = Route.idle_timeout
    spill_after: Seconds = Route.spill_after
    repositories: list[RepositoryName] = []
    unlabelled: bool = Route.unlabelled
    generic_jobs: bool = Route.generic_jobs
    allow_public_repositories: bool | None = None
    allow_forks: bool | None = None
    usd_per_hour: Usd | None = None
    usd_per_day: Usd | None = None
    rerun_lost_jobs: Annotated[int, Field(ge=0, le=MOST_RERUNS)] = Route.rerun_lost_jobs
    cache: bool = Route.cache
    cache_gb: Annotated[float, Field(gt=0, le=100_000)] = Route.cache_gb


class File(_Table):
    """The whole of bridge.toml."""

    github: GitHubTable = GitHubTable()
    runpod: RunPodTable = RunPodTable()
    bridge: BridgeTable = BridgeTable()
    budget: BudgetTable = BudgetTable()
    dashboard: DashboardTable = DashboardTable()
    route: list[RouteTable] = []
    endpoint: list[EndpointTable] = []


def find(path: Path | None) -> Path | None:
    """The path of bridge.toml.

    Args:
        path: given by an option; if None, the file that BRIDGE_CONFIG names, else `bridge.toml` in the working
            directory.

    Returns:
        None if none is given and there is none.
    """
    named = os.environ.get("BRIDGE_CONFIG")
    path = path or (Path(named) if named else None)
    return path or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)


def read(path: Path) -> File:
    """Read bridge.toml.

    Args:
        path: of the file; may start with `~`.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or has an unknown key or an invalid value.
    """
    try:
        text = path.expanduser().read_text(encoding="utf-8-sig")
        return File.model_validate(tomllib.loads(text))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise ConfigError(f"{path}: {first_problem(error)}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except RuntimeError:
        raise ConfigError(f"{path}: cannot be read: there is no such user") from None


def first_problem(error: ValidationError, *, upper: bool = False) -> str:
    """The first problem that pydantic found, in one line and without the value, which may be a secret.

    Args:
        error: pydantic's.
        upper: write the setting's name in upper case, as an environment variable.
    """
    detail = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        fix = did_you_mean(str(detail["loc"][-1]), _keys_beside(detail["loc"]))
        return f"{where}: no such setting; {fix or 'remove it or correct its spelling'}"
    why = str(detail["ctx"]["error"]) if detail["type"] == "value_error" else detail["msg"]
    return f"{where.upper() if upper else where}: {why[0].lower()}{why[1:]}"


def did_you_mean(name: str, known: Collection[str]) -> str | None:
    """The question for the most similar of the known names; None if none is similar."""
    similar = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f"did you mean {similar[0]}?" if similar else None


def _keys_beside(place: Sequence[int | str]) -> tuple[str, ...]:
    """The keys of the table in which pydantic found a problem; none if `place` is not in bridge.toml.

    Args:
        place: keys and list indices, from the top of the file.
    """
    table: type[BaseModel] | None = File
    for part in place[:-1]:
        if isinstance(part, str) and table:
            found = table.model_fields.get(part)
            table = _model_in(found.annotation) if found else None
    return tuple(table.model_fields) if table else ()


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The table in an annotation such as `Table`, `list[Table]` or `Table | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _model_in(each))), None)
