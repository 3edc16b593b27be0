"""Which jobs that lost their worker are re-run, and why each other one is not. Pure.

GitHub fails a job whose runner vanished, and does not queue it again. A re-run is a new attempt of the run, with a new
id for the job. So a job is the same in two attempts if its run and its name, with the values of its matrix, are the
same: GitHub shows nothing else that lasts. Jobs of one run that share a name are counted together.

Two things show that a worker was lost: RunPod says how the request ended, and GitHub shows the job's steps. A job that
failed by itself has a failed step. In one whose runner vanished, the step that was running never ends: its conclusion
stays null (https://github.com/xroche/httrack/issues/795).
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from bridge.core.lost import LostJob, Rerun, RerunRecord, RerunState, SeenJob, SeenRun
from bridge.core.model import Request, RequestStatus
from bridge.core.scope import Route
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import State
from bridge.core.timing import Timing
from bridge.core.worker import SECOND_DELIVERY, Reason

MOST_TRIES = 3
"""Calls for one re-run, if GitHub does not answer them, or says that the run has not ended."""

LATEST = 86_400.0
"""s after a job's end in which it may be re-run. After that, somebody has looked at it or does not need it."""

LOST_KEPT = 2 * LATEST
"""s after the end of its submission in which a failed job is decided about."""

OLDEST_RUN = 30 * 86_400.0
"""s; GitHub re-runs no older run.

https://docs.github.com/actions/how-tos/manage-workflow-runs/re-run-workflows-and-jobs
"""


class Ending(StrEnum):
    """How a request ended whose runner had a job that GitHub failed."""

    OPEN = "open"
    OWN = "own"  # its worker saw the job's end
    LOST = "lost"
    CANCELLED = "cancelled"
    TOO_LONG = "too long"
    UNCLEAR = "unclear"  # RunPod cannot tell: only the job's steps can


class Ended(NamedTuple):
    """How a request ended, and what shows it in one line."""

    how: Ending
    why: str


def ending(lost: LostJob, request: Request | None, timing: Timing, now: float) -> Ended:
    """Whether RunPod's word shows that a job lost its worker.

    Args:
        lost: the job.
        request: RunPod's answer now; None if it was not asked or did not answer.
        timing: how long RunPod's answer is waited for.
        now: Unix seconds.
    """
    if lost.error is not None:
        return _of_error(lost.error)
    if lost.submission.state is State.CANCELLED:
        return Ended(Ending.CANCELLED, "its request was cancelled on RunPod")
    if lost.submission.state is State.FAILED:
        return Ended(Ending.LOST, lost.submission.detail or f"its request ended as {lost.submission.reason}")
    if lost.submission.request_id is None:
        return Ended(Ending.UNCLEAR, "RunPod never returned the id of its request")
    if request is None:
        return Ended(Ending.OPEN, "RunPod has not said yet how its request ended")
    return _of_request(request, late=now >= _ended_at(lost) + timing.last_answer)


def _ended_at(lost: LostJob) -> float:
    """Unix seconds when a job ended, as GitHub says, or else when its submission did."""
    return lost.submission.since if lost.job.completed_at is None else lost.job.completed_at


def _of_error(error: str) -> Ended:
    if error.partition(": ")[0] == Reason.TIMED_OUT:
        return Ended(Ending.TOO_LONG, "it ran for longer than the job_timeout of its route")
    return Ended(Ending.LOST, error)


def _of_request(request: Request, *, late: bool) -> Ended:
    """How a request ended that the ledger knows no error of."""
    match request.status:
        case RequestStatus.COMPLETED if (request.output or {}).get("outcome") == Reason.COMPLETED:
            return Ended(Ending.OWN, "its worker saw the job's end")
        case RequestStatus.COMPLETED:
            return Ended(Ending.UNCLEAR, "a second worker of its request got no job")
        case RequestStatus.FAILED if (request.error or "").partition(": ")[0] in SECOND_DELIVERY:
            return Ended(Ending.UNCLEAR, "a second worker got its request")
        case RequestStatus.FAILED:
            return _of_error(request.error or "its request failed")
        case RequestStatus.TIMED_OUT:
            return Ended(Ending.LOST, "RunPod ended the request at its executionTimeout")
        case RequestStatus.CANCELLED:
            return Ended(Ending.CANCELLED, "its request was cancelled on RunPod")
        case RequestStatus.MISSING:
            return Ended(Ending.UNCLEAR, "RunPod no longer knows its request")
        case _ if late:
            return Ended(Ending.UNCLEAR, "RunPod still shows its request as running")
        case _:
            return Ended(Ending.OPEN, "RunPod has not said yet how its request ended")


def decide(snapshot: Snapshot, now: float) -> tuple[Rerun, ...]:
    """Decide about every job that may have lost its worker. GitHub re-runs one job of a run at a time.

    Args:
        snapshot: with the jobs, what is written down of their runs, and what GitHub shows of them.
        now: Unix seconds.
    """
    routes = {route.name: route for route in snapshot.routes}
    records: dict[int, list[RerunRecord]] = defaultdict(list)
    for record in snapshot.reruns:
        records[record.run_id].append(record)
    busy = {record.run_id for record in snapshot.reruns if record.state is RerunState.ASKED}
    decided: list[Rerun] = []
    for lost in sorted(snapshot.lost, key=lambda each: each.job.id):
        found = _Case(lost, routes[lost.submission.pool.route], records[lost.job.run_id], snapshot, now).decide(busy)
        if found.state is RerunState.ASKED:
            busy.add(lost.job.run_id)
        decided.append(found)
    return tuple(decided)


class _Case:
    """One job that may have lost its worker.

    Args:
        lost: the job.
        route: of its runner.
        records: what is written down of its run.
        snapshot: what was seen.
        now: Unix seconds.
    """

    def __init__(
        self, lost: LostJob, route: Route, records: Sequence[RerunRecord], snapshot: Snapshot, now: float
    ) -> None:
        self._lost, self._job, self._route = lost, lost.job, route
        self._attempt = lost.job.run_attempt or 0
        self._records = records
        self._record = next((record for record in records if record.job_id == lost.job.id), None)
        self._runs: Mapping[int, SeenRun | None] = snapshot.runs
        self._request = snapshot.requests.get(lost.submission.id)
        self._timing, self._now = snapshot.timing, now

    def decide(self, busy: Collection[int]) -> Rerun:
        """What to do. `busy` has the ids of runs of which a job is being re-run."""
        if self._record and self._record.state is RerunState.ASKED:
            return self._answered(self._record)
        if self._record and self._now < self._record.until:
            return self._later(self._record.why)
        ended = ending(self._lost, self._request, self._timing, self._now)
        if ended.how is Ending.OPEN:
            return self._later(ended.why)
        if ended.how is Ending.OWN:
            return self._end(RerunState.NOT_LOST, ended.why)
        if why := self._forbidden(ended):
            return self._end(RerunState.SKIPPED, why)
        if self._job.run_id in busy:
            return self._later("another job of its run is being re-run first")
        if self._job.run_id not in self._runs:
            return self._later("GitHub has not been asked about its run yet")
        return self._of_run(self._runs[self._job.run_id], ended)

    def _forbidden(self, ended: Ended) -> str | None:
        """Why it is not re-run, whatever its run looks like."""
        if ended.how in (Ending.CANCELLED, Ending.TOO_LONG):
            return ended.why
        before = [r for r in self._records if r.name == self._job.name and r.state is RerunState.RERUN]
        if len(before) >= self._route.rerun_lost_jobs:
            times = "once" if len(before) == 1 else f"{len(before)} times"
            return f"it was re-run {times} already, and rerun_lost_jobs of route {self._route.name} allows no more"
        if self._now > _ended_at(self._lost) + LATEST:
            return "it ended more than a day ago"
        if self._job.run_attempt is None:
            return "the ledger does not know which attempt of its run it belongs to"
        return None

    def _of_run(self, run: SeenRun | None, ended: Ended) -> Rerun:
        """Decide by what GitHub shows of its run."""
        if run is None:
            return self._end(RerunState.SKIPPED, "its run no longer exists in GitHub")
        if run.attempt < self._newest:
            return self._later("GitHub does not show the last re-run of its run yet")
        if why := self._untouchable(run):
            return self._end(RerunState.SKIPPED, why, run.attempt)
        shown = self._shown(run)
        if run.completed and shown and shown.step_failed:
            return self._end(RerunState.NOT_LOST, "one of its steps failed", run.attempt)
        if run.completed and (why := self._refuted(shown, ended)):
            return self._end(RerunState.SKIPPED, why, run.attempt)
        return self._asking(run, f"it lost its worker: {ended.why}")

    def _untouchable(self, run: SeenRun) -> str | None:
        """Why no job of its run must be re-run."""
        if run.fork and not self._route.allow_forks:
            return "its run comes from a fork, and its route does not allow forks"
        if run.cancelled:
            return "its run was cancelled, by a person or by a newer run of its concurrency group"
        if run.attempt != self._newest:
            return f"its run was re-run by hand meanwhile: it is at attempt {run.attempt}"
        if self._now > run.created_at + OLDEST_RUN:
            return "its run is older than 30 days, and GitHub re-runs no older one"
        return None

    @property
    def _newest(self) -> int:
        """The newest attempt of its run, if only the bridge has re-run jobs of it since."""
        own = (r for r in self._records if r.state is RerunState.RERUN)
        return self._attempt + sum(r.run_attempt >= self._attempt for r in own)

    def _refuted(self, shown: SeenJob | None, ended: Ended) -> str | None:
        """Why the newest attempt of its run shows that it must not be re-run."""
        if shown and shown.id != self._job.id and shown.run_attempt > self._attempt:
            return f"it ran again in attempt {shown.run_attempt} of its run"
        if ended.how is Ending.UNCLEAR and not (shown and shown.step_open):
            return f"it is not clear whether it lost its worker or failed by itself: {ended.why}"
        return None

    def _shown(self, run: SeenRun) -> SeenJob | None:
        """The job in the newest attempt: by its id, or by its name if only one job has it."""
        of_id = next((job for job in run.jobs if job.id == self._job.id), None)
        named = [job for job in run.jobs if job.name == self._job.name]
        return of_id or (named[0] if len(named) == 1 else None)

    def _answered(self, asked: RerunRecord) -> Rerun:
        """Find out what became of a call whose answer is not known."""
        if self._now < asked.until:
            return self._later("GitHub is being asked to re-run it")
        run = self._runs.get(self._job.run_id)
        if self._job.run_id not in self._runs or (run and run.at < asked.until):
            return self._later("GitHub did not answer; its run is looked up before anything is repeated")
        if run is None:
            return self._end(RerunState.SKIPPED, "its run no longer exists in GitHub")
        if run.attempt > asked.run_attempt:
            return self._made(RerunState.RERUN, asked.why, asked.run_attempt, asked.tries)
        return self._asking(run, asked.why)

    def _asking(self, run: SeenRun, why: str) -> Rerun:
        """Ask GitHub for the re-run, unless that has been tried often enough."""
        tries = self._record.tries if self._record else 0
        if tries >= MOST_TRIES:
            return self._end(RerunState.REFUSED, f"GitHub did not do it in {tries} calls; re-run it by hand")
        if not run.completed:
            return self._later("its run has other jobs that have not ended, and GitHub re-runs no job before that")
        shown = self._shown(run)
        job_id = shown.id if shown else self._job.id
        return self._made(RerunState.ASKED, why, run.attempt, tries + 1, job_id)

    def _later(self, why: str) -> Rerun:
        return self._made(None, why)

    def _end(self, state: RerunState, why: str, attempt: int = 0) -> Rerun:
        return self._made(state, why, attempt, self._record.tries if self._record else 0)

    def _made(
        self, state: RerunState | None, why: str, attempt: int = 0, tries: int = 0, job_id: int | None = None
    ) -> Rerun:
        return Rerun(
            job=self._job,
            route=self._lost.submission.pool.route,
            state=state,
            job_id=job_id or self._job.id,
            run_attempt=attempt,
            tries=tries,
            why=why,
        )


def to_look_up(
    lost: Collection[LostJob], requests: Mapping[str, Request], timing: Timing, now: float
) -> Iterator[LostJob]:
    """The lost jobs whose runs GitHub must be asked about.

    Args:
        lost: jobs that may have lost their workers.
        requests: RunPod's answers, by submission id.
        timing: how long RunPod's answer is waited for.
        now: Unix seconds.
    """
    for each in lost:
        if ending(each, requests.get(each.submission.id), timing, now).how in (Ending.LOST, Ending.UNCLEAR):
            yield each
