"""Carry a plan out: each arrow is written down before the call that follows it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any, Protocol

import structlog

from bridge import callback
from bridge.decision import State, Submission, Sweep, Withdraw
from bridge.errors import BridgeError, NameTaken, OutcomeUnknown
from bridge.model import Credentials, JitConfig, Reason, RegistrationToken, Route, Scope, WorkerInput
from bridge.naming import holding_labels, runner_labels

log = structlog.get_logger()


TOKEN_MARGIN = 180.0
"""s that a registration token must last beyond the latest start of its worker: config.sh has 120, clocks differ."""

TOGETHER = 40
"""Claims that are served at once; the others' leases run only from their turn."""


class GitHubHand(Protocol):
    """What is changed on GitHub."""

    async def runner_group_id(self, target: str, name: str) -> int: ...
    async def generate_jit_config(self, target: str, *, name: str, labels: list[str], group_id: int) -> JitConfig: ...
    async def registration_token(self, target: str) -> RegistrationToken: ...
    async def delete_runner(self, target: str, runner_id: int) -> bool: ...


class RunPodHand(Protocol):
    """What is changed on RunPod."""

    async def prepare(self, endpoint: str) -> None: ...
    async def submit(self, route: Route, worker_input: WorkerInput, callback: str | None) -> str: ...
    async def cancel(self, endpoint: str, request_id: str) -> None: ...


class Records(Protocol):
    """Where arrows are written down."""

    async def advance(self, submission: Submission, to: State, **values: Any) -> bool: ...


class Applier:
    """Carries out one plan.

    Args:
        github: to mint and delete.
        runpod: to submit and cancel.
        ledger: to write to.
        scope: what the bridge serves.
        clock: Unix seconds.
    """

    def __init__(
        self,
        github: GitHubHand,
        runpod: RunPodHand,
        ledger: Records,
        scope: Scope,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._github = github
        self._runpod = runpod
        self._ledger = ledger
        self._scope = scope
        self._clock = clock
        self._slots = asyncio.Semaphore(TOGETHER)
        self._refusals: dict[str, BridgeError] = {}
        self.problems: list[str] = []
        self.submitted: list[Submission] = []

    async def apply(
        self,
        claimed: Iterable[tuple[Submission, Route]],
        withdrawals: Iterable[Withdraw],
        sweeps: Iterable[Sweep],
    ) -> None:
        """Do it all; what could not be done is in `problems`, what was submitted in `submitted`."""
        work: list[Awaitable[None]] = [self._serve(submission, route) for submission, route in claimed]
        work += [self._withdraw(withdraw) for withdraw in withdrawals]
        work += [self._sweep(sweep) for sweep in sweeps]
        await asyncio.gather(*(self._noting(each) for each in work))

    async def _noting(self, work: Awaitable[None]) -> None:
        try:
            await work
        except BridgeError as error:
            self.problems.append(str(error))

    async def _serve(self, claimed: Submission, route: Route) -> None:
        """From a claimed name to a submitted request."""
        async with self._slots:
            refusal = self._refusals.get(route.endpoint)
            if refusal:
                await self._to(claimed, State.RELEASED, detail=str(refusal))
                return
            submission = await self._kept(claimed)
            worker_input = await self._mint(submission, route) if submission else None
            if worker_input:
                await self._runpod.prepare(route.endpoint)
                await self._submit(*worker_input, route)

    async def _kept(self, claimed: Submission) -> Submission | None:
        """The claim with its lease begun anew if its turn came late; None if another has meanwhile released it."""
        late = self._clock() > claimed.since + (claimed.lease_until - claimed.since) / 10
        return await self._to(claimed, State.CLAIMED) if late else claimed

    async def _mint(self, submission: Submission, route: Route) -> tuple[Submission, WorkerInput] | None:
        """Register the runner, or get what its worker registers it with; None if another took over."""
        try:
            runner_id, expires_at, secrets = await self._credential(submission, route)
        except NameTaken as error:
            await self._to(submission, State.FAILED, reason=Reason.NAME_TAKEN, detail=str(error))
            raise
        except OutcomeUnknown:
            raise  # it stays claimed until its lease ends; then its runner is looked for and deleted
        except BridgeError as error:
            await self._to(submission, State.RELEASED, detail=str(error))
            raise
        not_after = min(submission.not_after, expires_at)
        minted = await self._to(submission, State.MINTED, runner_id=runner_id, not_after=not_after)
        if not minted:
            return None
        return minted, {**self._input(minted, route), **secrets}

    async def _credential(self, submission: Submission, route: Route) -> tuple[int | None, float, WorkerInput]:
        target = submission.pool.target
        if route.credentials is Credentials.JIT:
            labels = runner_labels(route, self._scope.prefix, submission.created_at)
            group = await self._github.runner_group_id(target, route.runner_group)
            jit = await self._github.generate_jit_config(target, name=submission.name, labels=labels, group_id=group)
            return jit.runner_id, submission.not_after, {"jit_config": jit.encoded}
        if route.credentials is Credentials.REGISTRATION:
            token = await self._github.registration_token(target)
            return None, token.expires_at - TOKEN_MARGIN, {"registration_token": token.token}
        return None, submission.not_after, {}

    def _input(self, submission: Submission, route: Route) -> WorkerInput:
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
        }

    async def _submit(self, minted: Submission, worker_input: WorkerInput, route: Route) -> None:
        submission = await self._to(minted, State.SUBMITTING)
        if not submission:
            return
        try:
            request_id = await self._runpod.submit(route, worker_input, self._callback(submission))
        except OutcomeUnknown as error:
            await self._to(submission, State.UNKNOWN, detail=str(error))
            raise
        except BridgeError as error:
            self._refusals[route.endpoint] = error
            await self._to(submission, State.RELEASED, detail=str(error))
            if submission.runner_id is not None:
                await self._github.delete_runner(submission.pool.target, submission.runner_id)
            raise
        submitted = await self._to(submission, State.SUBMITTED, request_id=request_id)
        if submitted:
            self.submitted.append(submitted)

    def _callback(self, submission: Submission) -> str | None:
        if not (self._scope.public_url and self._scope.callback_key):
            return None
        return self._scope.public_url + callback.path(submission.id, self._scope.callback_key)

    async def _withdraw(self, withdraw: Withdraw) -> None:
        submission = withdraw.submission
        if withdraw.runner_id is not None:
            agreed = await self._github.delete_runner(submission.pool.target, withdraw.runner_id)
            if not agreed:
                await self._to(submission, State.BUSY)
                return
        if submission.request_id and not await self._cancel(submission, submission.request_id):
            return
        await self._to(submission, withdraw.to, detail=withdraw.detail)

    async def _cancel(self, submission: Submission, request_id: str) -> bool:
        """Cancel a request whose runner holds no job; whether it could be."""
        if submission.credentials is Credentials.JIT:  # its registration is deleted, and no worker can make another
            await self._runpod.cancel(submission.endpoint, request_id)
            return True
        try:
            held = await self._hold_name(submission)
        except NameTaken:  # its worker has registered meanwhile: the next look sees it
            log.info("request kept: its runner has registered", runner=submission.name)
            return False
        try:
            await self._runpod.cancel(submission.endpoint, request_id)
        finally:
            await self._github.delete_runner(submission.pool.target, held.runner_id)
        return True

    async def _hold_name(self, submission: Submission) -> JitConfig:
        """Register a runner's name ourselves: GitHub refuses if it has one, and refuses its worker from then on.

        Raises:
            NameTaken: it has one.
        """
        target = submission.pool.target
        groups = {route.name: route.runner_group for route in self._scope.routes}
        group = await self._github.runner_group_id(target, groups.get(submission.pool.route, "Default"))
        labels = holding_labels(self._scope.prefix, submission.created_at)
        return await self._github.generate_jit_config(target, name=submission.name, labels=labels, group_id=group)

    async def _sweep(self, sweep: Sweep) -> None:
        gone = await self._github.delete_runner(sweep.target, sweep.runner.id)
        log.info("runner swept" if gone else "runner kept: busy", runner=sweep.runner.name)

    async def _to(self, submission: Submission, to: State, **values: Any) -> Submission | None:
        """Write an arrow down; None if another dispatcher has moved the submission meanwhile."""
        if not await self._ledger.advance(submission, to, **values):
            log.warning("submission taken over by another dispatcher", runner=submission.name)
            return None
        shown = {k: v for k, v in values.items() if k in ("request_id", "reason", "detail")}
        if to is not submission.state:
            log.info(f"submission {to}", runner=submission.name, submission=submission.id, **shown)
        return replace(submission, state=to, **values)
