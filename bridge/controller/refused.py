"""Which failed calls are refusals of a target, a runner group or an endpoint: `bridge.core.refusals` acts on them."""

from bridge.core.refusals import endpoint_key, group_key, target_key
from bridge.core.scope import Route
from bridge.core.snapshot import Refusal
from bridge.core.timing import Timing
from bridge.errors import AuthError, BridgeError, NameTaken, RateLimited, Rejected


def github_key(target: str, route: Route, error: BridgeError) -> str | None:
    """What a failed registration is a refusal of: the target, the runner group, or None if it is no refusal."""
    if isinstance(error, AuthError | RateLimited):
        return target_key(target)
    if isinstance(error, Rejected) and not isinstance(error, NameTaken):
        return group_key(target, route)
    return None


def runpod_key(endpoint: str, error: BridgeError) -> str | None:
    """What a failed submission is a refusal of: the endpoint, or None if it is no refusal."""
    return endpoint_key(endpoint) if isinstance(error, AuthError | RateLimited | Rejected) else None


def refused(before: Refusal | None, error: BridgeError, timing: Timing, now: float) -> Refusal:
    """A refusal after one more answer.

    Args:
        before: the refusal so far, None for none.
        error: the answer.
        timing: the pauses.
        now: Unix seconds.
    """
    if isinstance(error, RateLimited):
        # A rate limit ends at a known time: no probe is needed.
        return Refusal(at=now, until=max(error.retry_at, now), count=0, why=error.message)
    count = (before.count if before else 0) + 1
    return Refusal(at=now, until=now + timing.refusal.pause(count), count=count, why=error.message)
