"""What an account's limits mean for its endpoints."""

from collections.abc import Sequence

from bridge.commands.doctor.check import Check, failed, ok, skipped, warning
from bridge.commands.doctor.runpod_endpoint import Seen
from bridge.core.catalog import price_per_hour
from bridge.core.endpoints import QuotaFit

QUOTA, SPEND_LIMIT = "runpod.quota", "runpod.spend_limit"
RAISE_QUOTA = "lower workers_max of an endpoint, or add balance to the account, which raises the quota"


def quota(fit: QuotaFit) -> Check:
    """Whether all endpoints of the account can have their workers at the same time."""
    if fit.limit is None:
        return skipped(QUOTA, "RunPod did not tell the account's quota of workers")
    if fit.before > fit.limit:
        evidence = f"workers_max of all endpoints of the account is {fit.before}, over its quota of {fit.limit} workers"
        return warning(QUOTA, evidence, RAISE_QUOTA)
    if not fit.fits:
        evidence = f"bridge.toml asks for {fit.after} workers in the account, over its quota of {fit.limit}"
        return failed(QUOTA, f"{evidence}: `bridge endpoints apply` would change nothing", RAISE_QUOTA)
    return ok(QUOTA, f"workers_max of all endpoints of the account is {fit.before}, its quota is {fit.limit}")


def spend_limit(seen: Sequence[Seen], limit: float | None) -> Check:
    """Whether all workers of the routes' endpoints may run at the same time; `limit` is USD per hour."""
    if limit is None:
        return skipped(SPEND_LIMIT, "RunPod did not tell the account's spend limit")
    cost = sum(_highest_price(each) * each.actual.settings.workers_max for each in seen)
    what = f"all workers together cost at most ${cost:.2f} per hour, the account's spend limit is ${limit:.2f}"
    if cost > limit:
        fix = "raise the limit in RunPod's console, or lower workers_max"
        return warning(SPEND_LIMIT, f"{what}: RunPod starts no worker above it", fix)
    return ok(SPEND_LIMIT, what)


def _highest_price(seen: Seen) -> float:
    price = price_per_hour(seen.stocks)
    return price[1] if price else 0.0
