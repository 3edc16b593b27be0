"""Which runner GitHub gives a job to, and when it gives none. Pure.

https://docs.github.com/actions/reference/runners/self-hosted-runners#routing-precedence-for-self-hosted-runners
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from bridge.emulator.github.model import Choice, Job, Run, Runner
from bridge.emulator.jobs import Gate, JobSpec, RunSpec, Strategy


def pairs(
    queued: Sequence[Job], idle: Sequence[Runner], admits: Callable[[Runner, Job], bool], choose: Choice
) -> Iterator[tuple[Job, Runner]]:
    """Pairs of jobs and runners. The job that was queued first gets its runner first.

    Args:
        queued: jobs, the oldest first.
        idle: runners that listen.
        admits: whether the runner's group admits the job's repository.
        choose: picks one of the eligible runners.
    """
    left = list(idle)
    hopeless: set[tuple[str, str | None, frozenset[str]]] = set()
    for job in queued:
        wanted = (job.repository, job.spec.group, job.demands)
        if wanted in hopeless:
            continue
        eligible = [runner for runner in left if runner.serves(job) and admits(runner, job)]
        if not eligible:
            hopeless.add(wanted)
            continue
        runner = choose(job, eligible)
        left.remove(runner)
        yield job, runner
        if not left:
            return


def is_idled_out(runner: Runner, idle: tuple[float, float] | None, now: float) -> bool:
    """Whether GitHub deletes the registration of an ephemeral runner that has listened without a job for too long.

    GitHub sends no event. Since September 2026 this was seen after 2 to 6 minutes:
    https://github.com/actions/runner/issues/4726

    Args:
        runner: a runner without a job.
        idle: shortest and longest time in s; None for no limit.
        now: Unix seconds.
    """
    if idle is None or runner.session is None or not runner.ephemeral:
        return False
    shortest, longest = idle
    spread = runner.id * 0.618 % 1  # differs between runners, but not between runs of a test
    return now > runner.listening_since + shortest + (longest - shortest) * spread


def is_full(run: Run, strategy: Strategy) -> bool:
    """Whether a matrix has as many unfinished jobs as `max-parallel` allows."""
    jobs = (job for job in run.jobs.values() if job.spec.strategy == strategy)
    unfinished = sum(job.status != "completed" and job.gate is not Gate.MAX_PARALLEL for job in jobs)
    return strategy.max_parallel is not None and unfinished >= strategy.max_parallel


def hindrance(job: JobSpec, of: RunSpec, groups: Iterable[str], others: Iterable[RunSpec]) -> str | None:
    """Why a job would wait forever here; None if it would not.

    Args:
        job: the job.
        of: its run.
        groups: names of the runner groups.
        others: the unfinished runs of the repository.
    """
    if job.group is not None and job.group.lower() not in map(str.lower, groups):
        return f"there is no runner group {job.group}"
    if of.concurrency is None:
        return None
    taken = any(run.concurrency is not None and run.concurrency.lower() == of.concurrency.lower() for run in others)
    return f"another run is in its concurrency group {of.concurrency}" if taken else None


def dependents(run: Run, key: str) -> set[str]:
    """The keys of a job and of all jobs that need it, directly or through others."""
    found = {key}
    while more := {spec.key for spec in run.runnable() if found.intersection(spec.needs)} - found:
        found |= more
    return found
