"""What RunPod tells of one endpoint, and what it means for the routes that use it."""

from collections.abc import Iterator
from dataclasses import dataclass

from bridge.commands.doctor.check import Check, failed, ok, skipped, warning
from bridge.core.account import Rollout, WorkerCounts
from bridge.core.catalog import Offer, Stock, alternatives, stock_of
from bridge.core.endpoints import REDUCED_BY_RUNPOD, REDUCTION, Change, Endpoint, EndpointSettings, differences
from bridge.core.scope import Route

EXISTS, TYPE, WORKERS_MAX, DRIFT = "endpoint.exists", "endpoint.type", "endpoint.workers_max", "endpoint.drift"
SCALING, TIMEOUT, FLASHBOOT, IMAGE = "endpoint.scaling", "endpoint.timeout", "endpoint.flashboot", "endpoint.image"
WORKERS, RELEASE, STOCK = "endpoint.workers", "endpoint.release", "endpoint.stock"

APPLY = "run `bridge endpoints apply`"
LOGS = "read the workers' logs in RunPod's console; `bridge doctor --self-test` tries one"
OWN_CHECKS = frozenset({"workers_max", "timeout", "scaling", "flashboot"})
"""Settings whose difference a check of its own reports."""

MOST_ALTERNATIVES = 3


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One endpoint that a route uses.

    Args:
        name: of its `[[endpoint]]` table, or RunPod's id.
        routes: those that use it.
        wanted: by its table; None if it has none.
        actual: in RunPod.
        workers: now.
        rollout: of the newest release.
        offers: RunPod's catalog for it.
    """

    name: str
    routes: tuple[Route, ...]
    wanted: EndpointSettings | None
    actual: Endpoint
    workers: WorkerCounts
    rollout: Rollout
    offers: tuple[Offer, ...]

    @property
    def stocks(self) -> tuple[Stock, ...]:
        """Price and stock of its pools."""
        return stock_of(self.actual.settings, self.offers)

    def fix(self, by_hand: str) -> str:
        """What to do about a setting: `bridge endpoints apply`, or `by_hand` if it has no table."""
        return APPLY if self.wanted else by_hand


def is_missing(name: str, id_: str, *, is_ours: bool) -> Check:
    """RunPod has no such endpoint."""
    fix = f"{APPLY}, which creates it again" if is_ours else "set the route's endpoint to one that exists"
    return failed(EXISTS, f"RunPod has no endpoint {id_}", fix, subject=name)


def endpoint_checks(seen: Seen) -> Iterator[Check]:
    """All checks of one endpoint. If it is of another type, nothing else matters."""
    yield ok(EXISTS, f"RunPod has endpoint {seen.actual.id}", subject=seen.name)
    kind = _type(seen)
    yield kind
    if seen.actual.settings.kind != "QUEUE":
        return
    yield from (
        workers_max(seen),
        _scaling(seen),
        _timeout(seen),
        _flashboot(seen),
        _image(seen),
        _drift(seen),
        workers_check(seen.name, seen.workers),
        _release(seen),
        _stock(seen),
    )


def _type(seen: Seen) -> Check:
    kind = seen.actual.settings.kind
    if kind == "QUEUE":
        return ok(TYPE, kind, subject=seen.name)
    again = f"run `bridge endpoints delete {seen.name}`, then `bridge endpoints apply`"
    by_hand = "create an endpoint of type queue, and set the route's endpoint to its id"
    evidence = f"{kind}: RunPod queues no requests for it"
    return failed(TYPE, evidence, again if seen.wanted else by_hand, subject=seen.name)


def workers_max(seen: Seen) -> Check:
    """Whether its workers may start, as many as are wanted. Routes with several endpoints share their requests."""
    now, wanted = seen.actual.settings.workers_max, seen.wanted.workers_max if seen.wanted else None
    note = f" ({REDUCTION})" if now in REDUCED_BY_RUNPOD else ""
    by_hand = "raise its maximum of workers in RunPod's console"
    fix = f"run `bridge doctor --fix`, which sets it to {wanted}" if wanted else by_hand
    if now == 0:
        return failed(WORKERS_MAX, f"0: no worker starts{note}", fix, subject=seen.name)
    if wanted and now < wanted:
        return warning(WORKERS_MAX, f"{now} instead of {wanted}{note}", fix, subject=seen.name)
    if wanted and now > wanted:
        return warning(WORKERS_MAX, f"{now} instead of {wanted}", APPLY, subject=seen.name)
    alone = [route for route in seen.routes if len(route.endpoints) == 1]
    most = max(alone, key=lambda route: route.max_workers, default=None)
    if most and most.max_workers > now:
        evidence = f"{now}, but route {most.name} asks for up to {most.max_workers} workers: the others wait"
        return warning(WORKERS_MAX, evidence, "raise workers_max, or lower max_workers of the route", subject=seen.name)
    return ok(WORKERS_MAX, str(now), subject=seen.name)


def _scaling(seen: Seen) -> Check:
    scaling = seen.actual.settings.scaling
    if scaling == EndpointSettings.scaling:
        return ok(SCALING, scaling, subject=seen.name)
    fix = seen.fix("set it to request count 1 in RunPod's console")
    return warning(SCALING, f"{scaling}: not one worker per request", fix, subject=seen.name)


def _timeout(seen: Seen) -> Check:
    timeout = seen.actual.settings.timeout
    longest = max((route.execution_timeout for route in seen.routes), default=0.0)
    if timeout >= longest:
        return ok(TIMEOUT, f"{timeout:.0f} s", subject=seen.name)
    evidence = f"{timeout:.0f} s, a route's requests may run {longest:.0f} s: only their own limit lets jobs finish"
    fix = seen.fix(f"set its execution timeout to {longest:.0f} s in RunPod's console")
    return warning(TIMEOUT, evidence, fix, subject=seen.name)


def _flashboot(seen: Seen) -> Check:
    mode = seen.actual.settings.flashboot
    if mode == EndpointSettings.flashboot:
        return ok(FLASHBOOT, mode, subject=seen.name)
    evidence = f"{mode}: a worker may keep what an earlier job left"
    return warning(FLASHBOOT, evidence, seen.fix("turn it off in RunPod's console"), subject=seen.name)


def _image(seen: Seen) -> Check:
    image = seen.actual.settings.image
    tag = _tag(image)
    if tag and tag != "latest":
        return ok(IMAGE, image, subject=seen.name)
    what = f"{image}: the tag `latest`" if tag else f"{image or 'none'}: no tag, which means `latest`"
    fix = seen.fix("choose the image's version in RunPod's console")
    fix = f"set `image` to a version in bridge.toml, then {fix}" if seen.wanted else fix
    return warning(IMAGE, f"{what}: workers may run different versions", fix, subject=seen.name)


def _tag(image: str) -> str:
    """The tag or the digest; empty if there is none. A colon before a slash is a registry's port."""
    name = image.rpartition("/")[2]
    _, _, digest = name.partition("@")
    return digest or name.partition(":")[2]


def _drift(seen: Seen) -> Check:
    if seen.wanted is None:
        why = "it has no [[endpoint]] table in bridge.toml"
        return skipped(DRIFT, why, subject=seen.name)
    changes = [c for c in differences(seen.wanted, seen.actual.settings) if c.setting not in OWN_CHECKS]
    if not changes:
        return ok(DRIFT, "as in bridge.toml", subject=seen.name)
    evidence = f"differs from bridge.toml: {', '.join(map(_difference, changes))}"
    return warning(DRIFT, evidence, f"read `bridge endpoints plan`, then {APPLY}", subject=seen.name)


def _difference(change: Change) -> str:
    return f"{change.setting} ({change.before} -> {change.after})"


def workers_check(name: str, workers: WorkerCounts) -> Check:
    """Whether workers start and stay well, now."""
    if workers.unhealthy:
        evidence = f"{workers.unhealthy} unhealthy now: they start and fail"
        return failed(WORKERS, evidence, LOGS, subject=name)
    if workers.throttled:
        evidence = f"{workers.throttled} throttled now: RunPod has no free machine for them"
        return warning(WORKERS, evidence, "wait, or add GPU pools or regions to the endpoint", subject=name)
    return ok(WORKERS, "none unhealthy or throttled now", subject=name)


def _release(seen: Seen) -> Check:
    old = seen.rollout.workers - seen.rollout.on_latest
    if old <= 0:
        return ok(RELEASE, "all workers run the newest release", subject=seen.name)
    evidence = f"{old} of {seen.rollout.workers} workers run an older release"
    return warning(RELEASE, evidence, "wait until they have ended", subject=seen.name)


def _stock(seen: Seen) -> Check:
    pools = ", ".join(f"{stock.pool} {stock.level}" for stock in seen.stocks)
    if any(stock.level != "NONE" for stock in seen.stocks):
        return ok(STOCK, pools, subject=seen.name)
    settings = seen.actual.settings
    where = ", ".join(settings.regions) or "any region"
    others = ", ".join(alternatives(settings, seen.offers)[:MOST_ALTERNATIVES])
    fix = f"add one that has stock: {others}" if others else "wait, or allow more regions"
    names = ", ".join(stock.pool for stock in seen.stocks)
    return warning(STOCK, f"none of {names} in {where} now: new workers wait", fix, subject=seen.name)
