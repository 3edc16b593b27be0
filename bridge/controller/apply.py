"""Carry out a plan. Each transition is committed before the call that follows it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple, Unpack

import structlog

from bridge.controller.ports import GitHubWriter, Ledger, RunPodWriter, Transaction
from bridge.controller.refused import github_key, refused, runpod_key
from bridge.core import callback
from bridge.core.actions import Garbage, Withdrawal
from bridge.core.model import Absent, Cancellation, Deleted, JitConfig
from bridge.core.naming import holding_labels, runner_labels
from bridge.core.readings import Readings, Timed
from bridge.core.refusals import endpoint_key, keys, target_key, target_keys
from bridge.core.scope import Route, Scope
from bridge.core.snapshot import Refusal
from bridge.core.submissions import Changes, State, Submission
from bridge.core.worker import Credentials, Reason, WorkerInput
from bridge.errors import BridgeError, NameTaken, OutcomeUnknown, Problem

log = structlog.get_logger()


TOKEN_MARGIN = 180.0
"""s that a registration token must last after the latest start of its worker: config.sh may take 120 s, and clocks
differ."""

TOGETHER = 40
"""Claims that are carried out at once; the lease of each other claim begins when it starts."""


class Applier:
    """Carries out one plan.

    Args:
        github: to register and delete runners.
        runpod: to submit and cancel requests.
        ledger: to write to.
        scope: what the bridge serves.
        refusals: those that the plan knew, by a key of bridge.core.refusals.
        clock: Unix seconds.

    Attributes:
        problems: what could not be done.
        submitted: submissions whose requests RunPod accepted.
    """

    def __init__(  # noqa: PLR0913 - its ports
        self,
        github: GitHubWriter,
        runpod: RunPodWriter,
        ledger: Ledger,
        scope: Scope,
        *,
        refusals: Mapping[str, Refusal],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._github = github
        self._runpod = runpod
        self._ledger = ledger
        self._scope = scope
        self._clock = clock
        self._slots = asyncio.Semaphore(TOGETHER)
        self._known_refusals = dict(refusals)
        self._refusals: dict[str, BridgeError] = {}  # of this pass
        self.problems: list[Problem] = []
        self.submitted: list[Submission] = []

    async def apply(
        self,
        claimed: Iterable[tuple[Submission, Route]],
        withdrawals: Iterable[Withdrawal],
        garbage: Iterable[Garbage],
    ) -> None:
        """Carry out all actions. A failure of one does not stop the others."""
        work: list[Awaitable[None]] = [self._serve(submission, route) for submission, route in claimed]
        work += [self._withdraw(withdraw) for withdraw in withdrawals]
        work += [self._collect_garbage(item) for item in garbage]
        await asyncio.gather(*(self._noting(each) for each in work))

    async def _noting(self, work: Awaitable[None]) -> None:
        try:
            await work
        except BridgeError as error:
            self.problems.append(Problem.of(error))

    async def _serve(self, claimed: Submission, route: Route) -> None:
        """Take one claim from its name to a submitted request."""
        async with self._slots:
            if await self._released(claimed, route):
                return
            submission = await self._kept(claimed)
            if not submission:
                return
            # Before the registration, which would wait for it unrecorded.
            await self._runpod.prepare(submission.endpoint)
            if registration := await self._register(submission, route):
                await self._submit(submission, registration, route)

    async def _released(self, submission: Submission, route: Route, **values: Unpack[Changes]) -> bool:
        """Release a claim without a call if this pass has met a refusal of something that it needs."""
        needed = keys(submission.pool.target, route, submission.endpoint)
        refusal = next((self._refusals[key] for key in needed if key in self._refusals), None)
        if refusal is None:
            return False
        values["detail"] = str(refusal)
        await self._to(submission, State.RELEASED, **values)
        return True

    async def _refused(self, key: str | None, otherwise: str, error: BridgeError) -> bool:
        """Record a refusal, so that nothing more is asked of `key` for a while.

        Args:
            key: None if `error` is not a refusal; then only this pass asks nothing more of `otherwise`.
            otherwise: what failed.
            error: the answer.

        Returns:
            Whether it is new to this pass.
        """
        is_new = (key or otherwise) not in self._refusals
        self._refusals.setdefault(key or otherwise, error)
        if key and is_new:
            now = self._clock()
            await self._note(key, now, refused(self._known_refusals.get(key), error, self._scope.timing, now))
        return is_new

    async def _accepted(self, *granted: str) -> None:
        """Lift the refusals of what has just been granted."""
        for key in granted:
            if key in self._known_refusals and key not in self._refusals:
                del self._known_refusals[key]
                await self._note(key, self._clock(), None)

    async def _note(self, key: str, at: float, refusal: Refusal | None) -> None:
        read = Readings(refusals={key: Timed(at, refusal)})
        await self._ledger.transact(lambda transaction: transaction.note(read))

    async def _kept(self, claimed: Submission) -> Submission | None:
        """The claim, with a new lease if it had to wait long; None if another dispatcher has released it meanwhile."""
        late = self._clock() > claimed.since + (claimed.lease_until - claimed.since) / 10
        return await self._to(claimed, State.CLAIMED) if late else claimed

    async def _register(self, submission: Submission, route: Route) -> "_Registration | None":
        """Register the runner, or get the token that its worker registers it with; None if that was refused."""
        try:
            registration = await self._credential(submission, route)
        except NameTaken as error:
            await self._to(submission, State.FAILED, reason=Reason.NAME_TAKEN, detail=str(error))
            raise
        except OutcomeUnknown:
            raise  # it stays claimed until its lease ends; then its registration is found and deleted
        except BridgeError as error:
            target = submission.pool.target
            is_new = await self._refused(github_key(target, route, error), target_key(target), error)
            await self._to(submission, State.RELEASED, detail=str(error))
            if is_new:
                raise
            return None
        if route.credentials in (Credentials.JIT, Credentials.REGISTRATION):
            await self._accepted(*target_keys(submission.pool.target, route))
        return registration

    async def _credential(self, submission: Submission, route: Route) -> "_Registration":
        target = submission.pool.target
        if route.credentials is Credentials.JIT:
            labels = runner_labels(route, self._scope.prefix, submission.created_at)
            group = await self._github.runner_group_id(target, route.runner_group)
            jit = await self._github.generate_jit_config(target, name=submission.name, labels=labels, group_id=group)
            return _Registration(jit.runner_id, submission.not_after, {"jit_config": jit.encoded})
        if route.credentials is Credentials.REGISTRATION:
            token = await self._github.registration_token(target)
            not_after = min(submission.not_after, token.expires_at - TOKEN_MARGIN)
            return _Registration(None, not_after, {"registration_token": token.token})
        return _Registration(None, submission.not_after, {})

    def _input(self, submission: Submission, route: Route) -> WorkerInput:
        cache: WorkerInput = {"cache_gb": route.cache_gb} if route.cache else {}
        return {
            "mode": route.credentials,
            "runner_url": f"{self._scope.web_url}/{submission.pool.target.partition('/')[2]}",
            "runner_name": submission.name,
            "runner_labels": runner_labels(route, self._scope.prefix, submission.created_at),
            "runner_group": route.runner_group,
            "job_timeout": route.job_timeout,
            "idle_timeout": route.idle_timeout,
            "not_after": submission.not_after,
            "submission": submission.id,
            **cache,
        }

    async def _submit(self, claimed: Submission, registration: "_Registration", route: Route) -> None:
        runner_id = registration.runner_id
        if await self._released(claimed, route, runner_id=runner_id):
            await self._unregister(claimed.pool.target, runner_id)
            return
        submission = await self._submitting(claimed, registration)
        if not submission:
            return
        worker_input: WorkerInput = {**self._input(submission, route), **registration.secrets}
        try:
            request_id = await self._runpod.submit(submission.endpoint, route, worker_input, self._callback(submission))
        except OutcomeUnknown as error:
            await self._to(submission, State.UNKNOWN, detail=str(error))
            raise
        except BridgeError as error:
            endpoint = submission.endpoint
            is_new = await self._refused(runpod_key(endpoint, error), endpoint_key(endpoint), error)
            await self._to(submission, State.RELEASED, detail=str(error))
            await self._unregister(submission.pool.target, runner_id)
            if is_new:
                raise
            return
        await self._accepted(endpoint_key(submission.endpoint))
        submitted = await self._to(submission, State.SUBMITTED, request_id=request_id)
        if submitted:
            self.submitted.append(submitted)

    async def _submitting(self, claimed: Submission, registration: "_Registration") -> Submission | None:
        """Record that the runner is registered and that its request is sent next.

        These are two transitions in one commit, because nothing is called between them.
        """
        values: Changes = {"runner_id": registration.runner_id, "not_after": registration.not_after}
        minted = replace(claimed, state=State.MINTED, **values)

        def write(transaction: Transaction) -> bool:
            return transaction.advance(claimed, minted.state, **values) and transaction.advance(
                minted, State.SUBMITTING
            )

        if not await self._ledger.transact(write):
            _log_taken_over(claimed)
            return None
        _log_transition(claimed, minted.state)
        _log_transition(claimed, State.SUBMITTING)
        return replace(minted, state=State.SUBMITTING)

    async def _unregister(self, target: str, runner_id: int | None) -> None:
        if runner_id is not None:
            await self._github.delete_runner(target, runner_id)

    def _callback(self, submission: Submission) -> str | None:
        if not (self._scope.public_url and self._scope.callback_key):
            return None
        return self._scope.public_url + callback.path(submission.id, self._scope.callback_key)

    async def _withdraw(self, withdraw: Withdrawal) -> None:
        """Delete the registration, then cancel the request. If GitHub refuses, nothing is cancelled."""
        submission = withdraw.submission
        if submission.state is State.WITHDRAWN:
            await self._cancel_again(withdraw)
            return
        # A registration of the same name but another id belongs to another request.
        runner_id = withdraw.runner_id if submission.runner_id is None else submission.runner_id
        proof: Deleted | Absent | None = None
        if runner_id is not None:
            proof = await self._github.delete_runner(submission.pool.target, runner_id)
            if proof is None:
                await self._to(submission, State.BUSY)
                return
        if submission.request_id and proof is None:
            await self._cancel_unregistered(submission, submission.request_id, withdraw)
            return
        if submission.request_id:
            if not isinstance(proof, Deleted):
                log.info("request kept: GitHub does not know its runner", runner=submission.name)
                return
            await self._cancel(submission, submission.request_id, proof, withdraw)
            return
        await self._to(submission, withdraw.to, **_why(withdraw))

    async def _cancel(self, submission: Submission, request_id: str, proof: Deleted, withdraw: Withdrawal) -> None:
        """Record that GitHub agreed, then cancel: if that fails, GitHub cannot be asked a second time."""
        why: Changes = {**_why(withdraw), "runner_id": proof.runner_id}
        withdrawn = await self._to(submission, State.WITHDRAWN, **why)
        if withdrawn:
            await self._runpod.cancel(Cancellation(endpoint=submission.endpoint, request_id=request_id, proof=proof))
            await self._to(withdrawn, withdraw.to, **_why(withdraw))

    async def _cancel_again(self, withdraw: Withdrawal) -> None:
        """Cancel a request whose registration was deleted earlier, as its state says."""
        submission = withdraw.submission
        if submission.request_id and submission.runner_id is not None:
            proof = Deleted(target=submission.pool.target, runner_id=submission.runner_id)
            await self._runpod.cancel(
                Cancellation(endpoint=submission.endpoint, request_id=submission.request_id, proof=proof)
            )
        await self._to(submission, withdraw.to, **_why(withdraw))

    async def _cancel_unregistered(self, submission: Submission, request_id: str, withdraw: Withdrawal) -> None:
        """Cancel a request whose worker registers its runner itself and has not done so yet.

        While the bridge holds the runner's name, the worker cannot register it.
        """
        try:
            held = await self._hold_name(submission)
        except NameTaken:  # its worker has registered meanwhile: the next resync sees it
            log.info("request kept: its runner has registered", runner=submission.name)
            return
        try:
            await self._runpod.cancel(Cancellation(endpoint=submission.endpoint, request_id=request_id, proof=held))
        finally:
            await self._github.delete_runner(submission.pool.target, held.runner_id)
        await self._to(submission, withdraw.to, **_why(withdraw))

    async def _hold_name(self, submission: Submission) -> JitConfig:
        """Register a runner's name for the bridge; from then on GitHub refuses to register it for the worker.

        Raises:
            NameTaken: the worker has registered it.
        """
        target = submission.pool.target
        groups = {route.name: route.runner_group for route in self._scope.routes}
        group = await self._github.runner_group_id(target, groups.get(submission.pool.route, "Default"))
        labels = holding_labels(self._scope.prefix, submission.created_at)
        return await self._github.generate_jit_config(target, name=submission.name, labels=labels, group_id=group)

    async def _collect_garbage(self, item: Garbage) -> None:
        kept = await self._github.delete_runner(item.target, item.runner.id) is None
        log.info("runner kept: busy" if kept else "unused registration deleted", runner=item.runner.name)

    async def _to(self, submission: Submission, to: State, **values: Unpack[Changes]) -> Submission | None:
        """Record a transition; None if another dispatcher has changed the submission meanwhile."""
        if not await self._ledger.advance(submission, to, **values):
            _log_taken_over(submission)
            return None
        if to is not submission.state:
            _log_transition(submission, to, **values)
        return replace(submission, state=to, **values)


class _Registration(NamedTuple):
    """What a worker needs to register its runner.

    Args:
        runner_id: of the registration, None if the worker makes it.
        not_after: Unix seconds; a worker that starts later starts nothing.
        secrets: a part of the worker's input.
    """

    runner_id: int | None
    not_after: float
    secrets: WorkerInput


def _log_taken_over(submission: Submission) -> None:
    log.warning("submission taken over by another dispatcher", runner=submission.name)


def _log_transition(submission: Submission, to: State, **values: Unpack[Changes]) -> None:
    shown = {k: v for k, v in values.items() if k in ("request_id", "reason", "detail")}
    log.info(f"submission {to}", runner=submission.name, submission=submission.id, **shown)


def _why(withdraw: Withdrawal) -> Changes:
    """The columns that say why a request was withdrawn."""
    if withdraw.reason:
        return {"detail": withdraw.detail, "reason": withdraw.reason}
    return {"detail": withdraw.detail}
