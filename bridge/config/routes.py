"""The routes: `[[route]]` tables of bridge.toml, with the environment's values where a table sets none."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bridge.config.endpoints import check_names, endpoint_ids, read_ids
from bridge.config.environment import Environment
from bridge.config.file import File, RouteTable
from bridge.config.types import MAX_POLICY
from bridge.core.endpoint_names import named
from bridge.core.scope import IMPLIED_LABELS, Route
from bridge.core.worker import JIT_LIFETIME, Credentials
from bridge.errors import ConfigError


def with_endpoint_ids(content: File, path: Path) -> File:
    """The same file, whose `[[route]]` tables have the RunPod ids of their endpoints instead of `[[endpoint]]`s' names.

    Args:
        content: of bridge.toml.
        path: of bridge.toml; the ids are in a file beside it.

    Raises:
        ConfigError: a route's endpoint has no known id, or the file with the ids cannot be read.
    """
    check_names(content.endpoint)
    check_volumes(content)
    names, ids = [table.name for table in content.endpoint], read_ids(path)
    resolved = [
        route.model_copy(
            update={
                "endpoint": None,
                "endpoints": endpoint_ids(route.name, route.endpoint, route.endpoints, names, ids),
            }
        )
        for route in content.route
    ]
    return content.model_copy(update={"route": resolved})


def check_volumes(content: File) -> None:
    """Refuse a cache on an endpoint without a network volume.

    Raises:
        ConfigError: a route has one.
    """
    without = {table.name for table in content.endpoint if not table.volumes}
    for route in content.route:
        endpoint = next((name for name in (route.endpoint, *(route.endpoints or ())) if name in without), None)
        if route.cache and endpoint:
            raise ConfigError(
                f"route {route.name}: a cache needs a network volume; add `volumes` to endpoint {endpoint}"
            )


def endpoint_names(content: File, ids: Mapping[str, str]) -> dict[str, str]:
    """By RunPod id, the name of each endpoint that `bridge endpoints apply` has created.

    Args:
        content: of bridge.toml; its tables count before those that are gone.
        ids: the RunPod id of each endpoint, by name.
    """
    tables = {table.name for table in content.endpoint}
    return {id_: name for name, id_ in sorted(ids.items(), key=lambda each: each[0] in tables)}


def workers_max(content: File, ids: Mapping[str, str]) -> dict[str, int]:
    """By RunPod id, the limit of workers of each `[[endpoint]]` that has an id.

    Args:
        content: of bridge.toml.
        ids: the RunPod id of each `[[endpoint]]` that has one.
    """
    return {ids[table.name]: table.workers_max for table in content.endpoint if table.name in ids}


def routes(tables: list[RouteTable], env: Environment, owner: str) -> tuple[Route, ...]:
    """Combine and check the routes.

    Args:
        tables: of bridge.toml; none makes one route of the environment's values.
        env: the values for all routes.
        owner: of all repositories.

    Raises:
        ConfigError: a route is incomplete, or cannot work.
    """
    tables = tables or [RouteTable(name="default")]
    names = [table.name for table in tables]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ConfigError(f"route.name: {twice} is used twice; give each route its own name")
    for table in tables:
        _check_owner(table, owner)
        _check_cache(table)
    return tuple(_checked(_route(table, env)) for table in tables)


def prices(content: File, ids: Mapping[str, str], found: Sequence[Route]) -> dict[str, float]:
    """USD per hour of one worker by endpoint id, where the file sets it. A route's own price counts first.

    Args:
        content: of bridge.toml.
        ids: the RunPod id of each `[[endpoint]]` that has one.
        found: the routes of the file, with the ids of their endpoints.

    Raises:
        ConfigError: two routes give one endpoint different prices, or one price is for several endpoints.
    """
    own: dict[str, float] = {}
    endpoints = {route.name: route.endpoints for route in found}
    for table in content.route:
        (endpoint, *others), usd = endpoints[table.name], table.usd_per_hour
        if usd is not None and others:
            raise ConfigError(
                f"route {table.name}: usd_per_hour: it names several endpoints; set the price of each in [[endpoint]]"
            )
        if usd is not None and own.setdefault(endpoint, usd) != usd:
            name = named(endpoint, endpoint_names(content, ids))
            raise ConfigError(
                f"route {table.name}: usd_per_hour: another route has another price for endpoint {name}; "
                "set the same in both"
            )
    of_tables = {ids[t.name]: t.usd_per_hour for t in content.endpoint if t.usd_per_hour and t.name in ids}
    return of_tables | own


def _check_owner(table: RouteTable, owner: str) -> None:
    other = next((name for name in table.repositories if name.split("/")[0].lower() != owner.lower()), None)
    if other:
        raise ConfigError(
            f"route {table.name}: repositories: {other} does not belong to {owner}; run one bridge for each owner"
        )


def _check_cache(table: RouteTable) -> None:
    if "cache_gb" in table.model_fields_set and not table.cache:
        raise ConfigError(f"route {table.name}: cache_gb has no effect without `cache = true`")


def _route(table: RouteTable, env: Environment) -> Route:
    endpoints = table.endpoints or [each for each in (table.endpoint or env.runpod_endpoint_id,) if each]
    if not endpoints:
        raise ConfigError(f"RUNPOD_ENDPOINT_ID: missing; set it, or `endpoint` in route {table.name}")
    return Route(
        name=table.name,
        labels=_labels(table, env),
        endpoints=tuple(endpoints),
        max_workers=table.max_workers or env.bridge_max_workers,
        credentials=table.credentials,
        runner_group=table.runner_group,
        job_timeout=table.job_timeout,
        queue_timeout=table.queue_timeout,
        idle_timeout=table.idle_timeout,
        spill_after=table.spill_after,
        repositories=frozenset(name.lower() for name in table.repositories),
        unlabelled=table.unlabelled,
        generic_jobs=table.generic_jobs,
        allow_public_repositories=_either(table.allow_public_repositories, env.bridge_allow_public_repositories),
        allow_forks=_either(table.allow_forks, env.bridge_allow_forks),
        usd_per_day=table.usd_per_day,
        rerun_lost_jobs=table.rerun_lost_jobs,
        cache=table.cache,
        cache_gb=table.cache_gb,
    )


def _labels(table: RouteTable, env: Environment) -> frozenset[str]:
    """A route's labels, without those that every runner has."""
    labels = frozenset(label.lower() for label in table.labels or env.bridge_labels) - frozenset(IMPLIED_LABELS)
    if not labels:
        where = f"route {table.name}: labels" if table.labels else "BRIDGE_LABELS"
        implied = ", ".join(IMPLIED_LABELS)
        raise ConfigError(f"{where}: needs at least one label other than {implied}, which every runner has")
    return labels


def _either(own: bool | None, common: bool) -> bool:
    return common if own is None else own


def _checked(route: Route) -> Route:
    """The route; refused if GitHub or RunPod would end something before the route's times do."""
    if route.credentials is Credentials.JIT and route.queue_timeout > JIT_LIFETIME:
        raise ConfigError(
            f"route {route.name}: queue_timeout is over {JIT_LIFETIME:.0f} s; "
            "GitHub removes an unused runner with jit credentials after that time"
        )
    if route.ttl > MAX_POLICY:
        raise ConfigError(
            f"route {route.name}: queue_timeout, idle_timeout and job_timeout need {route.ttl:.0f} s; "
            f"RunPod keeps a request for at most {MAX_POLICY:.0f} s; set shorter times"
        )
    return route
