"""What idle runners show about queued jobs: which jobs wait, for how long, and what ends the wait."""

import time
from dataclasses import replace
from typing import Any

import pytest

from bridge.core.actions import Plan, Skip, SkipKind, Withdrawal
from bridge.core.evidence import SLOTS, Rounds, judge
from bridge.core.model import JobStatus
from bridge.core.plan import plan
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import IdleRunner, JobHistory, Pool, RunnerUse, State
from bridge.core.timing import Timing
from tests.support.values import NOW, ORG, TIMING, a_job, a_route, a_runner, a_snapshot, a_submission

POOL = Pool("gpu", ORG)
HOUR = 3600.0
DAY_AGO = NOW - TIMING.given_up
FIRST, LONGEST = TIMING.stuck_job


def idle(ended: float, seconds: float = 300.0, **given: Any) -> IdleRunner:
    return IdleRunner(pool=POOL, began=ended - seconds, ended=ended, **given)


def series(*ends: float) -> tuple[IdleRunner, ...]:
    return tuple(idle(end) for end in ends)


def stuck(*jobs: int, **given: Any) -> Snapshot:
    """Jobs queued for a long time."""
    queued = tuple(a_job(n, run_id=n) for n in jobs)
    return a_snapshot(jobs=queued, queued_since=dict.fromkeys(jobs, NOW - 20 * HOUR), **given)


def names(decided: Plan) -> list[str]:
    return [claim.name for claim in decided.claims]


def why(decided: Plan, job_id: int = 1) -> str:
    return next(skip.why for skip in decided.skips if skip.job_id == job_id)


def test_runners_that_are_idle_together_are_one_round() -> None:
    assert Rounds([idle(NOW, 300), idle(NOW + 1, 290), idle(NOW + 400, 300)], 60.0).after(0.0) == [NOW, NOW + 400]


def test_a_runner_is_evidence_only_if_it_listened_for_a_minute_beside_the_queued_job() -> None:
    assert Rounds([idle(NOW, 59)], 60.0).after(0.0) == []
    assert Rounds([idle(NOW, 300)], 60.0).after(NOW - 59) == []
    assert Rounds([idle(NOW, 300)], 60.0).after(NOW - 60) == [NOW]


@pytest.mark.parametrize(("times", "pause"), [(1, FIRST), (2, 2 * FIRST), (4, 8 * FIRST), (9, LONGEST)])
def test_the_pause_before_a_stuck_jobs_next_try_doubles_up_to_hours(times: int, pause: float) -> None:
    snapshot = stuck(1, idle=series(*(NOW - 400.0 * n for n in range(times))))
    assert not plan(snapshot, NOW + pause - 1).claims
    assert why(plan(snapshot, NOW)).startswith("stuck: ")
    assert names(plan(snapshot, NOW + pause)) == ["runpod-1-1"]


@pytest.mark.parametrize(
    ("times", "left", "said"),
    [
        (1, 119.0, "stuck: a runner listened, and GitHub gave it no job; next try in 119 s"),
        (1, 120.0, "stuck: a runner listened, and GitHub gave it no job; next try in 2 min"),
        (2, 120.0, "stuck: 2 runners listened, and GitHub gave them no job; next try in 2 min"),
        (9, LONGEST, "stuck: 9 runners listened, and GitHub gave them no job; next try in 240 min"),
    ],
)
def test_a_stuck_job_shows_its_runners_and_the_next_try(times: int, left: float, said: str) -> None:
    snapshot = stuck(1, idle=series(*(NOW - 400.0 * n for n in range(times))))
    assert why(plan(snapshot, NOW + TIMING.stuck_job.pause(times) - left)) == said


def test_a_job_that_was_queued_after_the_idle_runner_ended_is_served_at_once() -> None:
    snapshot = stuck(1, 2, idle=series(NOW - 10), last_taken={POOL: NOW - 5})
    fresh = replace(snapshot, queued_since={**snapshot.queued_since, 2: NOW - 30})
    assert names(plan(fresh, NOW)) == ["runpod-2-1"]


def test_evidence_ends_when_a_job_that_was_queued_meanwhile_ran_later() -> None:
    assert names(plan(stuck(1, 2, idle=(idle(NOW - 10, refuted=True),)), NOW)) == ["runpod-1-1", "runpod-2-1"]


def test_a_job_is_given_up_a_day_after_its_first_claim() -> None:
    history = {1: JobHistory(generation=7, attempts=0, last_claim=NOW, last_end=NOW - 1, first_claim=DAY_AGO)}
    snapshot = stuck(1, history=history, seen_at={1: NOW})
    assert plan(snapshot, NOW).given_up == (1,)
    assert (
        why(plan(snapshot, NOW))
        == "given up: 7 runners in a day did not get this job; fix the cause, then use `retry 1`"
    )
    assert names(plan(snapshot, NOW - 1)) == ["runpod-1-8"]


# --- several jobs ---


def test_if_several_jobs_are_stuck_their_pool_is_tried_with_one_runner_at_a_time() -> None:
    snapshot = stuck(1, 2, 3, idle=series(NOW))
    assert not plan(snapshot, NOW + TIMING.stuck_pool.first - 1).claims
    decided = plan(snapshot, NOW + TIMING.stuck_pool.first)
    assert names(decided) == ["runpod-1-1"]
    said = "GitHub gives no job to runners of route gpu: 3 jobs are stuck; one runner at a time is tried"
    assert decided.skips == tuple(Skip(job_id=n, kind=SkipKind.NOT_DISPATCHED, why=said, route="gpu") for n in (2, 3))


def test_no_second_runner_is_tried_while_the_first_waits() -> None:
    waiting = a_submission(1, State.SUBMITTED)
    assert not plan(stuck(1, 2, 3, idle=series(NOW), submissions=(waiting,)), NOW + HOUR).claims


def test_the_pauses_between_tries_grow_to_half_an_hour() -> None:
    snapshot = stuck(1, 2, idle=series(*(NOW - 2000.0 * n for n in range(8))))
    assert not plan(snapshot, NOW + TIMING.stuck_pool.longest - 1).claims
    assert plan(snapshot, NOW + TIMING.stuck_pool.longest).claims


def test_when_a_job_of_the_pool_is_taken_several_runners_are_tried_again() -> None:
    """The evidence against each single job remains."""
    snapshot = stuck(1, 2, idle=series(NOW), last_taken={POOL: NOW + 1})
    assert names(plan(snapshot, NOW + TIMING.stuck_job.first)) == ["runpod-1-1", "runpod-2-1"]


def test_a_new_job_of_a_repository_with_stuck_jobs_waits_two_minutes_and_of_another_not_at_all() -> None:
    same, other = a_job(3), a_job(4, repository="acme/api")
    snapshot = stuck(1, 2, idle=series(NOW - 1))
    with_same = replace(snapshot, jobs=(*snapshot.jobs, same), queued_since={**snapshot.queued_since, 3: NOW})
    assert not plan(with_same, NOW).claims
    assert names(plan(with_same, NOW - 1 + TIMING.fresh_job)) == ["runpod-3-1"]
    with_other = replace(snapshot, jobs=(*snapshot.jobs, other), queued_since={**snapshot.queued_since, 4: NOW})
    assert names(plan(with_other, NOW - 1)) == ["runpod-4-1"]


# --- max-parallel ---


def matrix(queued: int, running: int, uses: tuple[RunnerUse, ...]) -> Snapshot:
    jobs = [a_job(n, run_id=9) for n in range(1, queued + 1)]
    jobs += [a_job(100 + n, run_id=9, status=JobStatus.IN_PROGRESS, runner_name="x") for n in range(running)]
    since = dict.fromkeys(range(1, queued + 1), NOW - HOUR)
    return a_snapshot(jobs=tuple(jobs), queued_since=since, idle=series(NOW - 100), uses=uses)


def use(began: float, ended: float | None) -> RunnerUse:
    return RunnerUse(run_id=9, pool=POOL, began=began, ended=ended)


def test_a_run_whose_runners_were_idle_beside_its_own_jobs_gets_no_more_than_it_ever_used() -> None:
    both = (use(NOW - 900, None), use(NOW - 800, None))
    decided = plan(matrix(8, 2, both), NOW)
    assert not decided.claims
    assert why(decided) == "2 jobs of its run are in progress, and the run has never used more than 2 runners at a time"


def test_the_most_runners_of_a_run_are_those_that_it_used_at_the_same_time() -> None:
    uses = (use(NOW - 900, NOW - 800), use(NOW - 700, None), use(NOW - 600, None))
    assert "never used more than 2 runners" in why(plan(matrix(8, 2, uses), NOW))


def test_a_run_that_an_incident_held_back_is_tried_with_one_more_runner() -> None:
    snapshot = matrix(8, 1, (use(NOW - 900, None),))
    due = NOW - 100 + TIMING.held_run.first
    assert not plan(snapshot, due - 1).claims
    assert names(plan(snapshot, due)) == ["runpod-1-1"]


def test_the_pause_before_that_try_counts_every_runner_that_was_idle_beside_the_runs_oldest_job() -> None:
    """Its other jobs were queued later, so fewer runners were idle beside them."""
    snapshot = matrix(3, 1, (use(NOW - 900, None),))
    twice = replace(
        snapshot, idle=series(NOW - 500, NOW - 100), queued_since={1: NOW - HOUR, 2: NOW - HOUR, 3: NOW - 450}
    )
    due = NOW - 100 + TIMING.held_run.pause(2)
    assert not plan(twice, due - 1).claims
    assert names(plan(twice, due)) == ["runpod-1-1"]


def test_each_limited_run_of_a_pool_has_its_own_limit() -> None:
    first = matrix(2, 1, (use(NOW - 900, None),))
    second = [replace(job, id=job.id + 10, run_id=10) for job in first.jobs]
    uses = (*first.uses, RunnerUse(run_id=10, pool=POOL, began=NOW - 900, ended=None))
    since = dict.fromkeys((1, 2, 11, 12), NOW - HOUR)
    decided = plan(replace(first, jobs=(*first.jobs, *second), uses=uses, queued_since=since), NOW)
    assert not decided.claims
    assert [skip.job_id for skip in decided.skips if skip.why.startswith("1 jobs of its run")] == [1, 2, 11, 12]


def test_the_runner_that_a_limited_run_is_tried_with_may_listen_for_two_minutes() -> None:
    long_ago = NOW - 2 * HOUR
    due = NOW - TIMING.held_run.first
    listens = a_submission(1, State.STARTED, since=NOW - TIMING.probe)

    def left(ended: float, *uses: RunnerUse) -> list[str]:
        runners = {ORG: (a_runner(listens.name),)}
        tried = replace(matrix(8, 1, uses), idle=series(ended), submissions=(listens,), runners=runners)
        return [w.submission.name for w in plan(tried, NOW).withdrawals]

    assert left(due, use(long_ago, None)) == [listens.name]
    assert left(due + 1, use(long_ago, None)) == [], "it was requested before that try"
    assert left(due, use(long_ago, None), use(long_ago, NOW - 5)) == [], "the run has used two runners at a time"


def test_jobs_of_another_route_in_the_same_run_do_not_belong_to_its_matrix() -> None:
    """Otherwise a matrix with max-parallel would wait for a long job of the run that is not part of it."""
    snapshot = matrix(8, 0, (use(NOW - 900, NOW - 5),))
    others = [a_job(200, run_id=9, labels=("runpod", "cpu")), a_job(201, run_id=9, labels=("ubuntu-latest",))]
    running = tuple(replace(job, status=JobStatus.IN_PROGRESS, runner_name="x") for job in others)
    routes = (a_route(), a_route(name="cpu", labels=("runpod", "cpu"), endpoint="ep-2"))
    assert names(plan(replace(snapshot, jobs=(*snapshot.jobs, *running), routes=routes), NOW)) == ["runpod-1-1"]


@pytest.mark.timed
def test_thousands_of_jobs_beside_thousands_of_idle_runners_are_judged_in_time() -> None:
    """While a pass plans, nothing else can be written."""
    jobs = range(1, 3001)
    idle_all_day = tuple(idle(NOW - 20 * HOUR + 20 * n, 100.0) for n in range(3000))
    snapshot = stuck(*jobs, idle=idle_all_day)
    began = time.process_time()
    judge(snapshot, {POOL: snapshot.jobs}, NOW)
    assert time.process_time() - began < 2.0


def test_when_a_job_of_a_limited_run_ends_the_next_job_gets_a_runner_at_once() -> None:
    one_ended = (use(NOW - 900, NOW - 5), use(NOW - 800, None))
    assert names(plan(matrix(8, 1, one_ended), NOW)) == ["runpod-1-1"]


def test_a_run_without_running_jobs_is_stuck_like_any_other() -> None:
    before = (use(NOW - 900, NOW - 700),)
    assert why(plan(matrix(8, 0, before), NOW)).startswith("stuck: ")


# --- fair shares ---


def repositories(*counts: int, max_workers: int) -> Snapshot:
    """Repositories with these numbers of jobs; the jobs of the first were queued first."""
    ids = iter(range(1, 100))
    jobs = [a_job(next(ids), repository=f"acme/{n}") for n, count in enumerate(counts) for _ in range(count)]
    return a_snapshot(
        organisation=None,
        routes=(a_route(max_workers=max_workers),),
        jobs=tuple(jobs),
        runners={f"repos/acme/{n}": () for n in range(len(counts))},
    )


def test_the_pools_of_a_route_share_its_max_workers() -> None:
    assert names(plan(repositories(5, 1, 1, max_workers=4), NOW)) == [
        "runpod-1-1", "runpod-6-1", "runpod-7-1", "runpod-2-1",
    ]  # fmt: skip


def test_jobs_with_less_evidence_against_them_come_first() -> None:
    snapshot = repositories(1, 1, max_workers=1)
    against = IdleRunner(pool=Pool("gpu", "repos/acme/0"), began=NOW - HOUR, ended=NOW - HOUR + 300)
    doubted = replace(snapshot, idle=(against,), queued_since={1: NOW - 2 * HOUR, 2: NOW - 10})
    assert names(plan(doubted, NOW)) == ["runpod-2-1"]


def test_a_stuck_job_gets_its_turn_even_if_its_route_always_has_other_jobs() -> None:
    snapshot = repositories(1, 1, max_workers=1)
    before = IdleRunner(pool=Pool("gpu", "repos/acme/0"), began=NOW - 300, ended=NOW)
    snapshot = replace(snapshot, idle=(before,), queued_since={1: NOW - 400})
    busy_until = NOW + TIMING.stuck_job.first + TIMING.turn
    assert names(plan(snapshot, busy_until - 1)) == ["runpod-2-1"]
    assert names(plan(snapshot, busy_until)) == ["runpod-1-1"]


def listening(number: int, seconds: float, repository: str = "acme/0") -> Any:
    target = f"repos/{repository}"
    return a_submission(number, State.STARTED, since=NOW - seconds, pool=Pool("gpu", target))


def with_runners(snapshot: Snapshot, *submissions: Any, **given: Any) -> Snapshot:
    listed: dict[str, Any] = {target: [] for target in snapshot.runners}
    for s in submissions:
        listed[s.pool.target].append(a_runner(s.name, id=100 + s.job_id))
    runners = {target: tuple(found) for target, found in listed.items()}
    return replace(snapshot, submissions=submissions, runners=runners, **given)


def test_an_idle_runner_makes_room_for_a_job_of_another_repository() -> None:
    """The route is full, the jobs of the runner's own pool are stuck, and it has listened for a minute."""
    snapshot = repositories(2, 1, max_workers=1)
    since = dict.fromkeys((1, 2, 3), NOW - HOUR)
    assert not plan(with_runners(snapshot, listening(1, 59.0), queued_since=since), NOW).withdrawals
    listens = listening(1, 60.0)
    assert plan(with_runners(snapshot, listens, queued_since=since), NOW).withdrawals == (
        Withdrawal(
            submission=listens,
            to=State.NO_JOB,
            runner_id=101,
            detail="it listened, and GitHub gave it no job",
        ),
    )


def test_each_blocked_job_of_another_repository_gets_the_place_of_one_idle_runner() -> None:
    since = dict.fromkeys(range(1, 6), NOW - HOUR)
    snapshot = repositories(2, 1, max_workers=2)
    assert withdrawn(with_runners(snapshot, listening(1, 80.0), listening(2, 70.0), queued_since=since)) == [
        "runpod-1-1"
    ]
    alone = repositories(1, 1, max_workers=1)
    assert withdrawn(with_runners(alone, listening(1, 80.0), queued_since=since)) == ["runpod-1-1"]
    own = repositories(2, max_workers=1)
    assert withdrawn(with_runners(own, listening(1, 80.0), queued_since=since)) == []


def test_idle_runners_of_two_full_routes_make_room_at_the_same_time() -> None:
    since = dict.fromkeys(range(1, 5), NOW - HOUR)
    gpu, cpu = ("runpod", "gpu"), ("runpod", "cpu")
    jobs = (
        a_job(1, repository="acme/0"),
        a_job(2, repository="acme/1"),
        a_job(3, repository="acme/0", labels=cpu),
        a_job(4, repository="acme/1", labels=cpu),
    )
    snapshot = replace(
        repositories(1, 1, max_workers=1),
        jobs=jobs,
        routes=(
            a_route(labels=gpu, max_workers=1),
            a_route(name="cpu", labels=cpu, endpoint="ep-2", max_workers=1),
        ),
    )
    second = replace(listening(3, 80.0), pool=Pool("cpu", "repos/acme/0"), endpoint="ep-2")
    assert withdrawn(with_runners(snapshot, listening(1, 80.0), second, queued_since=since)) == [
        "runpod-1-1",
        "runpod-3-1",
    ]


def test_an_idle_runner_makes_no_room_for_a_job_that_is_stuck_itself() -> None:
    against = IdleRunner(pool=Pool("gpu", "repos/acme/1"), began=NOW - 5 * HOUR, ended=NOW - 4 * HOUR)
    since = {1: NOW - HOUR, 2: NOW - HOUR, 3: NOW - 6 * HOUR}
    snapshot = repositories(2, 1, max_workers=1)
    assert not plan(with_runners(snapshot, listening(1, 61.0), queued_since=since, idle=(against,)), NOW).withdrawals


# --- runners that listen and get no job ---


def idlers(count: int, seconds: float, **given: Any) -> Snapshot:
    snapshot = repositories(count, max_workers=50)
    since = dict.fromkeys(range(1, count + 1), NOW - HOUR)
    given = {"queued_since": since, **given}
    return with_runners(snapshot, *(listening(n, seconds + n) for n in range(1, count + 1)), **given)


def withdrawn(snapshot: Snapshot) -> list[str]:
    return [w.submission.name for w in plan(snapshot, NOW).withdrawals]


def test_of_several_runners_that_listen_and_get_no_job_one_is_kept() -> None:
    assert withdrawn(idlers(4, TIMING.quiet)) == ["runpod-2-1", "runpod-3-1", "runpod-4-1"]
    assert withdrawn(idlers(4, TIMING.quiet - 1)) == ["runpod-2-1", "runpod-3-1", "runpod-4-1"]
    assert withdrawn(idlers(4, TIMING.quiet - 10)) == []


def test_idle_runners_of_several_pools_are_withdrawn_at_the_same_time() -> None:
    snapshot = repositories(2, 2, max_workers=50)
    since = dict.fromkeys(range(1, 5), NOW - HOUR)
    runners = [listening(n, 200.0 + n, f"acme/{(n - 1) // 2}") for n in range(1, 5)]
    assert withdrawn(with_runners(snapshot, *runners, queued_since=since)) == ["runpod-2-1", "runpod-4-1"]


def test_a_runner_that_does_not_listen_is_not_withdrawn_for_being_idle() -> None:
    snapshot = idlers(4, TIMING.quiet)
    (target, listed), *_ = snapshot.runners.items()
    offline = tuple(replace(runner, online=runner.name != "runpod-4-1") for runner in listed)
    assert withdrawn(replace(snapshot, runners={target: offline})) == ["runpod-2-1", "runpod-3-1"]


def test_runners_are_kept_until_jobs_have_been_queued_for_a_while() -> None:
    assert withdrawn(idlers(4, 200.0, queued_since=dict.fromkeys(range(1, 5), NOW - 70))) == []


def test_runners_of_a_pool_in_which_a_job_was_taken_recently_are_kept() -> None:
    taken = {Pool("gpu", "repos/acme/0"): NOW - 60}
    assert withdrawn(idlers(4, TIMING.quiet, last_taken=taken)) == []


def test_jobs_that_were_queued_just_now_keep_their_runners() -> None:
    since = {1: NOW - HOUR, 2: NOW - 5, 3: NOW - 5, 4: NOW - 5}
    assert withdrawn(idlers(4, TIMING.quiet, queued_since=since)) == ["runpod-4-1"]
    no_longer = {1: NOW - HOUR, **dict.fromkeys((2, 3, 4), NOW - TIMING.min_listening)}
    assert withdrawn(idlers(4, TIMING.quiet, queued_since=no_longer)) == ["runpod-2-1", "runpod-3-1", "runpod-4-1"]


def test_each_of_as_many_new_jobs_as_runners_keeps_one() -> None:
    snapshot = repositories(3, max_workers=50)
    since = {1: NOW - HOUR, 2: NOW - 5, 3: NOW - 5}
    assert withdrawn(with_runners(snapshot, listening(1, 200.0), listening(2, 200.0), queued_since=since)) == []


def test_the_next_runner_of_a_pool_whose_last_one_was_idle_is_kept_for_two_minutes() -> None:
    before = IdleRunner(pool=Pool("gpu", "repos/acme/0"), began=NOW - 1000, ended=NOW - 500)
    assert withdrawn(idlers(1, TIMING.probe - 10, idle=(before,))) == []
    assert withdrawn(idlers(1, TIMING.probe - 1, idle=(before,))) == ["runpod-1-1"]
    assert withdrawn(idlers(1, TIMING.probe)) == []


def test_the_runner_of_a_job_that_was_queued_after_the_idle_one_is_kept() -> None:
    before = IdleRunner(pool=Pool("gpu", "repos/acme/0"), began=NOW - 1000, ended=NOW - 500)
    assert withdrawn(idlers(1, 200.0, idle=(before,), queued_since={1: NOW - 400})) == []


# --- each pass with a new ledger ---


def unknown(age: float, born: float = 0.0) -> Plan:
    job = a_job(1, created_at=NOW - age)
    return plan(a_snapshot(jobs=(job,), ledger_born=NOW - born), NOW)


def test_a_new_ledger_serves_a_job_that_was_queued_less_than_an_hour_ago() -> None:
    assert names(unknown(TIMING.untried - 1)) == ["runpod-1-1"]
    assert not unknown(TIMING.untried).claims


def test_a_new_ledger_tries_an_older_job_every_four_hours_and_gives_it_up_after_a_day() -> None:
    slots = [n for n in range(1, 288) if unknown(n * TIMING.try_slot + 1).claims]
    assert slots == [*range(1, 12), *range(SLOTS, 288, SLOTS)]
    assert (
        why(unknown(TIMING.given_up + 1))
        == "given up: it has been queued for more than a day, and this ledger is new; re-run the job in GitHub"
    )


def test_a_job_of_a_new_ledger_is_given_up_only_after_a_day() -> None:
    assert names(unknown(TIMING.given_up)) == ["runpod-1-1"]


def test_a_job_that_a_new_ledger_does_not_serve_shows_when_it_is_tried() -> None:
    assert why(unknown(2 * HOUR)) == (
        "queued for 120 min, and this ledger is new: one try every 4 h until the ledger is 10 min old"
    )
    slow = Timing(given_up=1e9, try_slot=300_000.0, new_ledger=36_000.0)
    snapshot = a_snapshot(jobs=(a_job(1, created_at=NOW - 400_000),), ledger_born=NOW, timing=slow)
    assert why(plan(snapshot, NOW)).endswith("one try every 4000 h until the ledger is 600 min old")


def test_a_ledger_of_more_than_ten_minutes_serves_an_older_job() -> None:
    assert not unknown(2 * HOUR).claims
    assert not unknown(2 * HOUR, born=TIMING.new_ledger).claims
    assert names(unknown(2 * HOUR, born=TIMING.new_ledger + 1)) == ["runpod-1-1"]
