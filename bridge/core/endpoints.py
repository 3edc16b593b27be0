"""RunPod endpoints: what the configuration wants, compared with what exists.

Settings have the names that they have in bridge.toml. Durations are seconds, prices USD per hour.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

MARK = "BRIDGE_ENDPOINT"
"""The environment variable that marks an endpoint as created by a bridge; its value says by which and under what name.

RunPod has no labels for endpoints, and their names are not unique.
"""

REDUCED_BY_RUNPOD = (0, 2)
"""`workers_max` after RunPod reduced it: https://docs.runpod.io/serverless/troubleshooting"""


@dataclass(frozen=True, kw_only=True)
class Cpu:
    """A CPU flavor and the number of vCPUs of each worker."""

    flavor: str
    vcpus: int


@dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """The settings of one endpoint, wanted or existing.

    Args:
        name: in RunPod; not unique there.
        image: container image.
        gpu: ids of the GPU pools; empty for a CPU endpoint.
        exclude: ids of GPU types of these pools that are not used.
        gpu_count: GPUs of each worker.
        min_cuda: lowest CUDA version, `major.minor`.
        cuda_versions: the only CUDA versions; a bridge sets none.
        cpu: the alternatives of a CPU endpoint.
        workers_max: workers at a time.
        workers_min: workers that are always kept.
        regions: ids of data centers; empty means any.
        disk_gb: container disk; None means RunPod's default.
        volumes: ids of network volumes.
        registry: id of the registry credentials.
        env: environment variables of the workers.
        timeout: s that one request may run.
        kind: `QUEUE` or `LOAD_BALANCER`.
        scaling: RunPod's scaler and its value.
        flashboot: RunPod's mode.
    """

    name: str
    image: str
    gpu: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    gpu_count: int = 1
    min_cuda: str | None = None
    cuda_versions: tuple[str, ...] = ()
    cpu: tuple[Cpu, ...] = ()
    workers_max: int = 3
    workers_min: int = 0
    regions: tuple[str, ...] = ()
    disk_gb: int | None = None
    volumes: tuple[str, ...] = ()
    registry: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 0.0
    kind: str = "QUEUE"
    scaling: str = "REQUEST_COUNT 1"
    flashboot: str = "OFF"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An endpoint that exists.

    Args:
        id: RunPod's.
        created_at: RunPod's time of creation, ISO 8601; only compared.
        settings: as RunPod reports them.
    """

    id: str
    created_at: str
    settings: EndpointSettings


REDUCTION = "RunPod reduces it to 2 after 3 days without requests, to 0 after 7 days or when workers stay unhealthy"


class Action(StrEnum):
    """What `apply` does with an endpoint."""

    CREATE = "create"
    UPDATE = "update"
    UNCHANGED = "unchanged"
    BLOCKED = "blocked"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One setting that differs.

    Args:
        setting: its name in bridge.toml.
        before: what RunPod has, for a person.
        after: what the configuration wants, for a person.
        note: why it differs, where that is known.
    """

    setting: str
    before: str
    after: str
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class PlannedEndpoint:
    """One `[[endpoint]]` table and what `apply` does about it.

    Args:
        wanted: its settings.
        action: what is done.
        id: of the existing endpoint, None if there is none.
        changes: settings that differ, for UPDATE.
        problem: what a person must do, for BLOCKED.
    """

    wanted: EndpointSettings
    action: Action
    id: str | None = None
    changes: tuple[Change, ...] = ()
    problem: str | None = None


def plan_endpoints(
    wanted: Sequence[EndpointSettings], existing: Sequence[Endpoint], ids: Mapping[str, str]
) -> tuple[PlannedEndpoint, ...]:
    """Decide for each wanted endpoint.

    Args:
        wanted: of the configuration, each with its MARK in `env`.
        existing: all endpoints of the account.
        ids: by name, the ids that earlier runs recorded.
    """
    return tuple(_planned(each, existing, ids.get(each.name)) for each in wanted)


def _planned(wanted: EndpointSettings, existing: Sequence[Endpoint], recorded: str | None) -> PlannedEndpoint:
    candidates = [e for e in existing if e.id == recorded or e.settings.name == wanted.name]
    if len(candidates) > 1:
        found = ", ".join(e.id for e in candidates)
        why = f"{len(candidates)} endpoints could be {wanted.name} ({found}); delete all but one in RunPod's console"
        return PlannedEndpoint(wanted=wanted, action=Action.BLOCKED, problem=why)
    if not candidates:
        return PlannedEndpoint(wanted=wanted, action=Action.CREATE)
    (found_one,) = candidates
    if problem := _problem(wanted, found_one, recorded):
        return PlannedEndpoint(wanted=wanted, action=Action.BLOCKED, id=found_one.id, problem=problem)
    changes = tuple(differences(wanted, found_one.settings))
    action = Action.UPDATE if changes else Action.UNCHANGED
    return PlannedEndpoint(wanted=wanted, action=action, id=found_one.id, changes=changes)


def is_ours(endpoint: Endpoint, mark: str, recorded: str | None) -> bool:
    """Whether this bridge created an endpoint: its id is recorded, or it has our mark."""
    return endpoint.id == recorded or endpoint.settings.env.get(MARK) == mark


def _problem(wanted: EndpointSettings, found: Endpoint, recorded: str | None) -> str | None:
    """Why the existing endpoint cannot become the wanted one."""
    if not is_ours(found, wanted.env[MARK], recorded):
        return f"endpoint {found.id} has this name and was not created by this bridge; use another name in bridge.toml"
    if found.settings.kind != wanted.kind:
        return _immutable(found, f"type {found.settings.kind}", wanted.kind)
    if bool(found.settings.cpu) != bool(wanted.cpu):
        was, wants = ("CPU", "GPU") if found.settings.cpu else ("GPU", "CPU")
        return _immutable(found, f"{was} workers", f"{wants} workers")
    return None


def _immutable(found: Endpoint, was: str, wants: str) -> str:
    name = found.settings.name
    return f"{found.id} has {was}, RunPod cannot change it to {wants}; run `bridge endpoints delete {name}`, then apply"


def differences(wanted: EndpointSettings, actual: EndpointSettings) -> Iterator[Change]:
    """The settings that `apply` changes.

    Args:
        wanted: of the configuration; a `disk_gb` of None accepts any.
        actual: of the endpoint; a longer `timeout` than wanted is accepted, because each request brings its own limit.
    """
    for name in ("name", "image", "gpu_count", "min_cuda", "registry", "scaling", "flashboot", "workers_min"):
        yield from _changed(name, getattr(wanted, name), getattr(actual, name))
    for name in ("gpu", "exclude", "cuda_versions", "cpu", "regions", "volumes"):
        yield from _changed(name, _sorted(getattr(wanted, name)), _sorted(getattr(actual, name)))
    yield from _workers_max(wanted.workers_max, actual.workers_max)
    if wanted.disk_gb is not None:
        yield from _changed("disk_gb", wanted.disk_gb, actual.disk_gb)
    yield from _changed("timeout", f"{max(wanted.timeout, actual.timeout):.0f} s", f"{actual.timeout:.0f} s")
    yield from _env(wanted.env, actual.env)


def _changed(name: str, wanted: object, actual: object) -> Iterator[Change]:
    if wanted != actual:
        yield Change(setting=name, before=_shown(actual), after=_shown(wanted))


def _sorted(values: Sequence[object]) -> tuple[str, ...]:
    """The values as texts in a fixed order, because their order means nothing to RunPod."""
    return tuple(sorted(f"{v.flavor} {v.vcpus} vCPU" if isinstance(v, Cpu) else str(v) for v in values))


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return "none" if value is None else str(value)


def _workers_max(wanted: int, actual: int) -> Iterator[Change]:
    if actual > wanted:
        yield Change(setting="workers_max", before=str(actual), after=str(wanted))
    if actual < wanted:
        note = REDUCTION if actual in REDUCED_BY_RUNPOD else None
        yield Change(setting="workers_max", before=str(actual), after=str(wanted), note=note)


def _env(wanted: Mapping[str, str], actual: Mapping[str, str]) -> Iterator[Change]:
    """The names of the variables, without values: a value in RunPod may be a secret."""
    added, removed = sorted(wanted.keys() - actual.keys()), sorted(actual.keys() - wanted.keys())
    changed = sorted(name for name in wanted.keys() & actual.keys() if wanted[name] != actual[name])
    if not (added or removed or changed):
        return
    parts = [f"{verb} {', '.join(names)}" for verb, names in _verbs(added, changed, removed) if names]
    yield Change(setting="env", before=f"{len(actual)} variables", after="; ".join(parts))


def _verbs(added: list[str], changed: list[str], removed: list[str]) -> tuple[tuple[str, list[str]], ...]:
    return ("add", added), ("change", changed), ("remove", removed)


@dataclass(frozen=True, kw_only=True)
class QuotaFit:
    """Whether the workers of all endpoints of the account fit its quota.

    Args:
        limit: the quota, None if RunPod did not report it.
        before: sum of `workers_max` of all endpoints now.
        after: the same after `apply`.
    """

    limit: int | None
    before: int
    after: int

    @property
    def fits(self) -> bool:
        """Whether RunPod accepts the change: a sum over the quota is refused, unless it does not grow."""
        return self.limit is None or self.after <= max(self.limit, self.before)


def quota_fit(planned: Sequence[PlannedEndpoint], existing: Sequence[Endpoint], limit: int | None) -> QuotaFit:
    """Sum up `workers_max`; a blocked endpoint stays as it is. https://docs.runpod.io/serverless/workers/overview"""
    before = {endpoint.id: endpoint.settings.workers_max for endpoint in existing}
    acted = [each for each in planned if each.action is not Action.BLOCKED]
    kept = sum(workers for id_, workers in before.items() if id_ not in {each.id for each in acted})
    after = kept + sum(each.wanted.workers_max for each in acted)
    return QuotaFit(limit=limit, before=sum(before.values()), after=after)
