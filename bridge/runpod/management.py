"""RunPod's endpoints through its REST API v2: list, create, update, delete, catalog, bills and quota.

Not to be confused with `requests.py`, which sends requests to an endpoint through another host.
"""

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from bridge.core.account import AccountLimits, ListedWorker, Rollout, WorkerCounts
from bridge.core.catalog import Offer
from bridge.core.cost import Bill
from bridge.core.endpoints import Change, Endpoint, EndpointSettings
from bridge.errors import BridgeError, OutcomeUnknown, Rejected, Unavailable
from bridge.runpod import management_models as models
from bridge.runpod.management_http import ManagementHttp

T = TypeVar("T")


class Management:
    """RunPod's management API.

    Args:
        http: sends the calls.
    """

    def __init__(self, http: ManagementHttp) -> None:
        self._http = http

    async def endpoints(self) -> tuple[Endpoint, ...]:
        """All endpoints of the account: RunPod does not split the list into pages."""
        answer = await self._http.read("/v2/serverless")
        found = _read("GET /v2/serverless", lambda: models.EndpointList.model_validate(answer))
        return tuple(document.endpoint() for document in found.endpoints)

    async def endpoint(self, endpoint_id: str) -> Endpoint | None:
        """One endpoint, None if there is none of this id."""
        path = _path(endpoint_id)
        try:
            answer = await self._http.read(path)
        except Rejected as error:
            if error.status == 404:
                return None
            raise
        return _read(f"GET {path}", lambda: models.EndpointDocument.model_validate(answer)).endpoint()

    async def create(self, settings: EndpointSettings) -> Endpoint:
        """Create an endpoint. RunPod does not refuse a second one of the same name.

        Raises:
            OutcomeUnknown: it may have been created; look for its name before trying again.
            AuthError, RateLimited, Rejected, Unavailable: it was not created.
        """
        answer = await self._http.change("POST", "/v2/serverless", models.creation(settings))
        return _changed("POST /v2/serverless", answer)

    async def update(self, endpoint_id: str, settings: EndpointSettings, changes: tuple[Change, ...]) -> Endpoint:
        """Change some settings of an endpoint.

        Args:
            endpoint_id: RunPod's.
            settings: as wanted.
            changes: those that differ; no others are sent.

        Raises:
            OutcomeUnknown: they may have been changed.
            AuthError, RateLimited, Rejected, Unavailable: nothing was changed.
        """
        path, body = _path(endpoint_id), models.update(settings, {change.setting for change in changes})
        return _changed(f"PATCH {path}", await self._http.change("PATCH", path, body))

    async def delete(self, endpoint_id: str) -> None:
        """Delete an endpoint and cancel its requests; one that is already gone is no error.

        Raises:
            OutcomeUnknown: it may have been deleted.
            AuthError, RateLimited, Rejected, Unavailable: it was not deleted.
        """
        try:
            await self._http.change("DELETE", _path(endpoint_id))
        except Rejected as error:
            if error.status != 404:
                raise

    async def running_workers(self, endpoint_id: str) -> int:
        """The number of workers that run a job."""
        return (await self.workers(endpoint_id)).running

    async def workers(self, endpoint_id: str) -> WorkerCounts:
        """The numbers of an endpoint's workers by state."""
        return (await self._workers(endpoint_id)).summary.counts()

    async def listed_workers(self, endpoint_id: str) -> tuple[ListedWorker, ...]:
        """The active workers of an endpoint."""
        return tuple(document.worker() for document in (await self._workers(endpoint_id)).workers)

    async def _workers(self, endpoint_id: str) -> models.WorkerList:
        path = f"{_path(endpoint_id)}/workers"
        answer = await self._http.read(path)
        return _read(f"GET {path}", lambda: models.WorkerList.model_validate(answer))

    async def rollout(self, endpoint_id: str) -> Rollout:
        """How many of an endpoint's workers run its newest release."""
        path = f"{_path(endpoint_id)}/releases"
        answer = await self._http.read(path)
        return _read(f"GET {path}", lambda: models.ReleaseList.model_validate(answer)).rollout()

    async def gpus(self, count: int, min_cuda: str | None) -> tuple[Offer, ...]:
        """Prices and stock of all GPU types.

        Args:
            count: GPUs of one worker.
            min_cuda: only count machines with at least this CUDA version.
        """
        params = {**_SERVERLESS, "count": str(count), **({"minCudaVersion": min_cuda} if min_cuda else {})}
        answer = await self._http.read("/v2/catalog/gpus", params)
        found = _read("GET /v2/catalog/gpus", lambda: models.GpuCatalog.model_validate(answer))
        return tuple(gpu.offer() for gpu in found.gpus)

    async def cpus(self, vcpus: int) -> tuple[Offer, ...]:
        """Prices and stock of all CPU flavors.

        Args:
            vcpus: of one worker.
        """
        answer = await self._http.read("/v2/catalog/cpus", {**_SERVERLESS, "vcpuCount": str(vcpus)})
        found = _read("GET /v2/catalog/cpus", lambda: models.CpuCatalog.model_validate(answer))
        return tuple(cpu.offer() for cpu in found.cpus)

    async def billed(self, days: int) -> tuple[Bill, ...]:
        """What was billed for each endpoint and UTC day, with today's bill so far.

        Args:
            days: how many, with today.
        """
        params = {"bucketSize": "day", "lastN": str(days)}
        answer = await self._http.read("/v2/billing/serverless", params)
        found = _read("GET /v2/billing/serverless", lambda: models.Billing.model_validate(answer))
        return tuple(record.bill() for record in found.records)

    async def worker_quota(self) -> int | None:
        """The account's quota: the highest sum of `workers_max`; None if the key or the API does not tell it."""
        return (await self.limits()).workers

    async def limits(self) -> AccountLimits:
        """The account's limits; those that the key or the API does not tell are None."""
        # https://docs.runpod.io/api-reference-v2/account/get-account-limits: the path is inferred from that page's
        # title, since the OpenAPI description does not have it yet.
        try:
            answer = await self._http.read("/v2/account/limits")
            return models.Limits.model_validate(answer).limits()
        except (BridgeError, ValidationError):
            return AccountLimits()


_SERVERLESS = {"include": "AVAILABILITY", "product": "SERVERLESS"}


def _path(endpoint_id: str) -> str:
    return f"/v2/serverless/{quote(endpoint_id, safe='')}"


def _changed(call: str, answer: Any) -> Endpoint:
    try:
        return models.EndpointDocument.model_validate(answer).endpoint()
    except ValidationError as error:
        raise OutcomeUnknown(f"RunPod: {call}: {_unexpected(error)}; it may have been done") from None


def _read(call: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except ValidationError as error:
        raise Unavailable(f"RunPod: {call}: {_unexpected(error)}") from None


def _unexpected(error: ValidationError) -> str:
    where = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
    return f"the answer has an unexpected form (at {where or 'the top'})"
