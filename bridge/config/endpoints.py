"""`[[endpoint]]` tables of bridge.toml, and the file with the RunPod id of each.

`bridge endpoints apply` writes that file beside bridge.toml, so that nothing needs to look the ids up:
https://docs.runpod.io/api-reference-v2/serverless/create-a-serverless-endpoint has the meaning of the settings.
"""

import contextlib
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from bridge.config.types import EndpointId, Usd, _like, secret_in
from bridge.core.endpoints import MARK, Cpu, EndpointSettings
from bridge.errors import ConfigError

EndpointName = Annotated[str, _like(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "at most 63 letters, digits, ., - and _")]
Pool = Annotated[str, _like(r"[A-Z0-9]+(_[A-Z0-9]+)*", "the id of a GPU pool, such as ADA_24")]
GpuType = Annotated[str, _like(r"[^-\s].*", "the id of a GPU type, such as NVIDIA L4")]
Region = Annotated[str, _like(r"[A-Z0-9]+(-[A-Z0-9]+)+", "the id of a data center, such as EU-RO-1")]
ObjectId = Annotated[str, _like(r"[A-Za-z0-9_-]{1,64}", "an id of at most 64 letters, digits, - and _")]
CudaVersion = Annotated[str, _like(r"\d+\.\d+", "a version in quotes, such as '12.6'")]
Image = Annotated[str, _like(r"\S+", "a container image, such as ghcr.io/acme/runner:1.0")]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_SECRET_NAME = re.compile(r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|PASS|CREDENTIALS?|KEY|PAT|APIKEY)$", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"\b(hf_|sk-|AKIA|ASIA|xox[abprs]-|glpat-|dckr_pat_|npm_|pypi-)[A-Za-z0-9_-]{8}|\beyJ[\w-]+\.[\w-]+\."
    r"|://[^/\s:@]+:[^/\s@]+@"
)
_REFERENCE = re.compile(r"\{\{\s*RUNPOD_SECRET_[A-Za-z_][A-Za-z0-9_.\-/]*\s*\}\}")
"""Replaced by RunPod when a worker starts: https://docs.runpod.io/pods/templates/secrets"""

_HEADER = "# Written by `bridge endpoints apply`: the RunPod id of each [[endpoint]]. Keep it beside bridge.toml.\n"


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError("must be a power of two, such as 4")
    return value


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class CpuTable(_Table):
    """`cpu = {flavor = "cpu5c", vcpus = 4}`."""

    flavor: ObjectId
    vcpus: Annotated[int, Field(ge=2), AfterValidator(_power_of_two)]


class EndpointTable(_Table):
    """`[[endpoint]]`: an endpoint that `bridge endpoints apply` creates and keeps as it is here."""

    name: EndpointName
    image: Image
    gpu: Annotated[list[Pool], Field(min_length=1)] | None = None
    exclude: list[GpuType] = []
    gpu_count: Annotated[int, Field(ge=1)] = 1
    min_cuda: CudaVersion | None = None
    cpu: CpuTable | None = None
    workers_max: Annotated[int, Field(ge=1)] = 3
    workers_min: Annotated[int, Field(ge=0)] = 0
    regions: list[Region] = []
    disk_gb: Annotated[int, Field(ge=1)] | None = None
    volumes: list[ObjectId] = []
    registry: ObjectId | None = None
    env: dict[str, str] = {}
    usd_per_hour: Usd | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> "EndpointTable":
        if (self.gpu is None) == (self.cpu is None):
            raise ValueError(f"{self.name} needs either `gpu` or `cpu`")
        gpu_only = self.exclude or self.min_cuda or self.gpu_count > 1
        if self.cpu and gpu_only:
            raise ValueError(f"{self.name} has CPU workers; remove `exclude`, `gpu_count` and `min_cuda`")
        if self.workers_min > self.workers_max:
            raise ValueError(f"{self.name}: `workers_min` is over `workers_max`; lower it")
        _check_variables(self.name, self.env)
        return self


def _check_variables(endpoint: str, env: Mapping[str, str]) -> None:
    """Refuse variables that the bridge sets, and secrets: everyone who can see the endpoint can read its variables."""
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{endpoint}: env: a name has other characters than letters, digits and _; correct it")
        if name == MARK:
            raise ValueError(f"{endpoint}: env.{name} is set by the bridge; remove it")
        if _is_secret(name, value):
            raise ValueError(
                f"{endpoint}: env.{name} looks like a secret; create a secret in RunPod, "
                f"and write {{{{ RUNPOD_SECRET_name }}}} instead of the value"
            )


def _is_secret(name: str, value: str) -> bool:
    """Whether a value is probably a secret that is written out; references to RunPod's secrets are not."""
    literal = _REFERENCE.sub("", value)
    if secret_in(literal) or _SECRET_VALUE.search(literal):
        return True
    return bool(_SECRET_NAME.search(name)) and bool(literal.strip())


def endpoint_settings(table: EndpointTable, *, mark: str, timeout: float) -> EndpointSettings:
    """The settings that an endpoint should have in RunPod.

    Args:
        table: of bridge.toml.
        mark: the value of MARK, which tells this bridge's endpoints from others.
        timeout: s that one request may run.
    """
    given = table.model_dump(exclude={"cpu", "gpu", "env", "usd_per_hour"})
    lists: dict[str, Any] = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    return EndpointSettings(
        **{**given, **lists},
        gpu=tuple(table.gpu or ()),
        cpu=(Cpu(flavor=table.cpu.flavor, vcpus=table.cpu.vcpus),) if table.cpu else (),
        env={**table.env, MARK: mark},
        timeout=timeout,
    )


def check_names(tables: Sequence[EndpointTable]) -> None:
    """Refuse two tables of one name.

    Raises:
        ConfigError: there are two.
    """
    names = [table.name for table in tables]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ConfigError(f"endpoint.name: {twice} is used twice; give each endpoint its own name")


class _IdsFile(_Table):
    endpoints: dict[EndpointName, EndpointId] = {}


def ids_path(config: Path) -> Path:
    """The file with the ids: `bridge.endpoints.toml` for `bridge.toml`, in the same folder."""
    return config.expanduser().with_name(f"{config.stem}.endpoints.toml")


def read_ids(config: Path | None) -> dict[str, str]:
    """The RunPod id of each endpoint that `bridge endpoints apply` created, by name.

    Args:
        config: path of bridge.toml; None has no such file.

    Raises:
        ConfigError: the file cannot be read.
    """
    if config is None:
        return {}
    path = ids_path(config)
    try:
        return dict(_IdsFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig"))).endpoints)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ConfigError(
            f"{path}: not as `bridge endpoints apply` writes it; remove it and run `bridge endpoints apply`"
        ) from None


def write_ids(config: Path, ids: Mapping[str, str]) -> None:
    """Replace the file with the ids, in one step: a reader sees either the old file or the new one.

    Raises:
        ConfigError: it cannot be written.
    """
    path = ids_path(config)
    lines = [f'"{name}" = "{id_}"\n' for name, id_ in sorted(ids.items())]
    try:
        _replace(path, "".join([_HEADER, "[endpoints]\n", *lines]))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


def _replace(path: Path, text: str) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(mode)
        Path(temporary).replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def endpoint_ids(
    route: str, one: str | None, several: Sequence[str] | None, names: Sequence[str], ids: Mapping[str, str]
) -> list[str] | None:
    """The RunPod ids of a route's endpoints, the preferred one first; None if the route names none.

    Args:
        route: its name, for errors.
        one: its `endpoint`: the name of an `[[endpoint]]`, or a RunPod id.
        several: its `endpoints`, the same in a list.
        names: of the `[[endpoint]]` tables.
        ids: of `read_ids`.

    Raises:
        ConfigError: both are given, an endpoint without an id, one that is neither a name nor an id, or one twice.
    """
    if one and several:
        raise ConfigError(f"route {route}: has both `endpoint` and `endpoints`; remove `endpoint`")
    given = several or ([one] if one else [])
    found = [_endpoint_id(route, name, names, ids) for name in given]
    twice = next((name for name, id_ in zip(given, found, strict=True) if found.count(id_) > 1), None)
    if twice:
        raise ConfigError(f"route {route}: endpoints: {twice} is there twice; name each endpoint once")
    return found or None


def _endpoint_id(route: str, name: str, names: Sequence[str], ids: Mapping[str, str]) -> str:
    if name in ids:
        return ids[name]
    if name in names:
        raise ConfigError(
            f"route {route}: endpoint {name} has no RunPod id yet; run `bridge endpoints apply`, "
            "and keep the file that it writes beside bridge.toml"
        )
    if not re.fullmatch(r"[A-Za-z0-9-]{1,32}", name):
        raise ConfigError(f"route {route}: endpoint {name} is neither an [[endpoint]] nor a RunPod id; correct it")
    return name
