"""Workflow runs and their jobs, from the queue to the conclusion. Knows no runners.

What a call costs does not grow with the number of ended jobs: benchmarks send thousands of jobs through one model.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from bridge.emulator.github.dispatching import dependents, hindrance, is_full
from bridge.emulator.github.model import GroupRules, Job, Refused, Repository, Run
from bridge.emulator.jobs import Gate, JobSpec, RunSpec

RERUN_WINDOW = 30 * 86_400.0
"""s after its first attempt in which a run can be re-run."""

OnEvent = Callable[[str, Job], None]
"""Called with an action of `workflow_job` (queued, waiting, in_progress, completed) and its job."""


def _ignore(_action: str, _job: Job) -> None:
    """Ignore the event."""


class Runs:
    """Repositories, runs and jobs. Methods that GitHub may refuse raise Refused.

    Args:
        clock: Unix seconds.

    Attributes:
        redirects: ids of renamed repositories, by their old names in lower case.
        groups: names of the runner groups, by id.
        group_rules: by runner group id; a group without an entry has the defaults.
        on_event: called for each change of a job that GitHub announces with a webhook.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.on_event: OnEvent = _ignore
        self.organisations: dict[str, int] = {}
        self.repositories: dict[str, Repository] = {}
        self.redirects: dict[str, int] = {}
        self.groups: dict[int, str] = {1: "Default"}
        self.group_rules: dict[int, GroupRules] = {}
        self.runs: dict[int, Run] = {}
        self.jobs: dict[int, Job] = {}
        self._ids = iter(range(1000, 10**9))
        self._runs_of: defaultdict[str, dict[int, Run]] = defaultdict(dict)
        self._open_runs: defaultdict[str, dict[int, Run]] = defaultdict(dict)
        self._queued: dict[int, Job] = {}

    def next_id(self) -> int:
        """An id that nothing else has."""
        return next(self._ids)

    # --- repositories ---

    def add_organisation(self, name: str) -> None:
        """Add an owner that runners can register at."""
        self.organisations[name] = self.next_id()

    def add_repository(self, full_name: str, **given: bool) -> Repository:
        """Add a repository; its owner need not be an organisation."""
        owner, name = full_name.split("/")
        repository = Repository(id=self.next_id(), owner=owner, name=name, **given)
        self.repositories[full_name] = repository
        return repository

    def rename_repository(self, old: str, new: str) -> None:
        """Rename a repository and everything that belongs to it.

        Args:
            old: owner/name.
            new: owner/name.
        """
        repository = self.repositories.pop(old)
        repository.owner, repository.name = new.split("/")
        self.repositories[new] = repository
        self.redirects[old.lower()] = repository.id
        for runs in (self._runs_of, self._open_runs):
            runs[new] = runs.pop(old, {})
        for run in self._runs_of[new].values():
            run.repository = new
            for job in run.jobs.values():
                job.repository = new

    def spelled(self, path: str) -> str:
        """The spelling of an organisation or owner/name, given in any case.

        Raises:
            Refused: it does not exist.
        """
        known = (*self.organisations, *self.repositories)
        found = path if path in known else next((each for each in known if each.lower() == path.lower()), None)
        if found is None:
            raise Refused(404, "Not Found")
        return found

    # --- runs ---

    def add_run(self, repository: str, spec: RunSpec, workspace: Path | None = None) -> Run:
        """Add a run, and queue its jobs that need no other.

        A job that would wait forever, or for something that is not emulated, is marked as unsupported and not queued.
        """
        others = [run.spec for run in self._open_runs[repository].values()]
        hindrances = {job.key: hindrance(job, spec, self.groups.values(), others) for job in spec.jobs}
        if any(hindrances.values()):
            jobs = tuple(replace(job, unsupported=job.unsupported or hindrances[job.key]) for job in spec.jobs)
            spec = replace(spec, jobs=jobs)
        run = Run(
            id=self.next_id(),
            number=len(self.runs) + 1,
            repository=repository,
            spec=spec,
            workspace=workspace,
            created_at=self.clock(),
        )
        self.runs[run.id] = self._runs_of[repository][run.id] = self._open_runs[repository][run.id] = run
        self._queue_ready(run)
        return run

    def runs_of(self, repository: str, status: str | None = None) -> Iterator[Run]:
        """Runs of a repository, newest first, with this status or conclusion."""
        found = self._open_runs if status in ("queued", "in_progress", "waiting") else self._runs_of
        for run in reversed(list(found[repository].values())):
            if status in (None, run.status, run.conclusion):
                yield run

    def rerun_job(self, repository: str, job_id: int) -> Run:
        """Run a job and those that need it again, as a new attempt of the run, with new ids.

        The other jobs are shown in the new attempt as they were. No page says whether they get new ids; here they keep
        theirs. GitHub refuses a run that has not ended, and one that is older than 30 days.

        https://docs.github.com/rest/actions/workflow-runs#re-run-a-job-from-a-workflow-run
        https://docs.github.com/actions/how-tos/manage-workflow-runs/re-run-workflows-and-jobs
        """
        job = self.jobs.get(job_id)
        if job is None or job.repository != repository:
            raise Refused(404, "Not Found")
        run = self.runs[job.run_id]
        if run.status != "completed":
            raise Refused(403, "The workflow run containing this job is already running")
        if self.clock() > run.created_at + RERUN_WINDOW:
            raise Refused(403, "Unable to re-run this job because the workflow run was created over a month ago")
        for key in dependents(run, job.spec.key):
            run.jobs.pop(key, None)
        run.attempt, run.attempt_at = run.attempt + 1, self.clock()
        self._open_runs[repository][run.id] = run
        self._queue_ready(run)
        return run

    def release(self, job: Job) -> None:
        """Open a job's gate.

        After a deployment review GitHub sends `queued`, also for a job that it announced before, as real
        payloads show.
        """
        gate, job.gate = job.gate, None
        if gate is None or job.status == "completed":
            return
        job.status = "queued"
        self._enqueue(job)
        if gate is Gate.REVIEW:
            self.on_event("queued", job)

    def cancel_job(self, job: Job) -> None:
        """Cancel a job: a waiting one at once, a running one through its runner.

        https://docs.github.com/actions/reference/workflows-and-actions/workflow-cancellation
        """
        if job.status == "in_progress":
            job.cancelled = True
        elif job.status != "completed":
            self._take_back(job)
            self._conclude(job, "cancelled")

    def _take_back(self, job: Job) -> None:
        """Take a job from the runner that it was assigned to."""

    def _enqueue(self, job: Job) -> None:
        """Let runners get a job."""
        self._queued[job.id] = job

    def _conclude(self, job: Job, conclusion: str) -> None:
        self._queued.pop(job.id, None)
        job.status, job.conclusion, job.completed_at = "completed", conclusion, self.clock()
        self.on_event("completed", job)
        self._continue_matrix(self.runs[job.run_id], job)
        self._queue_ready(self.runs[job.run_id])

    def _continue_matrix(self, run: Run, ended: Job) -> None:
        """After a job of a matrix: cancel the others (`fail-fast`), or let the next one run (`max-parallel`).

        https://docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#jobsjob_idstrategy
        """
        strategy = ended.spec.strategy
        if strategy is None:
            return
        unfinished = [job for job in run.jobs.values() if job.spec.strategy == strategy and job.status != "completed"]
        if strategy.fail_fast and ended.result().conclusion == "failure":
            for job in unfinished:
                self.cancel_job(job)
            return
        waiting = next((job for job in unfinished if job.gate is Gate.MAX_PARALLEL), None)
        if waiting and not is_full(run, strategy):
            self.release(waiting)

    def _queue_ready(self, run: Run) -> None:
        """Queue the jobs whose needed jobs have ended. A skipped job may make others ready."""
        while ready := list(self._ready(run)):
            for spec in ready:
                message = spec.message(run.results())
                if message is None:
                    self._end_unqueued(run, spec, "skipped")
                elif "error" in message:
                    self._end_unqueued(run, spec, "failure", str(message["error"]))
                else:
                    self._queue(run, spec, dict(message))
        if run.status == "completed":
            self._open_runs[run.repository].pop(run.id, None)

    def _ready(self, run: Run) -> Iterator[JobSpec]:
        results = run.results()
        for spec in run.runnable():
            if spec.key not in run.jobs and all(key in results for key in spec.needs):
                yield spec

    def _end_unqueued(self, run: Run, spec: JobSpec, conclusion: str, log: str = "") -> None:
        """Add a job that never runs. GitHub sends only its `completed` event (seen in real payloads)."""
        job = self._add_job(run, spec, {})
        job.status, job.conclusion, job.completed_at = "completed", conclusion, job.created_at
        job.log = log
        self.on_event("completed", job)

    def _queue(self, run: Run, spec: JobSpec, message: dict[str, object]) -> None:
        full = spec.strategy is not None and is_full(run, spec.strategy)
        job = self._add_job(run, spec, message)
        job.gate = spec.gate or (Gate.MAX_PARALLEL if full else None)
        if job.gate is Gate.REVIEW:
            job.status = "waiting"
        if job.gate is None:
            self._enqueue(job)
        self.on_event(job.status, job)

    def _add_job(self, run: Run, spec: JobSpec, message: dict[str, object]) -> Job:
        job = Job(
            id=self.next_id(),
            run_id=run.id,
            repository=run.repository,
            spec=spec,
            message=message,
            created_at=self.clock(),
            run_attempt=run.attempt,
        )
        run.jobs[spec.key] = self.jobs[job.id] = job
        return job
