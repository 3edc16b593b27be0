"""Jobs that lost their workers: reads what the decision needs, and asks GitHub for the re-runs that a plan contains."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import structlog

from bridge.controller.observed import Observed
from bridge.controller.ports import GitHubReruns, Ledger, RunPodReader
from bridge.controller.scan import attempt
from bridge.core.lost import LostJob, Rerun, RerunAnswer, RerunState
from bridge.core.rerun import to_look_up
from bridge.core.scope import Scope
from bridge.core.timing import Timing
from bridge.errors import BridgeError, NotYet, OutcomeUnknown, Paced, Problem, RateLimited, Unavailable

log = structlog.get_logger()

_NOT_DONE = (RateLimited, Paced, Unavailable)
"""Errors of calls that GitHub did not carry out, and may carry out later."""


def rerunning(scope: Scope) -> frozenset[str]:
    """The names of the routes that re-run jobs which lost their workers."""
    return frozenset(route.name for route in scope.routes if route.rerun_lost_jobs)


async def look_up(  # noqa: PLR0913, PLR0917 - two readers, and what they are asked about
    lost: Iterable[LostJob],
    seen: Observed,
    github: GitHubReruns,
    runpod: RunPodReader,
    timing: Timing,
    clock: Callable[[], float],
) -> Observed:
    """Add to an observation how the requests of lost jobs ended, and their runs.

    Args:
        lost: jobs that may have lost their workers.
        seen: what was observed so far.
        github: to read.
        runpod: to read.
        timing: how long RunPod's answer is waited for.
        clock: Unix seconds.
    """
    jobs, problems = list(lost), list[Problem]()
    if not jobs:
        return seen
    unknown = {s.id: (s.endpoint, s.request_id) for s in (each.submission for each in jobs if each.error is None)}
    asked = {key: (endpoint, request_id) for key, (endpoint, request_id) in unknown.items() if request_id}
    requests = await attempt(asked, lambda key: runpod.status(*asked[key]), problems)
    runs = {each.job.run_id: each.job.repository for each in to_look_up(jobs, requests, timing, clock())}
    found = await attempt(runs, lambda run_id: github.seen_run(runs[run_id], run_id), problems)
    return replace(seen, requests={**seen.requests, **requests}, runs=found, problems=(*seen.problems, *problems))


class Reruns:
    """Asks GitHub for the re-runs of one plan, each of which the ledger has as ASKED.

    Args:
        github: to ask.
        ledger: to write GitHub's answers to.
        timing: `claim_lease`, within which a call must begin.
        clock: Unix seconds.

    Attributes:
        problems: what GitHub refused or did not answer.
        ended: what became of jobs, as far as it is final.
    """

    def __init__(
        self, github: GitHubReruns, ledger: Ledger, timing: Timing, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._github = github
        self._ledger = ledger
        self._lease = timing.claim_lease
        self._clock = clock
        self.problems: list[Problem] = []
        self.ended: list[Rerun] = []

    async def ask(self, decided: Iterable[Rerun], asked_at: float) -> None:
        """Ask for all re-runs of a plan that was written down at `asked_at` (Unix seconds)."""
        await asyncio.gather(*(self._noting(each, asked_at) for each in decided if each.state is RerunState.ASKED))

    async def _noting(self, asked: Rerun, asked_at: float) -> None:
        try:
            await self._one(asked, asked_at)
        except BridgeError as error:  # of the ledger: the run is looked up later
            self.problems.append(Problem.of(error))

    async def _one(self, asked: Rerun, asked_at: float) -> None:
        if (now := self._clock()) > asked_at + self._lease / 2:  # another dispatcher may soon take over
            why = "the pass was too slow to ask GitHub"
            await self._write(asked, RerunAnswer(state=RerunState.POSTPONED, why=why, until=now, tries=asked.tries - 1))
            return
        try:
            await self._github.rerun_job(asked.job.repository, asked.job_id)
        except BridgeError as error:
            self.problems.append(Problem.of(error))
            answer = self._failed(asked, error)
        else:
            answer = RerunAnswer(state=RerunState.RERUN, why=asked.why, until=0.0, tries=asked.tries)
        if answer:
            await self._write(asked, answer)

    def _failed(self, asked: Rerun, error: BridgeError) -> RerunAnswer | None:
        """What an error means; None if the call may have been accepted."""
        now, why = self._clock(), error.message
        match error:
            case OutcomeUnknown():
                return None
            case NotYet():
                return RerunAnswer(state=RerunState.POSTPONED, why=why, until=now + self._lease, tries=asked.tries)
            case _ if isinstance(error, _NOT_DONE):
                until = max(now, error.retry_at) if isinstance(error, RateLimited) else now + self._lease
                return RerunAnswer(state=RerunState.POSTPONED, why=why, until=until, tries=asked.tries - 1)
            case _:
                return RerunAnswer(state=RerunState.REFUSED, why=why, until=0.0, tries=asked.tries)

    async def _write(self, asked: Rerun, answer: RerunAnswer) -> None:
        now = self._clock()
        written = await self._ledger.transact(lambda transaction: transaction.answer_rerun(asked, answer, now))
        if written and answer.state is not RerunState.POSTPONED:
            self.ended.append(replace(asked, state=answer.state, why=answer.why))


def log_reruns(ended: Iterable[Rerun]) -> None:
    """Log what became of jobs that lost their workers."""
    for each in ended:
        if each.state is RerunState.RERUN:
            log.info("job re-run", job=each.job.id, repository=each.job.repository, why=each.why)
        elif each.state in (RerunState.REFUSED, RerunState.SKIPPED):
            log.warning("job not re-run", job=each.job.id, repository=each.job.repository, why=each.why)
