"""The ledger in a simulation: submissions in memory, and what became of them."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from bridge.core.actions import Claim
from bridge.core.placement import starvation
from bridge.core.scope import Route
from bridge.core.submissions import OPEN_STATES, JobHistory, Starvation, State, Submission
from bridge.core.worker import Reason

_NEW = JobHistory(generation=0, attempts=0, last_claim=0.0, last_end=0.0)


class Ledger:
    """Submissions in memory.

    Attributes:
        open: by runner name, the open submissions.
        history: by id of each job that is not completed.
        moves: (Unix seconds, job id, endpoint) of each request that left a starved endpoint.
    """

    def __init__(self) -> None:
        self.open: dict[str, Submission] = {}
        self.history: dict[int, JobHistory] = {}
        self.moves: list[tuple[float, int, str]] = []
        self._left: defaultdict[str, list[float]] = defaultdict(list)
        self._started: defaultdict[str, list[float]] = defaultdict(list)

    def claim(self, claim: Claim, route: Route, runner_id: int, now: float) -> Submission:
        """Write a claim whose request RunPod has accepted."""
        before = self.history.get(claim.job_id, _NEW)
        self.history[claim.job_id] = replace(before, generation=claim.generation, last_claim=now)
        made = self.open[claim.name] = Submission(
            id=claim.name,
            name=claim.name,
            job_id=claim.job_id,
            generation=claim.generation,
            pool=claim.pool,
            endpoint=claim.endpoint,
            credentials=route.credentials,
            state=State.SUBMITTED,
            since=now,
            created_at=now,
            lease_until=now,
            not_after=now + route.queue_timeout,
            runner_id=runner_id,
            request_id=claim.name,
        )
        return made

    def advance(self, submission: Submission, to: State, now: float, reason: Reason | None = None) -> None:
        """Write a transition."""
        if to is State.STARTED:
            self._started[submission.endpoint].append(now)
        if to in OPEN_STATES:
            started_at = now if to is State.STARTED else submission.started_at
            self.open[submission.name] = replace(submission, state=to, since=now, started_at=started_at)
            return
        del self.open[submission.name]
        if reason is Reason.STARVED:
            self._left[submission.endpoint].append(now)
            self.moves.append((now, submission.job_id, submission.endpoint))
        if to is not State.FINISHED and submission.job_id in self.history:
            before = self.history[submission.job_id]
            moved = reason is Reason.STARVED
            ended = before.last_end if moved else now
            self.history[submission.job_id] = replace(before, last_end=ended, moves=before.moves + moved)

    def forget(self, job_ids: Iterable[int]) -> None:
        """Drop the history of jobs that are completed."""
        for job_id in job_ids:
            self.history.pop(job_id, None)

    def starvations(self, after: float) -> dict[str, Starvation]:
        """As `bridge.ledger.placement.starvations`."""
        recent = {endpoint: [at for at in times if at > after] for endpoint, times in self._left.items()}
        return {each: starvation(times, self._started[each]) for each, times in recent.items() if times}
