"""What RunPod's answers say about the two keys."""

from collections.abc import Collection, Mapping

from bridge.commands.doctor.check import Check, failed, ok, skipped
from bridge.core.model import EndpointHealth
from bridge.errors import AuthError, BridgeError, Rejected

RUN_TIME, MANAGEMENT = "runpod.key", "runpod.management_key"

Health = Mapping[str, EndpointHealth | BridgeError]
"""By endpoint id: the endpoint's health by the run-time key, or why it could not be read."""

KEY_FIX = "set RUNPOD_MANAGEMENT_API_KEY for this command to a RunPod key that may manage endpoints"
LATER = "run `bridge doctor` again later"
NEEDS_MANAGEMENT = "the settings, releases and stock of endpoints, the quota and the spend limit were not checked"


def is_unknown(error: BridgeError) -> bool:
    """Whether RunPod accepted the key and knows no such endpoint."""
    return isinstance(error, Rejected) and error.status == 404


def run_time(health: Health, names: Mapping[str, str], existing: Collection[str] = ()) -> list[Check]:
    """The run-time key: one check if all is well or the same is wrong everywhere, else one per failing endpoint.

    Args:
        health: of each endpoint.
        names: of the endpoints.
        existing: ids that the management key sees.
    """
    errors = {id_: _trouble(seen, id_ in existing) for id_, seen in health.items() if isinstance(seen, BridgeError)}
    troubles = {id_: trouble for id_, trouble in errors.items() if trouble}
    if not troubles:
        return [ok(RUN_TIME, f"RunPod accepts RUNPOD_API_KEY for {', '.join(names.values())}")]
    first = next(iter(troubles.values()))
    if len(troubles) == len(health) and len({fix for _, fix in troubles.values()}) == 1:
        return [failed(RUN_TIME, *first)]
    return [failed(RUN_TIME, *trouble, subject=names[id_]) for id_, trouble in troubles.items()]


def _trouble(error: BridgeError, exists: bool) -> tuple[str, str] | None:
    """Evidence and fix; None if the endpoint is unknown, which `endpoint.exists` says."""
    if not is_unknown(error):
        return in_two(error)
    if exists:
        return (
            "RUNPOD_API_KEY does not see an endpoint that RUNPOD_MANAGEMENT_API_KEY sees",
            "set RUNPOD_API_KEY to a key of the same account that may use the endpoint",
        )
    return None


def in_two(error: BridgeError) -> tuple[str, str]:
    """The evidence and the fix that an error's line has."""
    evidence, _, fix = str(error).partition("; ")
    return evidence, fix or LATER


def not_set() -> Check:
    """There is no management key."""
    return skipped(
        MANAGEMENT,
        f"not set: {NEEDS_MANAGEMENT}",
        fix=KEY_FIX,
    )


def refused(error: BridgeError) -> Check:
    """The management API could not be read."""
    if isinstance(error, Rejected):  # RunPod's own text, which may have any form
        evidence, fix = str(error), LATER
    else:
        evidence, fix = in_two(error)
    fix = KEY_FIX if isinstance(error, AuthError) else fix
    return failed(MANAGEMENT, f"{evidence}: {NEEDS_MANAGEMENT}", fix)


def accepted(endpoints: int) -> Check:
    """The management API answered."""
    return ok(MANAGEMENT, f"RunPod accepts RUNPOD_MANAGEMENT_API_KEY; the account has {endpoints} endpoints")
