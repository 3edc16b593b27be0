"""Runners, and the jobs that GitHub gives them. No HTTP."""

import secrets
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from bridge.emulator.github.dispatching import is_idled_out, pairs
from bridge.emulator.github.jit import jit_config
from bridge.emulator.github.model import (
    CONCLUSIONS,
    Choice,
    Job,
    Limits,
    Refused,
    Repository,
    Run,
    Runner,
    iso,
    longest_waiting,
)
from bridge.emulator.github.runs import OnEvent, Runs

__all__ = ["GitHubState", "Job", "Limits", "OnEvent", "Refused", "Repository", "Run", "Runner", "iso", "jit_config"]

TIMEOUT = 360.0
"""Minutes that a job may run without a `timeout-minutes`. The server watches the time, and cancels the job.

https://docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#jobsjob_idtimeout-minutes
"""

CHECKS = 50
"""How many times within the shortest limit all runners are checked."""

CHECKOUT = Path(__file__).parents[1] / "checkout"
"""The folder of what is served as actions/checkout."""


class GitHubState(Runs):
    """The whole model of GitHub: runs and jobs, and the runners that get them.

    Args:
        limits: how long GitHub waits.
        clock: Unix seconds.

    Attributes:
        choose: picks one of the runners that are eligible for a job.
        admitted: by runner group id, the repositories (owner/name) that may use it; a group without an entry admits
            all. https://docs.github.com/actions/how-tos/manage-runners/self-hosted-runners/manage-access
        dispatches: whether queued jobs are given to runners; False for an incident: jobs were seen `queued` for weeks.
        oldest_version: of a runner that GitHub accepts.
        deprecations: by runner version, Unix seconds of its end.
        actions: folders with the actions of other repositories, by owner/name in lower case.
        secrets: that jobs get, by repository (owner/name) and by name.
    """

    def __init__(self, *, limits: Limits | None = None, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock=clock)
        self.limits = limits or Limits()
        self.choose: Choice = longest_waiting
        self.admitted: dict[int, frozenset[str]] = {}
        self.dispatches = True
        self.runners: dict[int, Runner] = {}
        self.oldest_version = (2, 329, 0)
        self.deprecations: dict[str, float] = {}
        self.actions: dict[str, Path] = {"actions/checkout": CHECKOUT}
        self.secrets: defaultdict[str, dict[str, str]] = defaultdict(dict)
        # https://docs.github.com/rest/actions/workflow-runs#list-workflow-runs-for-a-repository
        self.runs_listed = 1000
        self.registration_tokens: dict[str, tuple[str, float]] = {}
        self._idle: dict[int, Runner] = {}
        self._by_name: dict[tuple[str, str], Runner] = {}
        self._by_client: dict[str, Runner] = {}
        self._unsettled = False
        self._checked_at = 0.0

    # --- registrations ---

    def deprecation(self, version: str) -> dict[str, str | None]:
        """The end of a runner's version. A version that GitHub does not know is assumed to be a 404.

        https://docs.github.com/actions/reference/runners/self-hosted-runners#runner-software-updates-on-self-hosted-runners
        """
        if version not in self.deprecations:
            raise Refused(404, "Not Found")
        at = iso(self.deprecations[version])
        return {"runner_version": version, "runtime_deprecates_at": at, "registration_deprecates_at": at}

    def registration_token(self, target: str) -> tuple[str, float]:
        """A token that registers any number of runners at `target`, and when it expires.

        https://docs.github.com/rest/actions/self-hosted-runners#create-a-registration-token-for-an-organization
        """
        token = "A" + secrets.token_hex(14).upper()
        expires_at = self.clock() + self.limits.registration_token
        self.registration_tokens[token] = (target, expires_at)
        return token, expires_at

    def accepts(self, token: str, target: str) -> bool:
        """Whether a registration token is valid for `target`."""
        of_target, expires_at = self.registration_tokens.get(token, ("", 0.0))
        return of_target == target and self.clock() < expires_at

    def add_runner(
        self, target: str, name: str, labels: Iterable[str], *, group_id: int = 1, ephemeral: bool = True
    ) -> Runner:
        """Register a runner; a second one with the same name is refused: 409 of `generate-jitconfig`.

        https://docs.github.com/rest/actions/self-hosted-runners
        """
        if (target, name) in self._by_name:
            raise Refused(409, f"Already exists - A runner with the name {name} already exists.")
        runner = Runner(
            id=self.next_id(),
            name=name,
            target=target,
            labels=tuple(labels),
            group_id=group_id,
            group=self.groups[group_id],
            ephemeral=ephemeral,
            client_id=str(uuid.uuid4()),
        )
        self.runners[runner.id] = self._by_name[target, name] = self._by_client[runner.client_id] = runner
        return runner

    def delete_runner(self, target: str, runner_id: int) -> None:
        """Remove a registration; one that has a job is refused.

        https://docs.github.com/rest/actions/self-hosted-runners#delete-a-self-hosted-runner-from-an-organization
        """
        self.tick()
        runner = self.runners.get(runner_id)
        if not runner or runner.target != target:
            raise Refused(404, "Not Found")
        if runner.job:
            raise Refused(
                422, f'Bad request - Runner "{runner.name}" is still running a job" and cannot be deleted at this time.'
            )
        self._forget(runner)

    def runners_at(self, target: str) -> list[Runner]:
        """The runners registered at `target`, by id."""
        self.tick()
        return [r for r in list(self.runners.values()) if r.target == target]

    def by_client_id(self, client_id: str) -> Runner:
        """The runner with this OAuth client id."""
        found = self._by_client.get(client_id)
        if not found:
            raise Refused(404, "The runner registration has been deleted from the server")
        return found

    def rename_repository(self, old: str, new: str) -> None:
        """Rename a repository and everything that belongs to it, runners included."""
        super().rename_repository(old, new)
        for runner in [r for r in self.runners.values() if r.target == f"repos/{old}"]:
            del self._by_name[runner.target, runner.name]
            runner.target = f"repos/{new}"
            self._by_name[runner.target, runner.name] = runner

    # --- sessions ---

    def online(self, runner: Runner) -> bool:
        """Whether a runner has a session and has called recently."""
        return runner.session is not None and self.clock() < runner.heard_at + self.limits.heartbeat

    def is_deprecated(self, version: str) -> bool:
        """Whether GitHub refuses a version of the runner; a text that is no version, too."""
        parts = version.split(".")
        return not all(part.isdecimal() for part in parts) or tuple(map(int, parts)) < self.oldest_version

    def open_session(self, runner: Runner, version: str) -> str:
        """Start to listen. Refused for old versions, and while the runner has another session.

        https://docs.github.com/actions/reference/runners/self-hosted-runners#runner-software-updates-on-self-hosted-runners
        https://github.com/actions/runner/blob/main/src/Runner.Listener/MessageListener.cs
        """
        if self.is_deprecated(version):
            raise Refused(403, "version_deprecated")
        if self.online(runner):
            raise Refused(409, "A session for this runner already exists.")
        runner.session, runner.version = secrets.token_hex(8), version
        runner.listening_since = runner.heard_at = self.clock()
        self._listen(runner)
        return runner.session

    def close_session(self, runner: Runner) -> None:
        """Stop to listen; an unfinished job is lost. The registration stays."""
        runner.session = None
        self._idle.pop(runner.id, None)

    # --- jobs ---

    def assigned(self, runner: Runner) -> Job | None:
        """The job that waits for this runner to take it."""
        if not self.online(runner):
            self._unsettled = True
        runner.heard_at = self.clock()
        self.tick()
        return runner.job if runner.job and not runner.job.acquired else None

    def acquire(self, runner: Runner, job_id: int) -> Job:
        """Take an assigned job, which is in progress from now on."""
        self.tick()
        job = self.jobs.get(job_id)
        if not job or runner.job is not job:
            raise Refused(409, "The job was assigned to another runner")
        if job.acquired:
            return job  # the runner asks again, because it got no answer
        now = self.clock()
        job.acquired, job.heard_at, job.started_at, job.told_at = True, now, now, 0.0
        job.status = "in_progress"
        job.executions.append(runner.name)
        self.on_event("in_progress", job)
        return job

    def renew(self, runner: Runner, job_id: int) -> bool:
        """Report that a job is still running; whether it was cancelled."""
        job = self._held(runner, job_id)
        job.heard_at = runner.heard_at = self.clock()
        return job.cancelled

    def complete(self, runner: Runner, job_id: int, result: str, outputs: dict[str, str], log: str) -> None:
        """End a job. The registration of an ephemeral runner ends with it.

        https://docs.github.com/actions/reference/runners/self-hosted-runners#ephemeral-runners-for-autoscaling
        """
        job = self._held(runner, job_id)
        job.outputs, job.log = outputs, log
        runner.job = None
        if runner.ephemeral:
            self._forget(runner)
        else:
            self._listen(runner)
        self._conclude(job, CONCLUSIONS[result])

    def tick(self) -> None:
        """Let time pass: take jobs from silent runners, delete idle runners, and assign jobs."""
        now = self.clock()
        limits = self.limits
        shortest = min(limits.pickup, limits.renewal, limits.heartbeat, *(limits.idle or ()))
        if not 0 <= now - self._checked_at < shortest / CHECKS:
            self._checked_at = now
            self._check(now)
        if self._unsettled:
            self._unsettled = False
            self._assign()

    def _check(self, now: float) -> None:
        self._unsettled = True
        for runner in list(self.runners.values()):
            job = runner.job
            if job is None and is_idled_out(runner, self.limits.idle, now):
                self._forget(runner)
            elif job is None:
                continue
            elif not job.acquired and now > job.assigned_at + self.limits.pickup:
                self._requeue(job)
            elif job.acquired and now > job.heard_at + self.limits.renewal:
                self._lose(runner, job)
            elif job.acquired and now > (job.started_at or now) + 60 * (job.spec.timeout or TIMEOUT):
                self.cancel_job(job)

    def _requeue(self, job: Job) -> None:
        """Queue a job again that its runner did not pick up within 60 s. GitHub sends no event.

        https://docs.github.com/actions/reference/runners/self-hosted-runners#routing-precedence-for-self-hosted-runners
        """
        self._take_back(job)
        self._enqueue(job)

    def _lose(self, runner: Runner, job: Job) -> None:
        """Fail a job whose runner "lost communication with the server". It is not queued again.

        The registration stays, offline: https://github.com/actions/runner/issues/1364
        One that was cancelled meanwhile ends as cancelled:
        https://docs.github.com/actions/reference/workflows-and-actions/workflow-cancellation
        """
        runner.session = None
        self._free(runner)
        self._conclude(job, "cancelled" if job.cancelled else "failure")

    def _assign(self) -> None:
        idle = [r for r in list(self._idle.values()) if r.job is None and self.online(r)]
        if not idle or not self.dispatches:
            return
        for job, runner in pairs(list(self._queued.values()), idle, self._admits, self.choose):
            self._idle.pop(runner.id, None)
            self._queued.pop(job.id, None)
            runner.job = job
            job.runner, job.assigned_at, job.acquired, job.told_at = runner, self.clock(), False, 0.0

    def _admits(self, runner: Runner, job: Job) -> bool:
        """Whether the job's repository may use self-hosted runners, and this runner's group."""
        repository = self.repositories[job.repository]
        allowed = self.admitted.get(runner.group_id)
        return not repository.archived and (allowed is None or job.repository in allowed)

    def _take_back(self, job: Job) -> None:
        if job.runner:
            self._free(job.runner)
            job.runner = None

    def _free(self, runner: Runner) -> None:
        runner.job = None
        if runner.session is not None:
            self._listen(runner)

    def _listen(self, runner: Runner) -> None:
        if runner.job is None:
            self._idle[runner.id] = runner
            self._unsettled = True

    def _enqueue(self, job: Job) -> None:
        super()._enqueue(job)
        self._unsettled = True

    def _forget(self, runner: Runner) -> None:
        self.runners.pop(runner.id, None)
        self._idle.pop(runner.id, None)
        self._by_name.pop((runner.target, runner.name), None)
        self._by_client.pop(runner.client_id, None)

    def _held(self, runner: Runner, job_id: int) -> Job:
        if not runner.job or runner.job.id != job_id or not runner.job.acquired:
            raise Refused(409, "The job is not this runner's")
        return runner.job
