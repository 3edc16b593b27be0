"""The run service: a runner takes a job, renews it while it runs, and completes it."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.emulator.github.model import CONCLUSIONS
from bridge.emulator.github.runner_protocol.answers import bearer, json_object, route, run_error
from bridge.emulator.github.runner_protocol.identity import Claim, Identity, guid
from bridge.emulator.github.runner_protocol.job_message import job_message
from bridge.emulator.github.state import GitHubState, Refused, Runner, iso


class RunService:
    """Takes, renews and completes jobs.

    Args:
        state: the model.
        identity: who calls.
        base_url: of the emulator.
    """

    def __init__(self, state: GitHubState, identity: Identity, base_url: Callable[[], str]) -> None:
        self._state = state
        self._identity = identity
        self._base_url = base_url

    def routes(self) -> list[Route]:
        """The calls for one job."""
        return [
            route("POST", "/_run/acquirejob", self._acquire),
            route("POST", "/_run/renewjob", self._renew),
            route("POST", "/_run/completejob", self._complete),
        ]

    async def _acquire(self, request: Request) -> Response:
        runner, wanted = self._identity.runner_of(request), str((await json_object(request)).get("jobMessageId"))
        if runner.job is None or guid("request", runner.job.id) != wanted:
            raise run_error(409, "The job was assigned to another runner.")
        job = self._state.acquire(runner, runner.job.id)
        token = self._identity.job_token(runner, job)
        lease = iso(self._state.clock() + self._state.limits.renewal)
        return JSONResponse(job_message(job, self._state, self._base_url(), token) | {"lockedUntil": lease})

    async def _renew(self, request: Request) -> Response:
        claim, _ = await self._claimed(request)
        try:
            self._state.renew(self._holder(claim), claim.job.id)
        except Refused as refused:
            raise run_error(404, refused.message) from None
        return JSONResponse({"lockedUntil": iso(self._state.clock() + self._state.limits.renewal)})

    async def _complete(self, request: Request) -> Response:
        """End a job. GitHub's answer to a second call for an ended job is not known; here nothing happens."""
        claim, body = await self._claimed(request)
        job, result = claim.job, str(body.get("conclusion", "")).capitalize()
        if result not in CONCLUSIONS:
            raise run_error(422, "The conclusion is not valid.")
        if job.reported:
            return Response()
        job.annotations = _annotations(body)
        job.steps |= {str(step.get("external_id")): step for step in body.get("stepResults") or ()}
        try:
            self._state.complete(self._holder(claim), job.id, result, _outputs(body), job.log)
        except Refused as refused:
            raise run_error(404, refused.message) from None
        job.reported = True
        return Response()

    async def _claimed(self, request: Request) -> tuple[Claim, dict[str, Any]]:
        claim, body = self._identity.claim_of(bearer(request)), await json_object(request)
        if (body.get("planId"), body.get("jobId")) != (guid("plan", claim.job.id), guid("job", claim.job.id)):
            raise run_error(404, "The job does not exist.")
        return claim, body

    def _holder(self, claim: Claim) -> Runner:
        runner = self._state.runners.get(claim.runner_id)
        if runner is None:
            raise run_error(404, "The runner does not exist.")
        return runner


def _outputs(body: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(output.get("value", "")) for name, output in (body.get("outputs") or {}).items()}


def _annotations(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those of the job and of its steps."""
    of_steps = (each for step in body.get("stepResults") or () for each in step.get("annotations") or ())
    return [*(body.get("annotations") or ()), *of_steps]
