"""A worker with one request in virtual time: it registers, listens, runs one job and ends, as runner_image does.

Its answers are those of runner_image/handler.py; its runner behaves as facts/runner.md says.
"""

import asyncio
from typing import TYPE_CHECKING, Any

from bridge.core.model import RequestStatus
from bridge.core.worker import WORKER_GRACE, Credentials, Reason
from tests.simulation.github import Job, Registration
from tests.simulation.loop import START
from tests.simulation.scenario import Endpoint, value_at

if TYPE_CHECKING:
    from tests.simulation.runpod import Request
    from tests.simulation.simulation import Simulation

CONFLICT = 240.0
"""s for which the Listener retries while another process has the session."""

CLOCKS_DIFFER = 900.0
"""s by which a worker's clock may be wrong."""

UNREACHABLE = 60.0
"""s after which a runner that cannot reach GitHub gives up."""

Ended = tuple[RequestStatus, "dict[str, Any] | None", "str | None"]


class Killed(Exception):
    """The container is killed: out of memory, executionTimeout or ttl."""


class Stopped(Exception):
    """RunPod stopped the request: the handler ends the runner and returns."""


class _Failed(Exception):
    """The worker answers with the error `{reason}: {detail}`."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")


class Session:
    """A worker's work on one request, up to its answer.

    Attributes:
        runner: its registration; None before it has one.
        ran: the job that it ran.
        useful: s that the job took.
    """

    def __init__(self, simulation: "Simulation", request: "Request", facts: Endpoint) -> None:
        self._simulation, self._github = simulation, simulation.github
        self._request, self._input, self._facts = request, request.input, facts
        self._mode = Credentials(request.input["mode"])
        self.runner: Registration | None = None
        self._connected = False
        self.ran: Job | None = None
        self.useful = 0.0

    @property
    def _has_key(self) -> bool:
        """Whether the worker has a key to delete its registration."""
        return self._mode in (Credentials.APP, Credentials.PAT)

    @property
    def holds(self) -> Job | None:
        """The job that GitHub gave to its runner and that has not ended."""
        return self.runner.job if self.runner and self._connected else None

    async def run(self) -> Ended:
        """Serve the request.

        Raises:
            Killed: the worker dies by itself, or by its job.
        """
        try:
            return await self._served()
        except _Failed as failed:
            self._leave()
            return RequestStatus.FAILED, None, str(failed)

    def end(self, how: BaseException | None) -> None:
        """The worker is killed or stopped before it answers."""
        runner, job = self.runner, self.holds
        if runner is None or not self._connected:
            return
        self._connected = False
        if isinstance(how, Killed):
            self._github.lose(runner)
        else:
            self._disconnect(runner)
        if job and job is self.ran and job.started is not None:
            self.useful = self._simulation.now - job.started
            if not isinstance(how, Killed):
                self._github.finish(job, runner, "cancelled")

    def _is_late(self, not_after: float) -> bool:
        """Refuse a late request, as runner_image/lateness.py: GitHub's clock counts where the worker's may be wrong."""
        now = self._wall()
        if abs(now - not_after) > CLOCKS_DIFFER:
            return now > not_after
        return self._mode is not Credentials.JIT and self._github.wall() > not_after

    async def _served(self) -> Ended:
        if self._is_late(float(self._input["not_after"])):
            return self._answer(Reason.EXPIRED)
        if self._simulation.occurs(self._facts.vanishes):
            raise Killed
        if self._simulation.occurs(self._facts.crashes):
            raise _Failed(Reason.CRASHED, "RuntimeError: on request")
        runner = await self._registered()
        await self._connect(runner)
        job = await self._job(runner)
        if job is None:
            return self._answer(Reason.NO_JOB)
        return await self._run_job(runner, job)

    def _wall(self) -> float:
        now = self._simulation.now
        return START + now + value_at(self._facts.skew, now, 0.0)

    def _answer(self, reason: Reason, result: str | None = None) -> Ended:
        self._leave()
        output = {"outcome": str(reason), "result": result, "runner_name": self._input["runner_name"]}
        return RequestStatus.COMPLETED, output, None

    def _leave(self) -> None:
        if self.runner and self._connected:
            self._connected = False
            self._disconnect(self.runner)

    def _disconnect(self, runner: Registration) -> None:
        self._github.close_session(runner)
        if self._has_key:
            self._github.delete(runner.id)

    async def _registered(self) -> Registration:
        """The registration in the request, or a new one in token modes."""
        if self._mode is Credentials.JIT:
            found = self._github.registrations.get(int(self._input["jit_config"]))
            if found is None:
                await asyncio.sleep(self._facts.listen)
                raise _Failed(Reason.REGISTRATION_LOST, "The runner registration has been deleted from the server")
            return found
        if self._simulation.occurs(self._facts.cut_off) or self._simulation.within(self._github.facts.unavailable):
            await asyncio.sleep(UNREACHABLE)
            raise _Failed(Reason.GITHUB_UNREACHABLE, "GitHub did not answer")
        await asyncio.sleep(self._facts.configure)
        token = self._input.get("registration_token")
        if self._mode is Credentials.REGISTRATION and self._github.wall() > float(str(token)):
            raise _Failed(Reason.CREDENTIAL_EXPIRED, "GitHub refused the registration token")
        made = self._github.register(
            name=self._input["runner_name"],
            labels=tuple(self._input["runner_labels"]),
            target=self._request.pool[1],
            group=self._input["runner_group"],
            owner=self._request.owner,
        )
        if made is None:
            raise _Failed(Reason.NAME_TAKEN, "GitHub knows a runner of this name already")
        return made

    async def _connect(self, runner: Registration) -> None:
        await asyncio.sleep(self._facts.listen)
        if self._mode is Credentials.JIT and self._simulation.occurs(self._facts.cut_off):
            await asyncio.sleep(UNREACHABLE)
            raise _Failed(Reason.GITHUB_UNREACHABLE, "Runner connect error")
        until = self._simulation.now + CONFLICT
        while not runner.gone and not self._github.open_session(runner):
            if self._simulation.now >= until:
                raise _Failed(Reason.SESSION_CONFLICT, "A session for this runner already exists")
            await asyncio.sleep(30.0)
        if runner.gone:
            raise _Failed(Reason.REGISTRATION_LOST, "the runner no longer exists on the server")
        self.runner, self._connected = runner, True

    async def _job(self, runner: Registration) -> Job | None:
        """Listen until there is a job; None if the idle timeout ends first."""
        until = self._simulation.now + float(self._input["idle_timeout"]) + WORKER_GRACE
        while True:
            if runner.gone:
                raise _Failed(Reason.REGISTRATION_LOST, "the runner no longer exists on the server")
            if runner.job and (job := self._github.pick_up(runner)):
                return job
            runner.news.clear()
            try:
                async with asyncio.timeout_at(until):
                    await runner.news.wait()
            except TimeoutError:
                if self._may_leave(runner):
                    return None

    def _may_leave(self, runner: Registration) -> bool:
        """Stop listening. With a key, delete the registration first, which GitHub refuses if the runner has a job."""
        return not self._has_key or self._github.delete(runner.id)

    async def _run_job(self, runner: Registration, job: Job) -> Ended:
        self.ran = job
        began = self._simulation.now
        spec = job.run.spec
        limit = began + float(self._input["job_timeout"])
        ends = min(began + spec.seconds, limit)
        dies = began + spec.kills_worker if spec.kills_worker is not None else float("inf")
        while self._simulation.now < min(ends, dies) and not job.to_cancel:
            runner.news.clear()
            try:
                async with asyncio.timeout_at(min(ends, dies)):
                    await runner.news.wait()
            except TimeoutError:
                break
        self.useful = self._simulation.now - began
        if self._simulation.now >= dies:
            raise Killed
        if not job.to_cancel and began + spec.seconds > limit:
            self._github.finish(job, runner, "cancelled")
            raise _Failed(Reason.TIMED_OUT, f"the job took over {self._input['job_timeout']:.0f} s")
        result = "Canceled" if job.to_cancel else "Succeeded"
        self._github.finish(job, runner, "cancelled" if job.to_cancel else "success")
        self._connected = False
        await asyncio.sleep(self._facts.leave)
        return self._answer(Reason.COMPLETED, result)
