"""How long the bridge waits, and for what. All durations are seconds.

They are not settings: a deployment uses the defaults, and the tests pass shorter ones.
"""

from dataclasses import dataclass
from typing import NamedTuple

from bridge.core.worker import BOOT_ALLOWANCE


class Retry(NamedTuple):
    """Pauses between tries that failed: each pause is twice the one before, up to the longest.

    Args:
        first: s after the first failure.
        longest: s.
    """

    first: float
    longest: float

    def pause(self, failures: int) -> float:
        """Seconds until the next try after this many failures in a row, at least one."""
        return min(self.first * 2.0 ** min(failures - 1, 16), self.longest)


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Every duration that a decision depends on, in seconds.

    Args:
        claim_lease: a dispatcher has this long from one record of a submission to the next. After that it has died.
        boot_allowance: a worker has this long to start before its request counts as one without a runner.
        unknown_lease: after a `run` without an answer, until the endpoint's health shows whether RunPod accepted it.
        gone_after: RunPod must answer 404 for this long before a request counts as gone. RunPod has answered 404 for
            two minutes about requests that were running.
        min_listening: a runner that listened for this long while a job was queued, and did not get it, is evidence
            against the job. GitHub assigns a job within seconds.
        evidence_kept: evidence is used for this long: as long as a runner may be requested for a job, and an hour.
        stuck_job: from the end of an idle runner to the next try for a single job.
        stuck_pool: from the end of an idle runner to the next try for a pool in which several jobs are stuck.
        fresh_job: in such a pool, until a job without evidence is tried whose repository has a stuck job.
        held_run: from the end of an idle runner until a run that looks limited by `max-parallel` gets one more.
        failing_job: from one failed runner to the next try for a job whose runners keep failing.
        turn: after its pause, a stuck job that finds its route full waits this long. Then it goes before jobs
            without evidence.
        given_up: from a job's first claim until it gets no more runners. GitHub fails a self-hosted job that was
            queued for a day.
        new_ledger: a ledger is new for this long. It may be that each pass has a new one, and none knows of the
            others' tries.
        untried: a new ledger serves jobs that have been queued for less than this.
        try_slot: a new ledger serves older jobs in one slot of this length out of SLOTS.
        quiet: when several runners of a pool have listened for this long and none got a job, one is kept.
        probe: a runner may listen for this long in a pool whose last runner got no job although one was queued.
        breaker_shortest: the shortest wait from a failure of an endpoint's workers to the next try.
        breaker_longest: the longest such wait.
        starved_kept: a starved endpoint is used carefully for this long after the last request left it.
        starved_longest: the longest time until a starved endpoint is tried again.
        refusal: from one refusal by GitHub or RunPod to the next try.
        refusal_kept: a refusal that nothing has confirmed is forgotten after this long.
        rejected_read: between tries to read something that is refused. A person must change something first.
        failed_read: between tries to read something that cannot be reached.
        look_up_after: a job without news is looked up by itself after this long, between two scans. Later look-ups
            are rarer: the next is when the job is twice as old, because the delivery log shows what happens to it.
        list_stale: a list of runners is too old to act on after this long, unless resyncs are further apart.
        names_every: between two look-ups of the configured repositories' names. Each costs a call, which GitHub does
            not count while nothing has changed.
        reviews_every: between two lists of the runs that wait for a review: a call for each repository.
        last_answer: from the end of a failed job until RunPod must have shown how its request ended. A worker answers
            within seconds; after that, the job's steps show whether it lost its worker.
        review_reread: a run that waits for a review is read again after this long at the latest. A run that is new,
            or that GitHub has updated, is read in the next resync; a run younger than 50 min in every list.
    """

    claim_lease: float = 60.0
    boot_allowance: float = BOOT_ALLOWANCE
    unknown_lease: float = 30.0
    gone_after: float = 180.0
    min_listening: float = 60.0
    evidence_kept: float = 25 * 3600.0
    stuck_job: Retry = Retry(300.0, 4 * 3600.0)
    stuck_pool: Retry = Retry(150.0, 1800.0)
    fresh_job: float = 120.0
    held_run: Retry = Retry(1800.0, 4 * 3600.0)
    failing_job: Retry = Retry(900.0, 4 * 3600.0)
    turn: float = 3600.0
    given_up: float = 86_400.0
    new_ledger: float = 600.0
    untried: float = 3600.0
    try_slot: float = 300.0
    quiet: float = 90.0
    probe: float = 120.0
    breaker_shortest: float = 60.0
    breaker_longest: float = 1800.0
    starved_kept: float = 3600.0
    starved_longest: float = 900.0
    refusal: Retry = Retry(60.0, 1800.0)
    refusal_kept: float = 86_400.0
    rejected_read: Retry = Retry(60.0, 300.0)
    failed_read: Retry = Retry(10.0, 120.0)
    look_up_after: float = 20.0
    list_stale: float = 600.0
    names_every: float = 300.0
    reviews_every: float = 300.0
    review_reread: float = 900.0
    last_answer: float = 120.0
