"""The documents of RunPod's REST API v2 that the bridge reads, and those that it sends.

Lenient in what is read: unknown keys are ignored, and null counts as absent.
https://docs.runpod.io/api-reference-v2/serverless/create-a-serverless-endpoint
"""

from collections.abc import Collection
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from bridge.core.account import AccountLimits, ListedWorker, Rollout, WorkerCounts
from bridge.core.catalog import Offer
from bridge.core.cost import Bill
from bridge.core.endpoints import Cpu, Endpoint, EndpointSettings


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, value: Any) -> Any:
        return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value


def _texts(value: Any) -> Any:
    return {name: str(text) for name, text in value.items()} if isinstance(value, dict) else value


Variables = Annotated[dict[str, str], BeforeValidator(_texts)]


class Gpu(_Read):
    """`gpu` of an endpoint."""

    pools: list[str] = []
    excluded: list[str] = Field(default=[], alias="excludedTypes")
    count: int = 1
    min_cuda: str | None = Field(default=None, alias="minCudaVersion")
    cuda_versions: list[str] = Field(default=[], alias="allowedCudaVersions")


class CpuAlternative(_Read):
    """One of `cpu` of an endpoint."""

    id: str
    vcpus: int = Field(alias="vcpuCount")


class Workers(_Read):
    """`workers` of an endpoint."""

    min: int = 0
    max: int = 0


class Scaling(_Read):
    """`scaling` of an endpoint."""

    type: str
    count: int | None = Field(default=None, alias="requestCount")
    delay: float | None = Field(default=None, alias="queueDelay")


class EndpointDocument(_Read):
    """An endpoint as RunPod reports it."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    name: str
    type: str = "QUEUE"
    image: str | None = None
    disk: int | None = None
    env: Variables = {}
    registry: str | None = None
    gpu: Gpu | None = None
    cpu: list[CpuAlternative] = []
    workers: Workers = Workers()
    scaling: Scaling | None = None
    regions: list[str] = Field(default=[], alias="dataCenterIds")
    volumes: list[str] = Field(default=[], alias="networkVolumes")
    timeout: int = 0  # ms
    flashboot: str = "OFF"
    created_at: str = Field(default="", alias="createdAt")

    def endpoint(self) -> Endpoint:
        """The endpoint in the bridge's terms."""
        return Endpoint(id=self.id, created_at=self.created_at, settings=self._settings())

    def _settings(self) -> EndpointSettings:
        gpu = self.gpu or Gpu()
        return EndpointSettings(
            name=self.name,
            image=self.image or "",
            gpu=tuple(gpu.pools),
            exclude=tuple(gpu.excluded),
            gpu_count=gpu.count,
            min_cuda=gpu.min_cuda or None,
            cuda_versions=tuple(gpu.cuda_versions),
            cpu=tuple(Cpu(flavor=each.id, vcpus=each.vcpus) for each in self.cpu),
            workers_max=self.workers.max,
            workers_min=self.workers.min,
            regions=tuple(self.regions),
            disk_gb=self.disk,
            volumes=tuple(self.volumes),
            registry=self.registry or None,
            env=self.env,
            timeout=self.timeout / 1000,
            kind=self.type,
            scaling=_scaling(self.scaling),
            flashboot=self.flashboot,
        )


def _scaling(scaling: Scaling | None) -> str:
    if scaling is None:
        return "none"
    value = scaling.count if scaling.count is not None else scaling.delay
    return scaling.type if value is None else f"{scaling.type} {value:g}"


class EndpointList(_Read):
    """GET /v2/serverless."""

    endpoints: list[EndpointDocument]


class WorkerSummary(_Read):
    """Workers of an endpoint by status."""

    running: int = 0
    idle: int = 0
    initializing: int = 0
    throttled: int = 0
    unhealthy: int = 0

    def counts(self) -> WorkerCounts:
        """The numbers in the bridge's terms."""
        return WorkerCounts(**self.model_dump())


class WorkerDocument(_Read):
    """One worker of an endpoint."""

    id: str
    status: str
    stale: bool = Field(default=False, alias="isStale")
    gpu_type: str | None = Field(default=None, alias="gpuTypeId")
    data_center: str | None = Field(default=None, alias="dataCenterId")
    uptime: float | None = Field(default=None, alias="uptimeSeconds")

    def worker(self) -> ListedWorker:
        """The worker in the bridge's terms."""
        return ListedWorker(**self.model_dump())


class WorkerList(_Read):
    """GET /v2/serverless/{id}/workers."""

    summary: WorkerSummary
    workers: list[WorkerDocument] = []


class RolloutSummary(_Read):
    """How far the newest release has reached an endpoint's workers."""

    latest: int = Field(alias="workersOnLatest")
    total: int = Field(alias="workersTotal")


class ReleaseList(_Read):
    """GET /v2/serverless/{id}/releases."""

    summary: RolloutSummary = Field(alias="rollout")

    def rollout(self) -> Rollout:
        """The rollout in the bridge's terms."""
        return Rollout(workers=self.summary.total, on_latest=self.summary.latest)


class Region(_Read):
    """Stock in one data center."""

    id: str
    availability: str


class GpuPrice(_Read):
    """USD per GPU and hour."""

    serverless: float | None = None


class GpuType(_Read):
    """One GPU type of the catalog."""

    id: str
    pool: str | None = None
    memory: float | None = None  # GB
    price: GpuPrice = GpuPrice()
    availability: str | None = None
    regions: list[Region] = Field(default=[], alias="dataCenters")

    def offer(self) -> Offer:
        """The type in the bridge's terms."""
        return _offer(self.id, self.pool, self.price.serverless, self)


class GpuCatalog(_Read):
    """GET /v2/catalog/gpus."""

    gpus: list[GpuType]


class CpuPrice(_Read):
    """USD per vCPU and hour."""

    serverless: float | None = Field(default=None, alias="serverlessPerVcpu")


class CpuType(_Read):
    """One CPU flavor of the catalog."""

    id: str
    memory: float | None = Field(default=None, alias="ramGbPerVcpu")
    price: CpuPrice = CpuPrice()
    availability: str | None = None
    regions: list[Region] = Field(default=[], alias="dataCenters")

    def offer(self) -> Offer:
        """The flavor in the bridge's terms."""
        return _offer(self.id, self.id, self.price.serverless, self)


class CpuCatalog(_Read):
    """GET /v2/catalog/cpus."""

    cpus: list[CpuType]


def _offer(id_: str, pool: str | None, price: float | None, stock: GpuType | CpuType) -> Offer:
    regions = {region.id: region.availability for region in stock.regions}
    return Offer(id=id_, pool=pool, price=price, memory_gb=stock.memory, stock=stock.availability, regions=regions)


class BillingRecord(_Read):
    """What was billed for one endpoint in one bucket of time, in USD."""

    endpoint: str = Field(alias="serverlessId")
    start: Annotated[str, Field(alias="startTime", pattern=r"^\d{4}-\d{2}-\d{2}")]
    total: Annotated[float, Field(allow_inf_nan=False)] = Field(alias="totalAmount")
    gpu: Annotated[float, Field(allow_inf_nan=False)] = Field(default=0.0, alias="gpuAmount")
    cpu: Annotated[float, Field(allow_inf_nan=False)] = Field(default=0.0, alias="cpuAmount")

    def bill(self) -> Bill:
        """The record in the bridge's terms. A bucket of a day begins at midnight UTC."""
        return Bill(endpoint=self.endpoint, day=self.start[:10], usd=self.total, usage_usd=self.gpu + self.cpu)


class Billing(_Read):
    """GET /v2/billing/serverless: https://docs.runpod.io/api-reference-v2/billing/get-serverless-billing-history."""

    records: list[BillingRecord]


class Limit(_Read):
    """One limit of the account. The key is not documented, so the names that RunPod may use are all tried."""

    limit: float | None = None
    max: float | None = None
    value: float | None = None

    def known(self) -> float | None:
        """The limit, None if it cannot be told."""
        return next((value for value in (self.limit, self.max, self.value) if value is not None), None)


class Limits(_Read):
    """GET /v2/account/limits: https://docs.runpod.io/api-reference-v2/account/get-account-limits."""

    workers: Limit = Field(default=Limit(), alias="serverlessWorkers")
    spending: Limit = Field(default=Limit(), alias="spendRate")  # USD per hour

    def limits(self) -> AccountLimits:
        """The limits in the bridge's terms."""
        workers = self.workers.known()
        return AccountLimits(workers=None if workers is None else int(workers), spending=self.spending.known())


def creation(settings: EndpointSettings) -> dict[str, Any]:
    """The body of POST /v2/serverless.

    There is no `idleTimeout`: RunPod rejects it for a queue that scales by REQUEST_COUNT.
    """
    optional: dict[str, Any] = {"disk": settings.disk_gb, "registry": settings.registry}
    lists = {"dataCenterIds": list(settings.regions), "networkVolumes": list(settings.volumes)}
    return {
        "name": settings.name,
        "type": settings.kind,
        "image": settings.image,
        "scaling": _SCALING,
        "workers": _workers(settings),
        "timeout": _milliseconds(settings),
        "flashboot": settings.flashboot,
        "env": dict(settings.env),
        **({"cpu": _cpu(settings)} if settings.cpu else {"gpu": _new_gpu(settings)}),
        **{key: value for key, value in (optional | lists).items() if value},
    }


_SCALING = {"type": "REQUEST_COUNT", "requestCount": 1}


def _workers(settings: EndpointSettings) -> dict[str, int]:
    return {"min": settings.workers_min, "max": settings.workers_max}


def _milliseconds(settings: EndpointSettings) -> int:
    return int(settings.timeout * 1000)


def _cpu(settings: EndpointSettings) -> list[dict[str, Any]]:
    return [{"id": cpu.flavor, "vcpuCount": cpu.vcpus} for cpu in settings.cpu]


def _new_gpu(settings: EndpointSettings) -> dict[str, Any]:
    gpu: dict[str, Any] = {"pools": list(settings.gpu), "count": settings.gpu_count}
    if settings.exclude:
        gpu["excludedTypes"] = list(settings.exclude)
    if settings.min_cuda:
        gpu["minCudaVersion"] = settings.min_cuda
    return gpu


def update(settings: EndpointSettings, changed: Collection[str]) -> dict[str, Any]:
    """The body of PATCH /v2/serverless/{id}: only what has changed.

    Args:
        settings: as wanted.
        changed: names of the settings that differ.
    """
    simple = {"name": settings.name, "image": settings.image, "registry": settings.registry}
    whole = {
        "disk_gb": ("disk", settings.disk_gb),
        "env": ("env", dict(settings.env)),  # RunPod replaces the whole map
        "timeout": ("timeout", _milliseconds(settings)),
        "scaling": ("scaling", _SCALING),
        "flashboot": ("flashboot", settings.flashboot),
        "regions": ("dataCenterIds", list(settings.regions)),
        "volumes": ("networkVolumes", list(settings.volumes)),
        "cpu": ("cpu", _cpu(settings)),
        "workers_max": ("workers", _workers(settings)),
        "workers_min": ("workers", _workers(settings)),
    }
    body: dict[str, Any] = {name: value for name, value in simple.items() if name in changed}
    body |= {key: value for name, (key, value) in whole.items() if name in changed}
    gpu = _changed_gpu(settings, changed)
    return {**body, "gpu": gpu} if gpu else body


def _changed_gpu(settings: EndpointSettings, changed: Collection[str]) -> dict[str, Any]:
    gpu: dict[str, Any] = {}
    if "gpu" in changed or "exclude" in changed:
        # One selection: RunPod clears the exclusions if they do not come with the pools.
        gpu |= {"pools": list(settings.gpu), "excludedTypes": list(settings.exclude)}
    if "gpu_count" in changed:
        gpu["count"] = settings.gpu_count
    if "min_cuda" in changed:
        gpu["minCudaVersion"] = settings.min_cuda or ""
    if "cuda_versions" in changed:
        gpu["allowedCudaVersions"] = list(settings.cuda_versions)
    return gpu
