"""The decision: demand, supply, limits, names, and a reason for each job that gets no runner."""

import random
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.actions import Plan, Skip, SkipKind, Withdrawal
from bridge.core.evidence import MAX_FAILURES
from bridge.core.model import EndpointHealth, JobStatus, Request, RequestStatus, Runner
from bridge.core.plan import plan
from bridge.core.routing import match
from bridge.core.snapshot import Snapshot
from bridge.core.submissions import OPEN_STATES, WAITING_STATES, JobHistory, Pool, State, Submission
from bridge.core.surplus import MAX_HELD_NAMES
from bridge.core.worker import Credentials, Reason
from tests.support.values import NOW, ORG, TIMING, a_job, a_route, a_runner, a_snapshot, a_submission

IN_QUEUE = RequestStatus.IN_QUEUE


def names(decided: Plan) -> list[str]:
    return [claim.name for claim in decided.claims]


def why(decided: Plan, job_id: int) -> str:
    return next(skip.why for skip in decided.skips if skip.job_id == job_id)


def test_each_queued_job_gets_a_runner_with_a_name_of_its_own() -> None:
    decided = plan(a_snapshot(jobs=(a_job(1), a_job(2))), NOW)
    assert names(decided) == ["runpod-1-1", "runpod-2-1"]
    assert not decided.skips


def test_no_second_runner_is_requested_while_the_first_waits() -> None:
    decided = plan(a_snapshot(jobs=(a_job(1),), submissions=(a_submission(1),)), NOW)
    assert not decided.claims
    said = "already requested: runner runpod-1-1 is submitted"
    assert decided.skips == (Skip(job_id=1, kind=SkipKind.REQUESTED, why=said, route="gpu"),)


def test_a_runner_taken_by_another_job_is_replaced() -> None:
    """Another job runs on the runner that was requested for job 1. So job 1 needs another, under a new name."""
    other = a_job(2, status=JobStatus.IN_PROGRESS, runner_name="runpod-1-1")
    snapshot = a_snapshot(
        jobs=(a_job(1), other),
        submissions=(a_submission(1),),
        history={1: JobHistory(generation=1, attempts=0, last_claim=NOW - 60, last_end=0.0)},
    )
    decided = plan(snapshot, NOW)
    assert names(decided) == ["runpod-1-2"]
    assert [(m.to, m.held_job_id) for m in decided.transitions] == [(State.BUSY, 2)]


def test_the_oldest_jobs_come_first_up_to_max_workers_and_the_others_have_a_reason() -> None:
    routes = (a_route(max_workers=2),)
    decided = plan(a_snapshot(routes=routes, jobs=(a_job(3), a_job(1), a_job(2))), NOW)
    assert names(decided) == ["runpod-1-1", "runpod-2-1"]
    said = "route gpu has reached its max_workers of 2"
    assert decided.skips == (Skip(job_id=3, kind=SkipKind.ROUTE_FULL, why=said, route="gpu"),)


def test_every_job_that_waits_has_a_reason_whichever_route_and_kind_of_reason_comes_last() -> None:
    labels = ("runpod", "cpu")
    routes = (a_route(max_workers=2), a_route(name="cpu", labels=labels, endpoint="ep-2", max_workers=2))
    gpu, cpu = [a_job(n) for n in (1, 2, 3)], [a_job(n, labels=labels) for n in (4, 5, 6)]
    requested = (a_submission(1), a_submission(4, pool=Pool("cpu", ORG), endpoint="ep-2"))
    decided = plan(a_snapshot(routes=routes, jobs=(*gpu, *cpu), submissions=requested), NOW)
    assert names(decided) == ["runpod-2-1", "runpod-5-1"]
    assert [(skip.job_id, skip.why) for skip in decided.skips] == [
        (1, "already requested: runner runpod-1-1 is submitted"),
        (3, "route gpu has reached its max_workers of 2"),
        (4, "already requested: runner runpod-4-1 is submitted"),
        (6, "route cpu has reached its max_workers of 2"),
    ]


def test_the_oldest_job_comes_first_across_repositories() -> None:
    jobs = (a_job(1, repository="acme/a", created_at=NOW - 10), a_job(2, repository="acme/b", created_at=NOW - 20))
    snapshot = a_snapshot(
        organisation=None,
        routes=(a_route(max_workers=1),),
        jobs=jobs,
        runners={"repos/acme/a": (), "repos/acme/b": ()},
    )
    assert names(plan(snapshot, NOW)) == ["runpod-2-1"]


def test_max_workers_holds_over_all_repositories_of_a_route() -> None:
    jobs = (a_job(1, repository="acme/a"), a_job(2, repository="acme/b"))
    snapshot = a_snapshot(
        organisation=None,
        routes=(a_route(max_workers=1),),
        jobs=jobs,
        runners={"repos/acme/a": (), "repos/acme/b": ()},
    )
    assert names(plan(snapshot, NOW)) == ["runpod-1-1"]


def test_upper_and_lower_case_in_the_name_of_a_repository_do_not_matter() -> None:
    """The configuration and GitHub may spell it differently."""
    snapshot = a_snapshot(
        organisation=None,
        jobs=(a_job(1, repository="acme/Web"),),
        submissions=(a_submission(2, pool=Pool("gpu", "repos/acme/web")),),
        runners={"repos/acme/web": (a_runner("runpod-2-1", id=102, online=False),)},
    )
    assert why(plan(snapshot, NOW), 1) == "already requested: 1 waiting runners can take it"


def test_jobs_that_match_no_route_get_no_runner_and_a_reason() -> None:
    jobs = (a_job(1, labels=("ubuntu-latest",)), a_job(2, labels=("runpod", "gpu", "h100")))
    decided = plan(a_snapshot(jobs=jobs), NOW)
    assert not decided.claims
    assert decided.skips == (
        Skip(job_id=1, kind=SkipKind.NO_ROUTE, why='no route has any of the labels "ubuntu-latest"'),
        Skip(job_id=2, kind=SkipKind.LABELS, why='route gpu lacks "h100"', nearest="gpu"),
    )


def test_jobs_with_the_same_labels_get_runners_only_in_the_repositories_that_their_route_serves() -> None:
    routes = (a_route(repositories=frozenset({"acme/web"})),)
    jobs = (a_job(1, repository="acme/api"), a_job(2), a_job(3, repository="acme/api"))
    decided = plan(a_snapshot(jobs=jobs, routes=routes), NOW)
    assert [claim.job_id for claim in decided.claims] == [2]
    assert [(skip.job_id, skip.kind) for skip in decided.skips] == [(1, SkipKind.REPOSITORY), (3, SkipKind.REPOSITORY)]


def test_a_registration_that_nothing_needs_is_deleted_by_a_resync_and_not_again_by_each_event_pass() -> None:
    """An event pass has only the list of the last resync, which has the runner until the next one."""
    ended = a_submission(1, State.FAILED, since=NOW - 30)
    snapshot = a_snapshot(submissions=(ended,), runners={ORG: (a_runner(ended.name, online=False),)})
    assert [item.runner.name for item in plan(snapshot, NOW).garbage] == [ended.name]
    on_events = replace(snapshot, runners_at={ORG: NOW - 10})
    assert not plan(on_events, NOW).garbage


def test_without_a_ledger_our_runners_are_supply_until_their_lease_ends_and_are_deleted_then() -> None:
    """A new container finds a runner that its ledger does not know."""
    unexplained = a_runner("runpod-1-1", online=False)
    snapshot = a_snapshot(jobs=(a_job(1),), runners={ORG: (unexplained,)}, ledger_born=NOW)
    assert not plan(snapshot, NOW).claims
    later = NOW + a_route().lease
    decided = plan(snapshot, later)
    assert names(decided) == ["runpod-1-2"]
    assert [item.runner.name for item in decided.garbage] == ["runpod-1-1"]


def test_a_busy_runner_that_no_row_explains_counts_against_max_workers_but_is_no_supply() -> None:
    unexplained = a_runner("runpod-9-1", busy=True)
    snapshot = a_snapshot(routes=(a_route(max_workers=1),), jobs=(a_job(1),), runners={ORG: (unexplained,)})
    assert not plan(snapshot, NOW).claims
    roomy = replace(snapshot, routes=(a_route(max_workers=2),))
    assert names(plan(roomy, NOW)) == ["runpod-1-1"]


def test_the_runners_of_others_are_never_deleted() -> None:
    others = (
        a_runner("builder-1"),
        a_runner("runpod-1-1", labels=("self-hosted", "gpu")),  # our name by chance, not our label
        a_runner("other-1-1"),
    )
    decided = plan(a_snapshot(runners={ORG: others}), NOW + 1e9)
    assert not decided.garbage


def test_a_registration_whose_submission_ended_is_deleted_unless_its_runner_is_busy() -> None:
    ended = a_submission(1, State.FAILED, reason=Reason.CRASHED)
    snapshot = a_snapshot(submissions=(ended,), runners={ORG: (a_runner(ended.name),)})
    assert [item.runner.name for item in plan(snapshot, NOW).garbage] == [ended.name]
    busy = replace(snapshot, runners={ORG: (a_runner(ended.name, busy=True),)})
    assert not plan(busy, NOW).garbage


def test_a_runner_whose_name_was_taken_belongs_to_another_copy_and_counts_as_supply() -> None:
    refused = a_submission(1, State.FAILED, reason=Reason.NAME_TAKEN, runner_id=None)
    snapshot = a_snapshot(jobs=(a_job(1),), submissions=(refused,), runners={ORG: (a_runner(refused.name),)})
    decided = plan(snapshot, NOW)
    assert not decided.claims
    assert not decided.garbage


def test_in_token_modes_unexplained_requests_are_supply_until_they_must_have_registered() -> None:
    route = a_route(credentials=Credentials.REGISTRATION)
    snapshot = a_snapshot(
        routes=(route,),
        jobs=(a_job(1), a_job(2)),
        health={"ep-1": EndpointHealth(in_queue=1)},
        ledger_born=NOW,
    )
    assert len(plan(snapshot, NOW).claims) == 1
    assert len(plan(snapshot, NOW + route.lease + 1).claims) == 2


def test_requests_that_no_job_needs_are_withdrawn_newest_first() -> None:
    pair = (a_submission(1, created_at=NOW - 90), a_submission(2, created_at=NOW - 10))
    requests = {s.id: Request(id="r", status=IN_QUEUE) for s in pair}
    cancelled = a_job(2, status=JobStatus.COMPLETED, conclusion="cancelled")
    decided = plan(a_snapshot(jobs=(a_job(1), cancelled), submissions=pair, requests=requests), NOW)
    assert decided.withdrawals == (
        Withdrawal(submission=pair[1], to=State.CANCELLED, runner_id=102, detail="no queued job needs it"),
    )


def test_a_request_is_withdrawn_only_if_runpod_says_that_it_waits() -> None:
    assert not plan(a_snapshot(submissions=(a_submission(1),)), NOW).withdrawals


def test_a_request_that_is_late_and_that_no_job_needs_is_withdrawn_once() -> None:
    late = a_submission(1, not_after=NOW - 1)
    requests = {late.id: Request(id="r", status=IN_QUEUE)}
    decided = plan(a_snapshot(submissions=(late,), requests=requests), NOW)
    assert [w.to for w in decided.withdrawals] == [State.EXPIRED]


def test_no_request_is_withdrawn_while_the_runners_of_its_target_cannot_be_read() -> None:
    """Its job is not counted as demand then, but it may still need the request."""
    waiting = a_submission(1)
    requests = {waiting.id: Request(id="r", status=IN_QUEUE)}
    snapshot = a_snapshot(jobs=(a_job(1),), submissions=(waiting,), requests=requests)
    assert not plan(replace(snapshot, runners={}, runners_at={}), NOW).withdrawals
    assert not plan(replace(snapshot, jobs=(), runners={}, runners_at={}), NOW).withdrawals
    assert plan(replace(snapshot, jobs=()), NOW).withdrawals


def test_a_target_that_cannot_be_read_does_not_keep_the_requests_of_another() -> None:
    pair = tuple(a_submission(n, pool=Pool("gpu", f"repos/acme/{n}")) for n in (1, 2))
    requests = {s.id: Request(id="r", status=IN_QUEUE) for s in pair}
    snapshot = a_snapshot(organisation=None, submissions=pair, requests=requests, runners={"repos/acme/2": ()})
    kept = replace(snapshot, runners={"repos/acme/2": (a_runner("runpod-2-1", id=102, online=False),)})
    assert [w.submission.name for w in plan(kept, NOW).withdrawals] == ["runpod-2-1"]


# --- what was seen of submissions ---


def settled(submission: Submission, **given: Any) -> list[State]:
    """The next states of a submission, in a snapshot in which another has ended."""
    snapshot = a_snapshot(submissions=(a_submission(9, State.NO_JOB), submission), **given)
    decided = plan(snapshot, NOW)
    return [*(t.to for t in decided.transitions), *(w.to for w in decided.withdrawals)]


def test_a_submission_follows_its_runner() -> None:
    waits = a_submission(1)
    assert settled(waits, runners={ORG: (a_runner(waits.name),)}) == [State.STARTED]
    assert settled(waits, runners={ORG: (a_runner(waits.name, busy=True),)}) == [State.BUSY]


def test_a_submission_follows_its_request_that_runpod_has_forgotten() -> None:
    waits = a_submission(1, runner_id=None, credentials=Credentials.REGISTRATION)
    gone = {waits.id: Request(id="r", status=RequestStatus.MISSING)}
    assert settled(waits, requests=gone) == []
    assert settled(waits, requests=gone, missing_since={waits.id: NOW - TIMING.gone_after}) == [State.EXPIRED]


def test_an_idle_runner_is_withdrawn_at_its_routes_idle_timeout() -> None:
    listens = a_submission(1, State.STARTED, since=NOW - 60)
    assert settled(listens, jobs=(a_job(1),)) == []
    assert settled(listens, jobs=(a_job(1),), routes=(a_route(idle_timeout=60.0),)) == [State.NO_JOB]


def test_a_job_that_is_not_queued_does_not_delay_the_next() -> None:
    running = a_job(1, status=JobStatus.IN_PROGRESS, runner_name="other")
    assert names(plan(a_snapshot(jobs=(running, a_job(2))), NOW)) == ["runpod-2-1"]


def test_in_token_modes_a_runner_that_is_listed_is_deleted_before_its_request_is_cancelled() -> None:
    unseen = a_submission(1, credentials=Credentials.REGISTRATION, runner_id=None)
    requests = {unseen.id: Request(id="r", status=IN_QUEUE)}
    snapshot = a_snapshot(submissions=(unseen,), requests=requests)
    assert [(w.to, w.runner_id) for w in plan(snapshot, NOW).withdrawals] == [(State.CANCELLED, None)]
    offline = a_runner(unseen.name, id=77, online=False)
    listed = replace(snapshot, runners={ORG: (offline,)})
    assert [(w.to, w.runner_id) for w in plan(listed, NOW).withdrawals] == [(State.CANCELLED, 77)]
    runs = replace(snapshot, requests={unseen.id: Request(id="r", status=RequestStatus.IN_PROGRESS)})
    assert not plan(runs, NOW).withdrawals


def test_in_token_modes_a_pass_withdraws_a_limited_number_of_requests() -> None:
    """Each needs a registration."""
    rows = [a_submission(n, credentials=Credentials.APP, runner_id=None) for n in range(MAX_HELD_NAMES + 5)]
    requests = {s.id: Request(id="r", status=IN_QUEUE) for s in rows}
    snapshot = a_snapshot(submissions=tuple(rows), requests=requests)
    assert len(plan(snapshot, NOW).withdrawals) == MAX_HELD_NAMES
    registered = replace(snapshot, submissions=tuple(replace(s, credentials=Credentials.JIT) for s in rows))
    assert len(plan(registered, NOW).withdrawals) == MAX_HELD_NAMES + 5


def test_a_job_whose_runners_keep_failing_is_tried_less_and_less_often() -> None:
    history = {1: JobHistory(generation=5, attempts=MAX_FAILURES, last_claim=NOW - 60, last_end=NOW - 50)}
    snapshot = a_snapshot(jobs=(a_job(1),), history=history, seen_at={1: NOW})
    assert why(plan(snapshot, NOW), 1) == ("stuck: 5 runners failed before they took a job; next try in 14 min")
    assert names(plan(snapshot, NOW - 60 + TIMING.failing_job.first)) == ["runpod-1-6"]


def test_the_next_try_of_a_stuck_job_is_not_withdrawn_as_surplus() -> None:
    history = {1: JobHistory(generation=6, attempts=MAX_FAILURES, last_claim=NOW - 5, last_end=NOW - 50)}
    trying = a_submission(1, generation=6)
    snapshot = a_snapshot(
        jobs=(a_job(1),),
        history=history,
        submissions=(trying,),
        requests={trying.id: Request(id="r", status=IN_QUEUE)},
    )
    assert plan(snapshot, NOW) == Plan(skips=plan(snapshot, NOW).skips)


def test_a_job_is_looked_up_again_before_it_gets_a_second_runner() -> None:
    history = {1: JobHistory(generation=1, attempts=1, last_claim=NOW - 90, last_end=NOW - 10)}
    stale = a_snapshot(jobs=(a_job(1),), history=history, seen_at={1: NOW - 20})
    assert why(plan(stale, NOW), 1) == "its last runner ended, and GitHub has not been asked about the job since"
    assert names(plan(replace(stale, seen_at={1: NOW - 10}), NOW)) == ["runpod-1-2"]


def test_a_submission_that_ended_after_the_resync_began_still_covers_its_job() -> None:
    """Another pass saw that the job was done. This pass began before that, and still has it as queued."""
    done = a_submission(1, State.FINISHED, since=NOW + 1)
    assert not plan(a_snapshot(jobs=(a_job(1),), submissions=(done,)), NOW + 2).claims


def test_nothing_is_requested_while_the_runners_of_a_target_cannot_be_read() -> None:
    decided = plan(a_snapshot(jobs=(a_job(1),), runners={}), NOW)
    assert not decided.claims
    said = "the runners of orgs/acme have not been read from GitHub recently"
    assert decided.skips == (Skip(job_id=1, kind=SkipKind.RUNNERS_UNKNOWN, why=said, route="gpu"),)


# --- properties ---

ROUTES = (
    a_route(name="gpu", labels=("runpod", "gpu"), max_workers=3),
    a_route(name="cpu", labels=("runpod", "cpu"), max_workers=2, endpoint="ep-2"),
)
JOB_LABELS = st.sampled_from([("runpod", "gpu"), ("runpod", "cpu"), ("runpod",), ("ubuntu-latest",), ("gpu",)])
JOB_STATUS = st.sampled_from([JobStatus.QUEUED, JobStatus.QUEUED, JobStatus.IN_PROGRESS, JobStatus.WAITING])


@st.composite
def snapshots(draw: Any) -> Snapshot:
    """Any mix of jobs, submissions in any state, runners and requests."""
    ids = draw(st.lists(st.integers(1, 30), unique=True, max_size=12))
    jobs = [a_job(i, labels=draw(JOB_LABELS), status=draw(JOB_STATUS)) for i in ids]
    submissions: list[Submission] = []
    runners: list[Runner] = []
    requests: dict[str, Request] = {}
    names = st.tuples(st.integers(1, 30), st.integers(1, 2))
    for number, (job_id, generation) in enumerate(draw(st.lists(names, unique=True, max_size=8))):
        route = draw(st.sampled_from(ROUTES))
        row = a_submission(
            job_id,
            draw(st.sampled_from(list(State))),
            generation=generation,
            pool=Pool(route.name, ORG),
            endpoint=route.endpoints[0],
            since=NOW - draw(st.integers(1, 4000)),
            lease_until=NOW + draw(st.integers(-10, 10)),
            runner_id=number,
        )
        submissions.append(row)
        if draw(st.booleans()):
            runners.append(a_runner(row.name, id=number, busy=draw(st.booleans()), online=draw(st.booleans())))
        if draw(st.booleans()):
            requests[row.id] = Request(id=row.id, status=draw(st.sampled_from(list(RequestStatus))))
    for number in range(draw(st.integers(0, 3))):
        runners.append(a_runner(f"runpod-{500 + number}-1", id=90 + number, busy=draw(st.booleans())))
    return a_snapshot(
        jobs=tuple(jobs),
        routes=ROUTES,
        submissions=tuple(submissions),
        runners={ORG: tuple(runners)},
        requests=requests,
        history={
            s.job_id: JobHistory(generation=2, attempts=0, last_claim=s.created_at, last_end=0.0) for s in submissions
        },
    )


def applied(snapshot: Snapshot, decided: Plan) -> Snapshot:
    """The snapshot of the next pass, if everything was done as planned and nothing else happened."""
    left = {m.submission.id: m.to for m in decided.transitions} | {w.submission.id: w.to for w in decided.withdrawals}
    gone = {w.submission.name for w in decided.withdrawals} | {s.runner.name for s in decided.garbage}
    rows = [replace(s, state=left.get(s.id, s.state), since=snapshot.runners_read_at) for s in snapshot.submissions]
    rows += [
        a_submission(
            c.job_id,
            generation=c.generation,
            id=c.name,
            pool=c.pool,
            since=snapshot.runners_read_at,
            runner_id=1000 + i,
        )
        for i, c in enumerate(decided.claims)
    ]
    runners = tuple(r for r in snapshot.runners[ORG] if r.name not in gone)
    runners += tuple(a_runner(c.name, id=1000 + i, online=False) for i, c in enumerate(decided.claims))
    history = dict(snapshot.history) | {
        c.job_id: JobHistory(generation=c.generation, attempts=0, last_claim=NOW, last_end=0.0) for c in decided.claims
    }
    requests = {k: v for k, v in snapshot.requests.items() if k not in left}
    return replace(snapshot, submissions=tuple(rows), runners={ORG: runners}, history=history, requests=requests)


@settings(max_examples=300)
@given(snapshots())
def test_no_route_exceeds_its_max_workers_or_its_demand(snapshot: Snapshot) -> None:
    decided = plan(snapshot, NOW)
    after = applied(snapshot, decided)
    for route in ROUTES:
        asked = [c for c in decided.claims if c.pool.route == route.name]
        live = [s for s in after.submissions if s.pool.route == route.name and s.state in OPEN_STATES]
        if asked:
            assert len(live) <= route.max_workers
            listed = {runner.id for runner in after.runners[ORG]}
            waiting = [s for s in live if s.state in WAITING_STATES and s.runner_id in listed]
            queued = [j for j in snapshot.jobs if j.status is JobStatus.QUEUED]
            assert len(waiting) <= sum(match(j.labels, j.repository, ROUTES) == route for j in queued)


@settings(max_examples=300)
@given(snapshots())
def test_the_next_plan_requests_no_second_runner_for_a_job(snapshot: Snapshot) -> None:
    once = applied(snapshot, plan(snapshot, NOW))
    again = plan(once, NOW)
    twice = {c.job_id for c in plan(snapshot, NOW).claims} & {c.job_id for c in again.claims}
    assert not twice


@settings(max_examples=200)
@given(snapshots(), st.randoms(use_true_random=False))
def test_the_order_of_the_snapshots_parts_does_not_matter(snapshot: Snapshot, chance: random.Random) -> None:
    def shuffled(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(chance.sample(values, len(values)))

    other = replace(
        snapshot,
        jobs=shuffled(snapshot.jobs),
        submissions=shuffled(snapshot.submissions),
        runners={ORG: shuffled(snapshot.runners[ORG])},
    )
    assert plan(other, NOW) == plan(snapshot, NOW)


@settings(max_examples=200)
@given(snapshots())
def test_every_queued_job_gets_a_request_or_a_reason(snapshot: Snapshot) -> None:
    decided = plan(snapshot, NOW)
    queued = {j.id for j in snapshot.jobs if j.status is JobStatus.QUEUED}
    asked = [c.job_id for c in decided.claims]
    skipped = [s.job_id for s in decided.skips]
    assert sorted(asked + skipped) == sorted(queued)
    assert len(set(names(decided))) == len(asked)
