"""What a person can do about each reason why a job waits. Pure; docs/troubleshooting.md says more."""

from collections.abc import Mapping

from bridge.core.actions import SkipKind

_RETRY = "fix the cause, then run `bridge retry`"

ADVICE: Mapping[SkipKind, str] = {
    SkipKind.NO_ROUTE: "correct `runs-on`, or add a route with these labels",
    SkipKind.LABELS: "correct `runs-on`, or the labels of the route",
    SkipKind.COMMA: "",
    SkipKind.REPOSITORY: "add it to the `repositories` of a route",
    SkipKind.GENERIC: "",
    SkipKind.UNLABELLED: "add labels to `runs-on`",
    SkipKind.NOT_ALLOWED: "set it to serve the job; then you pay for what others push",
    SkipKind.ORIGIN_UNKNOWN: "the next pass asks GitHub",
    SkipKind.RUNNERS_UNKNOWN: "if this stays, see the problems that a pass prints",
    SkipKind.ENDED_UNSEEN: "the next resync asks GitHub",
    SkipKind.GIVEN_UP: "",
    SkipKind.NEW_LEDGER: "keep the ledger between passes",
    SkipKind.MAX_PARALLEL: "`max-parallel` of its matrix holds it back: wait",
    SkipKind.FAILING: _RETRY,
    SkipKind.NOT_DISPATCHED: "check `max-parallel`, the runner group, and whether the repository is archived",
    SkipKind.PAUSED: "run `bridge resume` with its name to end the pause",
    SkipKind.ROUTE_FULL: "wait, or raise `max_workers`",
    SkipKind.ENDPOINT_FULL: "wait, or raise `workers_max` of an endpoint",
    SkipKind.QUOTA: "wait, or raise `worker_quota` if RunPod allows more",
    SkipKind.BUDGET: "",
    SkipKind.NO_PRICE: "",
    SkipKind.BREAKER: "fix what the parentheses name, or see the endpoint's logs",
    SkipKind.NO_ANSWER: "check RunPod's status page and your network",
    SkipKind.REFUSED: _RETRY,
    SkipKind.RATE_LIMITED: "wait",
    SkipKind.REQUESTED: "wait for the worker",
    SkipKind.NO_CAPACITY: "wait, or allow more GPU types on the endpoint",
    SkipKind.UNHEALTHY: "",
}
"""What to do about each kind of reason; empty if the reason says it itself."""
