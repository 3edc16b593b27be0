"""What a plan contains: the actions to take, and why each other job waits."""

from dataclasses import dataclass

from bridge.core.model import Runner
from bridge.core.submissions import Pool, State, Submission
from bridge.core.worker import Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """Request one runner: claim its name, create its credential, submit its request.

    Args:
        endpoint: RunPod's id of the endpoint that the request goes to.
        placed: why it goes there, one line for a person; empty if its route has no other endpoint.
    """

    pool: Pool
    job_id: int
    name: str
    generation: int
    endpoint: str
    placed: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Transition:
    """Record what was seen of a submission. No service is called."""

    submission: Submission
    to: State
    reason: Reason | None = None
    held_job_id: int | None = None
    result: str | None = None
    detail: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Withdrawal:
    """Delete a submission's registration. Only if GitHub agrees, cancel its request.

    Args:
        to: the state if GitHub agrees. If it refuses, the runner holds a job and the state is busy.
        runner_id: the registration, None if there is none to delete.
        reason: of that state, None for none.
    """

    submission: Submission
    to: State
    runner_id: int | None
    detail: str
    reason: Reason | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Garbage:
    """Delete a registration of ours that no open submission needs. GitHub refuses if the runner is busy."""

    target: str
    runner: Runner


@dataclass(frozen=True, kw_only=True, slots=True)
class Skip:
    """Why a queued job gets no new submission now.

    Args:
        why: one line for a person.
        route: the route it matches, if any.
        nearest: for a job that matches no route, the one that lacks the fewest of its labels.
    """

    job_id: int
    why: str
    route: str | None = None
    nearest: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to do now, and the reason for every queued job that gets nothing.

    Args:
        given_up: ids of jobs that get no more runners until they are retried by hand.
        warnings: what a person should change, one line each.
    """

    claims: tuple[Claim, ...] = ()
    transitions: tuple[Transition, ...] = ()
    withdrawals: tuple[Withdrawal, ...] = ()
    garbage: tuple[Garbage, ...] = ()
    skips: tuple[Skip, ...] = ()
    given_up: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
