"""The configuration of `bridge endpoints`: it needs RunPod's management key, and no credentials of GitHub."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from bridge import database_url
from bridge.config import environment, file
from bridge.config.endpoints import check_names, endpoint_settings, read_ids
from bridge.config.environment import Environment
from bridge.config.file import File, RouteTable
from bridge.config.routes import check_volumes
from bridge.config.settings import ledger_url
from bridge.core.endpoints import EndpointSettings
from bridge.core.scope import Route
from bridge.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ManagementConfig:
    """What `bridge endpoints` works with.

    Args:
        path: of bridge.toml.
        api_key: the management key.
        key_setting: the variable that it comes from.
        url: of RunPod's REST API, such as `https://api.runpod.io`.
        wanted: the settings of each `[[endpoint]]`.
        ids: the RunPod ids that are known, by name.
        owner_mark: tells this bridge's endpoints from those of others.
        routes: by endpoint name or id, the names of the routes that use it.
        database_url: of the ledger.
        priced: names or ids of the endpoints whose price the configuration sets.
    """

    path: Path
    api_key: str = field(repr=False)
    key_setting: str
    url: str
    wanted: tuple[EndpointSettings, ...]
    ids: dict[str, str]
    owner_mark: str
    routes: dict[str, tuple[str, ...]]
    database_url: str = field(repr=False)
    priced: frozenset[str] = frozenset()

    def mark(self, name: str) -> str:
        """The value of core.endpoints.MARK for one endpoint."""
        return mark_of(self.owner_mark, name)

    def secrets(self) -> tuple[str, ...]:
        """Every value that must never be shown."""
        run_time_key = os.environ.get("RUNPOD_API_KEY", "")
        return self.api_key, run_time_key, *database_url.passwords(database_url.parse(self.database_url))


def load_management(path: Path | None) -> ManagementConfig:
    """Load the configuration.

    Args:
        path: of bridge.toml; if None, the file that BRIDGE_CONFIG names, else `bridge.toml` in the working directory.

    Raises:
        ConfigError: one line that names the setting and the fix.
    """
    environment.refuse_unknown()
    path = file.find(path) or file.DEFAULT_FILE
    content = file.read(path)
    env = environment.combined(content)
    return _loaded(path, content, env, *_key(env))


def load_if_managed(path: Path | None) -> ManagementConfig | None:
    """Load the configuration, None if RUNPOD_MANAGEMENT_API_KEY is not set.

    Args:
        path: of bridge.toml; None if there is none.

    Raises:
        ConfigError: as of `load_management`.
    """
    content = file.read(path) if path else File()
    env = environment.combined(content)
    if not env.runpod_management_api_key:
        return None
    return _loaded(path or file.DEFAULT_FILE, content, env, *_key(env))


def _loaded(path: Path, content: File, env: Environment, setting: str, key: str) -> ManagementConfig:
    check_names(content.endpoint)
    check_volumes(content)
    mark = f"{_owner(env)}/{env.bridge_prefix}"
    return ManagementConfig(
        path=path,
        api_key=key,
        key_setting=setting,
        url=env.runpod_management_url.rstrip("/"),
        wanted=_wanted(content, env, mark),
        ids=read_ids(path),
        owner_mark=mark,
        routes=_routes_by_endpoint(content, env),
        database_url=ledger_url(env),
        priced=frozenset(
            [table.name for table in content.endpoint if table.usd_per_hour is not None]
            + [name for route in content.route if route.usd_per_hour is not None for name in _endpoints(route, env)]
        ),
    )


def mark_of(owner: str, name: str) -> str:
    """The mark of one endpoint."""
    return f"{owner}/{name}"


def _key(env: Environment) -> tuple[str, str]:
    """The name of the setting, and the key."""
    if env.runpod_management_api_key:
        return "RUNPOD_MANAGEMENT_API_KEY", env.runpod_management_api_key.get_secret_value()
    if env.runpod_api_key:
        return "RUNPOD_API_KEY", env.runpod_api_key.get_secret_value()
    raise ConfigError("RUNPOD_MANAGEMENT_API_KEY: missing; set it to a RunPod key that may create endpoints")


def _owner(env: Environment) -> str:
    """The owner that the configuration names, `-` if none: it only tells bridges of one RunPod account apart."""
    return (env.github_org or next((name.split("/")[0] for name in env.github_repositories), "-")).lower()


def _wanted(content: File, env: Environment, mark: str) -> tuple[EndpointSettings, ...]:
    return tuple(
        endpoint_settings(table, mark=mark_of(mark, table.name), timeout=_timeout(content, env, table.name))
        for table in content.endpoint
    )


def _timeout(content: File, env: Environment, name: str) -> float:
    """Seconds that a request of any of the endpoint's routes may run; without a route, the default."""
    limits = [_execution_timeout(route) for route in content.route if name in _endpoints(route, env)]
    return max(limits, default=_execution_timeout(RouteTable(name="default")))


def _execution_timeout(table: RouteTable) -> float:
    return Route(
        name=table.name,
        labels=frozenset(),
        endpoints=(),
        max_workers=1,
        job_timeout=table.job_timeout,
        idle_timeout=table.idle_timeout,
    ).execution_timeout


def _endpoints(route: RouteTable, env: Environment) -> list[str]:
    single = route.endpoint or env.runpod_endpoint_id
    return route.endpoints or ([single] if single else [])


def _routes_by_endpoint(content: File, env: Environment) -> dict[str, tuple[str, ...]]:
    names = {name for route in content.route for name in _endpoints(route, env)}
    return {name: tuple(r.name for r in content.route if name in _endpoints(r, env)) for name in sorted(names)}
