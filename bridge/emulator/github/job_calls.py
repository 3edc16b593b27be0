"""GitHub's calls about one job: it is read, or re-run. A part of `Rest`."""

from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from bridge.emulator.github import shapes
from bridge.emulator.github.state import GitHubState, Refused

Answer = tuple[int, Any]


class JobCalls:
    """The calls; `Rest` has the rest of what they need."""

    _state: GitHubState

    @property
    def _api(self) -> str:
        raise NotImplementedError

    def _repository(self, request: Request) -> str:
        raise NotImplementedError

    def _by_token(self, method: str, path: str, needs: tuple[str, str], answer: Any) -> Route:
        raise NotImplementedError

    def _job_routes(self) -> list[Route]:
        job = "/repos/{owner}/{repo}/actions/jobs/{id:int}"
        return [
            self._by_token("GET", job, ("actions", "read"), self._job),
            self._by_token("POST", f"{job}/rerun", ("actions", "write"), self._rerun),
        ]

    async def _job(self, request: Request) -> Answer:
        job = self._state.jobs.get(request.path_params["id"])
        if not job or job.repository != self._repository(request):
            raise Refused(404, "Not Found")
        return 200, shapes.job(self._state, job, self._api)

    async def _rerun(self, request: Request) -> Answer:
        """https://docs.github.com/rest/actions/workflow-runs#re-run-a-job-from-a-workflow-run"""
        self._state.rerun_job(self._repository(request), request.path_params["id"])
        return 201, {}
