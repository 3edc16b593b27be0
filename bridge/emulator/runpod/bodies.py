"""What the emulated management API accepts as a body: unknown keys and wrong types are refused with 422.

https://docs.runpod.io/api-reference-v2/serverless/create-a-serverless-endpoint
https://docs.runpod.io/api-reference-v2/serverless/update-a-serverless-endpoint
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

CudaVersion = Annotated[str, Field(pattern=r"^\d+\.\d+$")]
Named = Annotated[str, Field(min_length=1)]
FlashBoot = Literal["OFF", "FLASHBOOT", "PRIORITY_FLASHBOOT"]


class Problem(Exception):
    """A call that RunPod refuses, as `application/problem+json` (RFC 9457).

    Args:
        status: HTTP status.
        detail: explanation for a person.
        errors: the single failures of a validation.
    """

    def __init__(self, status: int, detail: str, errors: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _no_null(cls, value: Any) -> Any:
        """Only `registry` may be null."""
        nulls = [k for k, v in value.items() if v is None and k != "registry"] if isinstance(value, dict) else []
        if nulls:
            raise ValueError(f"{nulls[0]} must not be null")
        return value


class _Gpu(_Body):
    excludedTypes: list[Annotated[str, Field(pattern=r"^\s*[^-\s]")]] = []  # noqa: N815 - RunPod's own names
    count: Annotated[int, Field(ge=1)] = 1
    allowedCudaVersions: list[CudaVersion] = []  # noqa: N815

    @model_validator(mode="after")
    def _unique(self) -> "_Gpu":
        if len(set(self.excludedTypes)) < len(self.excludedTypes):
            raise ValueError("excludedTypes has an item twice")
        return self


class NewGpu(_Gpu):
    """`gpu` of POST."""

    pools: Annotated[list[str], Field(min_length=1)]
    minCudaVersion: CudaVersion | None = None  # noqa: N815


class ChangedGpu(_Gpu):
    """`gpu` of PATCH: `excludedTypes` needs `pools`."""

    pools: Annotated[list[str], Field(min_length=1)] | None = None
    minCudaVersion: Annotated[str, Field(pattern=r"^$|^\d+\.\d+$")] | None = None  # noqa: N815

    @model_validator(mode="after")
    def _one_selection(self) -> "ChangedGpu":
        if "excludedTypes" in self.model_fields_set and self.pools is None:
            raise ValueError("excludedTypes requires pools")
        return self


class _Cpu(_Body):
    id: Named
    vcpuCount: Annotated[int, Field(ge=2)]  # noqa: N815


class _Workers(_Body):
    min: Annotated[int, Field(ge=0)] = 0
    max: Annotated[int, Field(ge=0)] = 3
    idleTimeout: Annotated[int, Field(ge=1, le=3600)] = 10  # noqa: N815


class _QueueDelay(_Body):
    type: Literal["QUEUE_DELAY"]
    queueDelay: Annotated[float, Field(ge=0.5)]  # noqa: N815


class _RequestCount(_Body):
    type: Literal["REQUEST_COUNT"]
    requestCount: Annotated[int, Field(ge=1)]  # noqa: N815


_Scaling = Annotated[_QueueDelay | _RequestCount, Field(discriminator="type")]


class _Common(_Body):
    args: str = ""
    disk: Annotated[int, Field(ge=1)] = 20
    env: dict[str, str] = {}
    image: str | None = None
    ports: list[str] = []
    registry: str | None = None
    cpu: Annotated[list[_Cpu], Field(min_length=1)] | None = None
    dataCenterIds: list[str] = []  # noqa: N815
    networkVolumes: list[str] = []  # noqa: N815
    flashboot: FlashBoot = "OFF"
    timeout: int = 300_000
    workers: _Workers = _Workers()

    @model_validator(mode="after")
    def _unique_cpus(self) -> "_Common":
        alternatives = [(each.id, each.vcpuCount) for each in self.cpu or []]
        if len(set(alternatives)) < len(alternatives):
            raise ValueError("cpu has an item twice")
        return self


class Creation(_Common):
    """The body of POST /v2/serverless."""

    name: Named
    type: Literal["QUEUE", "LOAD_BALANCER"]
    scaling: _Scaling
    gpu: NewGpu | None = None

    @model_validator(mode="after")
    def _complete(self) -> "Creation":
        if self.image is None:
            raise ValueError("image is required")  # unless templateId is set, and templates are not emulated
        if self.type == "LOAD_BALANCER" and self.scaling.type != "REQUEST_COUNT":
            raise ValueError("scaling.type must be REQUEST_COUNT for LOAD_BALANCER")
        return self


class Change(_Common):
    """The body of PATCH /v2/serverless/{id}."""

    name: Named | None = None
    scaling: _Scaling | None = None
    gpu: ChangedGpu | None = None


def validated(model: type[BaseModel], body: Any) -> dict[str, Any]:
    """The body, if it is valid.

    Raises:
        Problem: 422, with one error per failure.
    """
    try:
        model.model_validate(body)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors()]
        raise Problem(422, "Request validation failed.", tuple(lines)) from None
    return dict(body)
