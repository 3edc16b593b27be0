"""Whatever happens, in whatever order: the rules of the ledger hold, and every job gets its runner in the end.

A history is a random walk through a modelled world (tests/support/modelled.py), driven by the real reconciler, plan and
ledger transactions. One that breaks a rule is shown as a program; FAULTS=full makes it short, in minutes.
"""

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from bridge.controller.report import Report
from bridge.core.model import Event, JobStatus, RequestStatus
from bridge.core.submissions import State
from bridge.core.worker import Reason
from tests.support.copies import Mishap, Process, Store, unlogged
from tests.support.effort import FULL, tried
from tests.support.modelled import ENDED, World

EXAMPLES, STEPS = (500, 60) if FULL else (60, 50)

WHICH = st.integers(0, 7)
MISHAPS = st.sampled_from([*Mishap, Mishap.RACE, Mishap.WAIT])
SCRIPTS = st.dictionaries(st.integers(0, 16), MISHAPS, max_size=3)
REASONS = st.sampled_from(sorted(set(Reason) - {Reason.COMPLETED, Reason.NO_JOB}))
SECONDS = st.sampled_from([1.0, 30.0, 65.0, 400.0, 1_000.0, 4_500.0])
"""s; from within a lease to beyond the longest."""

MOST_JOBS = 8
ROUNDS = 40
"""Passes within which every job is served once all services work, whatever happened before."""


class Histories(RuleBasedStateMachine):
    """One dispatcher, or two: with one ledger, or with nothing in common but GitHub and RunPod."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = World()
        self.coming: list[Event] = []
        self.told = 0
        self.backups: dict[int, Any] = {}  # by ledger
        self.stack = ExitStack()
        self.stack.enter_context(unlogged())

    @initialize(ledgers=st.sampled_from([[0], [0], [0, 0], [0, 1]]), webhook=st.booleans())
    def deploy(self, ledgers: list[int], webhook: bool) -> None:
        """A dispatcher per number, which is its ledger's."""
        self.webhook = webhook
        stores = [Store(self.world) for _ in set(ledgers)]
        self.copies = [self._process(stores[number]) for number in ledgers]

    def _process(self, store: Store) -> Process:
        return Process(self.loop, self.world, store, webhook=self.webhook)

    def _copy(self, which: int) -> Process:
        """A dispatcher, started again where it has died."""
        at = which % len(self.copies)
        if self.copies[at].dead:
            self.copies[at].die()
            self.copies[at] = self._process(self.copies[at].store)
        return self.copies[at]

    # --- GitHub ---

    @precondition(lambda self: len(self._jobs(JobStatus.QUEUED, JobStatus.IN_PROGRESS)) < MOST_JOBS)
    @rule(labels=st.lists(st.sampled_from(["gpu", "gpu", "cpu"]), min_size=1, max_size=4))
    def jobs_are_queued(self, labels: list[str]) -> None:
        for label in labels:
            self.world.queue(label)

    def _jobs(self, *statuses: JobStatus) -> list[Any]:
        return [j for j in self.world.jobs.values() if j.status in statuses]

    @precondition(lambda self: self._jobs(JobStatus.QUEUED, JobStatus.IN_PROGRESS))
    @rule(which=WHICH)
    def a_job_is_cancelled(self, which: int) -> None:
        self.world.end(_pick(self._jobs(JobStatus.QUEUED, JobStatus.IN_PROGRESS), which), "cancelled")

    @precondition(lambda self: any(self.world.eligible(j) for j in self._jobs(JobStatus.QUEUED)))
    @rule(which=WHICH, worker=WHICH)
    def a_runner_takes_a_job(self, which: int, worker: int) -> None:
        """Its own or another's: GitHub gives any to any."""
        job = _pick([j for j in self._jobs(JobStatus.QUEUED) if self.world.eligible(j)], which)
        self.world.assign(job, _pick(self.world.eligible(job), worker))

    @precondition(lambda self: self._jobs(JobStatus.IN_PROGRESS))
    @rule(which=WHICH, conclusion=st.sampled_from(["success", "failure"]))
    def a_job_ends(self, which: int, conclusion: str) -> None:
        self.world.end(_pick(self._jobs(JobStatus.IN_PROGRESS), which), conclusion)

    @precondition(lambda self: self.world.dead())
    @rule(which=WHICH)
    def github_notices_a_dead_runner(self, which: int) -> None:
        self.world.notice(_pick(self.world.dead(), which))

    @precondition(lambda self: any(self.world.eligible(j) for j in self._jobs(JobStatus.QUEUED)))
    @rule(which=WHICH, worker=WHICH)
    def a_runner_is_given_a_job_and_does_not_take_it(self, which: int, worker: int) -> None:
        job = _pick([j for j in self._jobs(JobStatus.QUEUED) if self.world.eligible(j)], which)
        self.world.hand_over(job, _pick(self.world.eligible(job), worker))

    @precondition(lambda self: self.world.assigned)
    @rule(which=WHICH)
    def a_job_that_was_not_taken_is_queued_again(self, which: int) -> None:
        self.world.take_back(_pick(sorted(self.world.assigned), which))

    @precondition(lambda self: self.world.idle())
    @rule(which=WHICH)
    def github_deletes_an_idle_runner(self, which: int) -> None:
        self.world.reap(_pick(self.world.idle(), which))

    # --- webhooks ---

    def _unheard(self) -> list[Event]:
        self.coming += self.world.log[self.told :]
        self.told = len(self.world.log)
        return self.coming

    @precondition(lambda self: self._unheard())
    @rule(which=WHICH, copy=WHICH, again=st.booleans())
    def an_event_is_heard(self, which: int, copy: int, again: bool) -> None:
        event = _pick(self._unheard(), which)
        if not again:
            self.coming.remove(event)
        heard = Event(guid=event.guid, at=self.world.time(), job=event.job)
        self._copy(copy).store.run(lambda transaction: transaction.hear([heard]))

    @precondition(lambda self: self._unheard())
    @rule(which=WHICH)
    def an_event_is_lost(self, which: int) -> None:
        self.coming.remove(_pick(self._unheard(), which))

    # --- RunPod ---

    def _requests(self, *statuses: RequestStatus) -> list[Any]:
        return [r for r in self.world.requests.values() if r.status in statuses]

    @precondition(lambda self: self._requests(RequestStatus.IN_QUEUE))
    @rule(which=WHICH)
    def a_worker_starts(self, which: int) -> None:
        self.world.start(_pick(self._requests(RequestStatus.IN_QUEUE), which))

    @precondition(lambda self: any(w.request.is_open for w in self.world.workers))
    @rule(which=WHICH)
    def a_request_is_delivered_twice(self, which: int) -> None:
        self.world.start(_pick([w.request for w in self.world.workers if w.request.is_open], which))

    @precondition(lambda self: any(r.said for r in self.world.requests.values()))
    @rule(which=WHICH)
    def runpod_shows_an_answer(self, which: int) -> None:
        request = _pick([r for r in self.world.requests.values() if r.said], which)
        self.world.show(request, request.said)

    @precondition(lambda self: self._requests(RequestStatus.IN_QUEUE, RequestStatus.IN_PROGRESS))
    @rule(which=WHICH, reason=REASONS)
    def a_request_breaks_down(self, which: int, reason: Reason) -> None:
        """For whatever reason; its worker dies, cancelled by hand and timed out among them."""
        self.world.kill(_pick(self._requests(RequestStatus.IN_QUEUE, RequestStatus.IN_PROGRESS), which), reason)

    @precondition(lambda self: self._requests(RequestStatus.IN_QUEUE, RequestStatus.IN_PROGRESS))
    @rule(which=WHICH)
    def a_request_vanishes(self, which: int) -> None:
        """RunPod forgets it, whatever becomes of its worker."""
        _pick(self._requests(RequestStatus.IN_QUEUE, RequestStatus.IN_PROGRESS), which).status = RequestStatus.MISSING

    @precondition(lambda self: self._requests(RequestStatus.IN_PROGRESS))
    @rule(which=WHICH, status=st.sampled_from([None, RequestStatus.MISSING, *sorted(ENDED)]))
    def runpod_shows_a_running_request_as_ended(self, which: int, status: RequestStatus | None) -> None:
        """For a while: until it shows what is so."""
        _pick(self._requests(RequestStatus.IN_PROGRESS), which).shown = status

    # --- dispatchers ---

    @rule(copy=WHICH, script=SCRIPTS, races=st.booleans())
    def a_dispatcher_looks(self, copy: int, script: dict[int, Mishap], races: bool) -> None:
        """At times its runners take jobs just before it would delete them."""
        process = self._copy(copy)
        report = process.resync(script, races=races)
        if report and not process.disturbed:
            self._asks_for_nothing_twice(process, report)

    def _asks_for_nothing_twice(self, process: Process, report: Report) -> None:
        asked = {claim.job_id for claim in report.decision.plan.claims}
        again = {claim.job_id for claim in process.explain().plan.claims}
        assert not asked & again, "asked for twice"
        if not (report.decision.plan.withdrawals or report.decision.plan.transitions):
            assert not again, "a plan right after a plan found more to ask for"

    @rule(copy=WHICH, script=SCRIPTS, callbacks=st.booleans())
    def a_dispatcher_acts(self, copy: int, script: dict[int, Mishap], callbacks: bool) -> None:
        process = self._copy(copy)
        ended = [row.id for row in process.store.rows()] if callbacks else []
        process.event_pass(ended, script)

    @precondition(lambda self: any(p.waits for p in self.copies))
    @rule(copy=WHICH, which=WHICH)
    def a_call_goes_on(self, copy: int, which: int) -> None:
        _pick([p for p in self.copies if p.waits], copy).resume(which)

    @rule(copy=WHICH, loses=st.sampled_from([False, False, False, True]))
    def a_dispatcher_dies(self, copy: int, loses: bool) -> None:
        """At times with its ledger, and with those that share it."""
        process = self._copy(copy)
        process.die()
        if loses:
            lost, new = process.store, Store(self.world)
            for number, other in enumerate(self.copies):
                if other.store is lost:
                    other.die()
                    self.copies[number] = self._process(new)
            lost.close()

    @rule(copy=WHICH)
    def a_ledger_is_backed_up(self, copy: int) -> None:
        store = self._copy(copy).store
        self.backups[id(store)] = store.backup()

    @precondition(lambda self: any(id(p.store) in self.backups for p in self.copies))
    @rule(which=WHICH)
    def a_ledger_is_restored(self, which: int) -> None:
        """To what it held at an earlier time, while none of its dispatchers runs."""
        store = _pick([p.store for p in self.copies if id(p.store) in self.backups], which)
        for number, other in enumerate(self.copies):
            if other.store is store:
                other.die()
                self.copies[number] = self._process(store)
        store.restore(self.backups[id(store)])

    # --- time ---

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(copy=WHICH)
    def all_goes_well_for_a_while(self, copy: int) -> None:
        self._copy(copy).resync({})
        self.world.go_on()

    # --- the end ---

    def teardown(self) -> None:
        tried["histories"] += 1
        try:
            if hasattr(self, "copies"):
                self._comes_to_an_end()
        finally:
            for process in getattr(self, "copies", []):
                process.die()
                process.store.close()
            self.stack.close()
            self.loop.close()

    def _comes_to_an_end(self) -> None:
        """With nothing more going wrong every job ends, and nothing of ours is left."""
        for process in self.copies:
            while process.waits:
                process.resume(0)
        for number in range(ROUNDS):
            if self._is_over():
                return
            for which in range(len(self.copies)):
                assert self._copy(which).resync({}) is not None
                self.world.go_on()
            self.world.pass_time(30.0 * 2 ** min(number, 7))
        raise AssertionError(f"did not end: {self.world} {[p.store.rows() for p in self.copies]}")

    def _is_over(self) -> bool:
        opened = any(process.store.run(lambda transaction: transaction.open_submissions()) for process in self.copies)
        return self.world.is_over() and not opened


def _pick(choices: list[Any], which: int) -> Any:
    return choices[which % len(choices)]


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    phases=[Phase.reuse, Phase.generate, *([Phase.shrink] if FULL else [])],
    suppress_health_check=list(HealthCheck),
)


def test_a_runner_that_takes_a_job_just_before_its_withdrawal_keeps_it() -> None:
    """A history that random walks rarely find. The world fails the test if the request is cancelled."""
    history = Histories()
    history.deploy([0], webhook=False)
    for _ in range(2):
        history.jobs_are_queued(["gpu"])
        history.a_dispatcher_looks(0, {}, False)
    history.a_job_is_cancelled(0)
    history.a_dispatcher_looks(0, {}, True)
    states = sorted(row.state for row in history.copies[0].store.rows())
    assert states == [State.BUSY, State.SUBMITTED]
    history.teardown()


@pytest.mark.parametrize("call", range(8))
def test_no_second_runner_is_requested_for_jobs_that_are_taken_during_a_resync(call: int) -> None:
    """Just before any of its calls: a resync does not see runners and jobs at the same moment."""
    history = Histories()
    history.deploy([0], webhook=False)
    history.jobs_are_queued(["gpu", "gpu"])
    history.a_dispatcher_looks(0, {}, False)
    history.a_dispatcher_looks(0, {call: Mishap.RACE}, False)
    assert len(history.world.requests) == 2
    history.teardown()


def test_a_worker_that_registers_while_runpod_forgets_its_request_keeps_its_runner() -> None:
    history = Histories()
    history.deploy([0], webhook=True)
    history.jobs_are_queued(["cpu"])
    history.a_dispatcher_looks(0, {}, False)
    history.a_dispatcher_looks(0, {}, False)
    history.a_worker_starts(0)
    history.a_request_vanishes(0)
    history.a_dispatcher_acts(0, callbacks=True, script={})
    assert [row.state for row in history.copies[0].store.rows()] == [State.SUBMITTED]
    history.teardown()


def test_a_job_in_progress_that_is_queued_again_is_looked_up_at_once() -> None:
    """Its event is enough. A late event changes nothing; after a true one another runner is requested."""
    history = Histories()
    history.deploy([0], webhook=True)
    history.jobs_are_queued(["gpu"])
    history.a_dispatcher_looks(0, {}, False)
    history.a_worker_starts(0)
    history.a_runner_takes_a_job(0, 0)
    history.a_dispatcher_looks(0, {}, False)
    (job,) = history.world.jobs.values()
    store = history.copies[0].store
    again = replace(job, status=JobStatus.QUEUED, runner_name=None, runner_id=None)

    def hear(guid: str) -> Any:
        store.run(lambda transaction: transaction.hear([Event(guid=guid, at=history.world.time(), job=again)]))
        history.a_dispatcher_acts(0, callbacks=False, script={})
        ((known, _),) = store.run(lambda transaction: transaction.jobs()).values()
        return known.status

    assert hear("late") is JobStatus.IN_PROGRESS
    assert len(history.world.requests) == 1
    assert job.runner_id is not None
    history.world.runners[job.runner_id] = replace(history.world.runners[job.runner_id], busy=False)
    history.world.jobs[job.id] = again
    assert hear("true") is JobStatus.QUEUED
    history.teardown()


# --- requests that are taken back, and requests without an answer ---


def one(labels: str = "cpu") -> Histories:
    """A dispatcher, a queued job, and the request for it."""
    history = Histories()
    history.deploy([0], webhook=False)
    history.jobs_are_queued([labels])
    history.a_dispatcher_looks(0, {}, False)
    return history


def states(history: Histories) -> list[State]:
    return [row.state for row in history.copies[0].store.rows()]


def test_the_request_of_a_cancelled_run_is_cancelled_in_a_token_mode() -> None:
    history = one()
    history.a_job_is_cancelled(0)
    history.a_dispatcher_looks(0, {}, False)
    assert states(history) == [State.CANCELLED]
    assert history.world.is_over(), "not even the registration that held the name is left"
    history.teardown()


@pytest.mark.parametrize("call", range(12))
def test_that_request_is_kept_if_its_worker_registers_during_the_resync(call: int) -> None:
    """The world fails the test if the request is cancelled under its worker."""
    history = Histories()
    history.deploy([0], webhook=False)
    history.jobs_are_queued(["cpu", "cpu"])
    history.a_dispatcher_looks(0, {}, False)
    history.a_job_is_cancelled(0)
    history.a_dispatcher_looks(0, {call: Mishap.RACE}, False)
    history.teardown()
    assert sum(len(runners) for runners in history.world.executions.values()) == 1


@pytest.mark.parametrize("mishap", [Mishap.LOST, Mishap.NOT_DONE, Mishap.REFUSED, Mishap.DIE_AFTER, Mishap.DIE_BEFORE])
@pytest.mark.parametrize("call", range(5, 12))
def test_nothing_is_left_of_that_request_whatever_call_fails(call: int, mishap: Mishap) -> None:
    history = one()
    history.a_job_is_cancelled(0)
    history.a_dispatcher_looks(0, {call: mishap}, False)
    for _ in range(3):
        history.a_dispatcher_looks(0, {}, False)
    assert history.world.is_over()
    history.teardown()


def test_a_request_that_no_worker_takes_in_time_is_cancelled_and_submitted_again() -> None:
    """In a token mode: otherwise its worker would start for nothing, and the next request would wait behind it."""
    history = one()
    (first,) = history.world.requests.values()
    history.time_passes(history.world.requests[first.id].not_after - history.world.now + 1.0)
    history.a_dispatcher_looks(0, {}, False)
    history.a_dispatcher_looks(0, {}, False)
    first, second = history.world.requests.values()
    assert (first.status, second.status) == (RequestStatus.CANCELLED, RequestStatus.IN_QUEUE)
    assert second.not_after > history.world.now + 1_800
    history.teardown()


@pytest.mark.parametrize("labels", ["gpu", "cpu"])
@pytest.mark.parametrize("mishap", [Mishap.LOST, Mishap.NOT_DONE])
def test_the_bridge_waits_for_an_unanswered_request_only_if_it_exists(labels: str, mishap: Mishap) -> None:
    history = Histories()
    history.deploy([0], webhook=False)
    history.jobs_are_queued([labels])
    submit = next(n for n in range(20) if _is_submission(labels, n))
    history.a_dispatcher_looks(0, {submit: mishap}, False)
    for _ in range(6):  # a long cold start
        history.time_passes(65.0)
        history.a_dispatcher_looks(0, {}, False)
    exists = mishap is Mishap.LOST
    assert len(history.world.requests) == 1
    assert sorted(states(history)) == ([State.UNKNOWN] if exists else [State.LOST, State.SUBMITTED])
    history.world.race()
    history.a_dispatcher_looks(0, {}, False)
    history.teardown()
    assert len(history.world.requests) == 1
    assert [len(runners) for runners in history.world.executions.values()] == [1]


def _is_submission(labels: str, call: int) -> bool:
    """Whether this call of a first resync sends a request."""
    history = Histories()
    history.deploy([0], webhook=False)
    history.jobs_are_queued([labels])
    history.a_dispatcher_looks(0, {call: Mishap.LOST}, False)
    found = states(history) == [State.UNKNOWN]
    history.teardown()
    return found


@pytest.mark.parametrize("status", [RequestStatus.MISSING, RequestStatus.FAILED, RequestStatus.COMPLETED])
def test_running_requests_that_runpod_reports_as_ended_for_two_minutes_still_count(status: RequestStatus) -> None:
    """At most three run, whatever RunPod reports, and the endpoint does not count as failing."""
    history = Histories()
    history.deploy([0], webhook=False)
    history.jobs_are_queued(["gpu"] * 4)
    history.jobs_are_queued(["gpu"] * 2)
    history.a_dispatcher_looks(0, {}, False)
    history.world.race()
    history.a_dispatcher_looks(0, {}, False)
    for number in range(3):
        history.runpod_shows_a_running_request_as_ended(number, status)
    for _ in range(4):
        history.time_passes(30.0)
        history.a_dispatcher_looks(0, {}, False)
    assert len(history.world.requests) == 3
    assert states(history) == [State.BUSY] * 3
    for request in history.world.requests.values():
        request.shown = None
    history.teardown()
    assert len(history.world.requests) == 6
