"""`bridge demo --kill-worker`: one worker is killed in the middle of its job, as if its machine failed."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from bridge.config.file import RouteTable
from bridge.core.lost import OPEN_RERUNS, RerunState
from bridge.emulator.cloud import Cloud
from bridge.emulator.github.model import Limits
from bridge.emulator.github.state import Job

LOST_AFTER = 10.0
"""s after which the emulated GitHub fails the job of a killed worker, instead of 10 min."""


@dataclass(kw_only=True)
class Killing:
    """Kills one worker, and follows what becomes of its job.

    Args:
        wanted: whether a worker is killed at all.
        reruns: how often the routes re-run a job that has lost its worker.
        victim: the job whose worker was killed last.
        at: Unix seconds, when it was killed.
        cancelled: names of jobs of other runners that were cancelled, so that the run could end.
        decided: by job id, what the bridge's passes say of re-runs: the state and the reason.
    """

    wanted: bool = False
    reruns: int = 0
    victim: Job | None = None
    at: float = 0.0
    cancelled: list[str] = field(default_factory=list)
    decided: dict[int, tuple[str | None, str]] = field(default_factory=dict)

    def limits(self) -> Limits | None:
        """GitHub's limits; None for the usual ones."""
        return Limits(pickup=60.0, heartbeat=LOST_AFTER, renewal=LOST_AFTER) if self.wanted else None

    def prepare(self, cloud: Cloud) -> None:
        """Let RunPod fail the requests of killed workers, and the App re-run jobs if a route wants it."""
        if self.wanted:
            for config in cloud.runpod.state.endpoints.values():
                config.redeliver = False
        if self.reruns:
            cloud.github.app.permissions["actions"] = "write"

    def strike(self, cloud: Cloud) -> None:
        """Kill the worker of a running job, unless that was done. A job that ended before GitHub missed its worker
        has escaped: then another one is tried. GitHub counts from the last call of the runner, before it was killed.
        """
        ended_at = self.victim.completed_at if self.victim else None
        if not self.wanted or (self.victim and (ended_at is None or ended_at >= self.at + LOST_AFTER / 2)):
            return
        running = [job for job in cloud.github.state.jobs.values() if job.status == "in_progress" and job.executions]
        workers = {r.input.get("runner_name"): r.workers for r in cloud.runpod.state.requests.values()}
        for job in running:
            if held := workers.get(job.executions[-1]):
                self.victim, self.at = job, cloud.github.state.clock()
                cloud.runpod.scaler.kill(held[-1])
                return

    def end_others(self, cloud: Cloud, ignored: Collection[int]) -> None:
        """Cancel the jobs of other runners in the victim's run: they never end here, and GitHub re-runs a job only when
        its run has ended.
        """
        if not self.reruns or self.victim is None or self.victim.status != "completed":
            return
        for job in list(cloud.github.state.runs[self.victim.run_id].jobs.values()):
            if job.id in ignored and job.status != "completed":
                cloud.github.state.cancel_job(job)
                self.cancelled.append(job.spec.name)

    def heard(self, document: dict[str, Any]) -> None:
        """Note what a pass says of re-runs."""
        for each in document["reruns"] if self.wanted else ():
            self.decided[each["job_id"]] = each["state"], each["why"]

    def over(self) -> bool:
        """Whether GitHub has failed the job, and the bridge has decided whether it is re-run."""
        if self.victim is None or self.victim.status != "completed":
            return self.victim is None
        return not self.reruns or self.decided.get(self.victim.id, (None, ""))[0] not in (None, *OPEN_RERUNS)

    def notes(self) -> Iterator[str]:
        """What happened, in lines for a person; none if no worker was to be killed."""
        if not self.wanted:
            return
        for name in self.cancelled:
            yield f"cancelled: {name}: it is for other runners, and its run had to end before a job could be re-run"
        if self.victim is None:
            yield "killed: none: no job ran long enough"
            return
        name, runner = self.victim.spec.name, self.victim.executions[-1]
        yield f"killed: {name}: the worker of {runner}; GitHub ended the job as {self.victim.conclusion}"
        if not self.reruns:
            yield f"not re-run: {name}: --rerun-lost-jobs is 0"
        elif self.victim.id in self.decided:
            state, why = self.decided[self.victim.id]
            yield f"{'re-run' if state == RerunState.RERUN else state or 'not re-run yet'}: {name}: {why}"


def rerunning(tables: list[RouteTable], times: int) -> list[RouteTable]:
    """The routes, each of which re-runs a job that has lost its worker so often, whatever bridge.toml says."""
    return [table.model_copy(update={"rerun_lost_jobs": times}) for table in tables]
