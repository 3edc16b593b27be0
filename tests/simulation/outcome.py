"""The result of a simulation: billed workers, jobs and their waits, calls, and broken rules."""

from collections.abc import Mapping
from dataclasses import dataclass, field

GPU_HOUR = 3_600.0


@dataclass(frozen=True, kw_only=True)
class WorkerRecord:
    """A billed worker.

    Args:
        endpoint: its endpoint's id.
        route: the route of its request. This and the next three are None if it had no request.
        target: where its runner was to register.
        asked_for: name of the job whose id is in the runner's name.
        ran: name of the job that its runner ran; None for none.
        outcome: the request's status when the worker ended.
        started: s since the simulation began, with the cold start.
        ended: s; when it stopped.
        useful: s that the job ran on it.
    """

    endpoint: str
    route: str | None
    target: str | None
    asked_for: str | None
    ran: str | None
    outcome: str | None
    started: float
    ended: float
    useful: float

    @property
    def paid(self) -> float:
        """GPU seconds."""
        return self.ended - self.started


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """A workflow job. Times are s since the simulation began, None for never."""

    name: str
    repository: str
    queued: float | None
    started: float | None
    ended: float | None
    conclusion: str | None
    executions: int

    @property
    def wait(self) -> float | None:
        """s from queued to in progress, None if it never ran."""
        return None if self.started is None or self.queued is None else self.started - self.queued


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a simulation.

    Args:
        seconds: how long it lasted.
        workers: all billed workers; those still running are billed until the end.
        jobs: all jobs.
        calls: number of calls by dispatcher and kind ("github get job", "runpod run", ...).
        most_open: by ledger and route, the most requests open at a time, without those whose job has ended.
        problems: how often passes reported each problem.
        violations: broken rules, one line each.
    """

    seconds: float
    workers: tuple[WorkerRecord, ...]
    jobs: tuple[JobRecord, ...]
    calls: Mapping[tuple[str, str], int]
    most_open: Mapping[tuple[str, str], int]
    problems: Mapping[str, int] = field(default_factory=dict)
    violations: tuple[str, ...] = ()

    def started(self, **of: object) -> int:
        """How many workers were started; `of` are fields of WorkerRecord that must be equal."""
        return len(self._of(of))

    def paid(self, *, since: float = 0.0, until: float = float("inf"), **of: object) -> float:
        """GPU seconds paid between `since` and `until` (s); `of` are fields of WorkerRecord that must be equal."""
        return sum(max(0.0, min(w.ended, until) - max(w.started, since)) for w in self._of(of))

    def useful(self, **of: object) -> float:
        """GPU seconds in which jobs ran."""
        return sum(worker.useful for worker in self._of(of))

    def waits(self, prefix: str = "") -> list[float]:
        """s that each job whose name starts with `prefix` waited, to the end of the simulation if it never ran."""
        found = [job for job in self.jobs if job.name.startswith(prefix) and job.queued is not None]
        return [self.seconds - (job.queued or 0.0) if job.wait is None else job.wait for job in found]

    def served(self, prefix: str = "") -> int:
        """How many jobs whose name starts with `prefix` ran to their end."""
        return sum(job.conclusion == "success" for job in self.jobs if job.name.startswith(prefix))

    def called(self, start: str = "", dispatcher: str | None = None) -> int:
        """Calls whose kind starts with `start`, of one dispatcher or of all."""
        return sum(n for (by, kind), n in self.calls.items() if kind.startswith(start) and dispatcher in (None, by))

    def summary(self) -> str:
        """A summary in one line."""
        waits = self.waits()
        longest = f"{max(waits) / 60:.0f} min" if waits else "-"
        return (
            f"{self.started()} workers, {self.paid() / GPU_HOUR:.1f} GPU h paid, "
            f"{self.useful() / GPU_HOUR:.1f} useful; "
            f"{self.served()} of {len(self.jobs)} jobs succeeded, longest wait {longest}; "
            f"most open {max(self.most_open.values(), default=0)}; "
            f"{self.called('github')} GitHub and {self.called('runpod')} RunPod calls; "
            f"{len(self.violations)} violations"
        )

    def _of(self, of: Mapping[str, object]) -> list[WorkerRecord]:
        return [w for w in self.workers if all(getattr(w, name) == value for name, value in of.items())]
