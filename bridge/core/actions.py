"""What a plan contains: the actions to take, and why each other job waits."""

from dataclasses import dataclass
from enum import StrEnum

from bridge.core.lost import Rerun
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


class SkipKind(StrEnum):
    """The kinds of reasons why a queued job gets no new submission. Each kind has its own advice."""

    NO_ROUTE = "no_route"  # no route has any of its labels
    LABELS = "labels"  # the nearest route lacks some of its labels
    COMMA = "comma"  # a label with a comma in it: several labels in one text by mistake
    REPOSITORY = "repository"  # no route serves its repository
    GENERIC = "generic"  # it asks only for labels that every runner has
    UNLABELLED = "unlabelled"  # it names a runner group and no labels
    NOT_ALLOWED = "not_allowed"  # a cost guard of its route refuses it
    ORIGIN_UNKNOWN = "origin_unknown"  # whether its run comes from a fork
    RUNNERS_UNKNOWN = "runners_unknown"
    ENDED_UNSEEN = "ended_unseen"  # its last runner ended, and GitHub has not been asked about it since
    GIVEN_UP = "given_up"
    NEW_LEDGER = "new_ledger"  # the ledger is too young to know what was tried
    MAX_PARALLEL = "max_parallel"
    FAILING = "failing"  # its runners fail before they take a job
    NOT_DISPATCHED = "not_dispatched"  # GitHub gives it to no runner
    PAUSED = "paused"  # a person has paused its route
    ROUTE_FULL = "route_full"
    ENDPOINT_FULL = "endpoint_full"  # as many requests as the workers_max of each of its endpoints
    QUOTA = "quota"  # as many requests as workers that the account may have
    BUDGET = "budget"  # what may be spent today is used
    NO_PRICE = "no_price"  # under a budget, and the price of its endpoint is not known
    BREAKER = "breaker"  # the endpoint's workers fail
    NO_ANSWER = "no_answer"  # RunPod does not answer requests to the endpoint
    REFUSED = "refused"
    RATE_LIMITED = "rate_limited"
    REQUESTED = "requested"  # a runner for it is on its way
    NO_CAPACITY = "no_capacity"  # requested, and RunPod has no machine for the worker
    UNHEALTHY = "unhealthy"  # requested, and the endpoint's workers fail their health checks


@dataclass(frozen=True, kw_only=True, slots=True)
class Skip:
    """Why a queued job gets no new submission now.

    Args:
        why: one line for a person.
        route: the route it matches, if any.
        nearest: for a job that matches no route, the one that lacks the fewest of its labels.
        refusal: if a refusal or a rate limit is the reason, its key of bridge.core.refusals.
        due: the end of `why` that changes from pass to pass, such as a countdown; empty if there is none.
    """

    job_id: int
    kind: SkipKind
    why: str
    route: str | None = None
    nearest: str | None = None
    refusal: str | None = None
    due: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cause:
    """A reason that several jobs may have. The fields are those of `Skip`, except that `why` is without `due`."""

    kind: SkipKind
    why: str
    refusal: str | None = None
    due: str = ""

    @property
    def text(self) -> str:
        """The whole reason, one line for a person."""
        return f"{self.why}; {self.due}" if self.due else self.why

    def skip(self, job_id: int, route: str) -> Skip:
        """The reason of one job of a route."""
        return Skip(job_id=job_id, kind=self.kind, why=self.text, route=route, refusal=self.refusal, due=self.due)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to do now, and the reason for every queued job that gets nothing.

    Args:
        given_up: ids of jobs that get no more runners until they are retried by hand.
        warnings: what a person should change, one line each.
        reruns: of jobs that may have lost their workers, with the reason for each that is not re-run.
    """

    claims: tuple[Claim, ...] = ()
    transitions: tuple[Transition, ...] = ()
    withdrawals: tuple[Withdrawal, ...] = ()
    garbage: tuple[Garbage, ...] = ()
    skips: tuple[Skip, ...] = ()
    given_up: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    reruns: tuple[Rerun, ...] = ()
