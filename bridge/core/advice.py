"""What a person can do about each reason why a job waits. Pure; docs/troubleshooting.md says more."""

_FIX_LABELS = "correct `runs-on`, or the labels of the route"
_RETRY = "fix the cause, then run `bridge retry`"
_NOT_DISPATCHED = "check `max-parallel`, the runner group, and whether the repository is archived"

ADVICE = (
    ("write runs-on: [", ""),
    (" lacks ", _FIX_LABELS),
    ("no route serves the repository ", "add it to the `repositories` of a route"),
    ("no route has any of the labels ", "correct `runs-on`, or add a route with these labels"),
    ("it asks only for labels that every runner has", ""),
    ("it names a runner group and no labels", "add labels to `runs-on`"),
    ("does not set allow_public_repositories", "set it to serve the job; then you pay for what others push"),
    ("does not set allow_forks", "set it to serve the job; then you pay for what others push"),
    ("it is not known yet whether its run comes from a fork", "the next pass asks GitHub"),
    ("have not been read from GitHub recently", "if this stays, see the problems that a pass prints"),
    ("GitHub has not been asked about the job since", "the next resync asks GitHub"),
    ("has reached its max_workers of ", "wait, or raise `max_workers`"),
    ("as the worker_quota of ", "wait, or raise `worker_quota` if RunPod allows more"),
    ("as its workers_max of ", "wait, or raise `workers_max` of an endpoint"),
    ("RunPod has no capacity for its workers", "wait, or allow more GPU types on the endpoint"),
    ("its workers are unhealthy", ""),
    ("already requested", "wait for the worker"),
    ("jobs of its run are in progress", "`max-parallel` of its matrix holds it back: wait"),
    ("runners failed before they took a job", _RETRY),
    ("given up: it has been queued for more than a day", ""),
    ("runners in a day did not get this job", ""),
    ("GitHub gives no job to runners of route ", _NOT_DISPATCHED),
    ("stuck: ", _NOT_DISPATCHED),
    ("and this ledger is new", "keep the ledger between passes"),
    ("requests failed (", "check RunPod's status page and your network"),
    ("workers failed (", "fix what the parentheses name, or see the endpoint's logs"),
    ("has reached a rate limit", "wait"),
    ("was refused: ", _RETRY),
)
"""A part of the reason, and what to do; empty if the reason says it itself. The first part that occurs counts."""


def advice(why: str) -> str | None:
    """What to do about a reason; empty if the reason says it itself, None if the reason is not known."""
    return next((todo for part, todo in ADVICE if part in why), None)
