"""Reads the answer of a worker's self-test. Pure.

A worker may be older or newer than the bridge, and its answer is outside text: what is missing or has another type is
None, and texts are bounded.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from bridge.core.worker import SELF_TEST

MAX_TEXT = 200
"""Characters of a text that are kept."""

MAX_ENTRIES = 32
"""GPUs, checks and steps that are kept."""


@dataclass(frozen=True, kw_only=True)
class GpuReport:
    """One GPU.

    Args:
        name: such as NVIDIA L4.
        memory_mb: its memory in 10^6 bytes.
        driver: the version of the driver.
    """

    name: str | None
    memory_mb: int | None
    driver: str | None


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What one probe found.

    Args:
        ok: whether it works; None if the worker does not say.
        detail: why not, in one line.
    """

    ok: bool | None
    detail: str | None


@dataclass(frozen=True, kw_only=True)
class SelfTestReport:
    """What a worker found out about itself; see SelfTest in bridge.core.worker.

    Args:
        flavour: of the image: gpu or cpu.
        worker_version: of this project in the image.
        runner_version: as the installed runner printed it.
        sdk_version: of RunPod's SDK.
        python_version: of the worker.
        gpus: empty without a GPU.
        cuda_version: the newest that the driver supports.
        disk_free_mb: where jobs work, in 10^6 bytes.
        volume_free_mb: on the network volume, in 10^6 bytes.
        memory_mb: what the container may use, in 10^6 bytes.
        process_seconds: s from the start of the worker's process until it took the request.
        github_seconds: s of each step of one call to GitHub.
        runner_account: the user that jobs run as.
        worker: RunPod's id of the worker.
        data_center: RunPod's id of its data center.
        checks: by the probe's name.
    """

    flavour: str | None
    worker_version: str | None
    runner_version: str | None
    sdk_version: str | None
    python_version: str | None
    gpus: tuple[GpuReport, ...]
    cuda_version: str | None
    disk_free_mb: int | None
    volume_free_mb: int | None
    memory_mb: int | None
    process_seconds: float | None
    github_seconds: Mapping[str, float]
    runner_account: str | None
    worker: str | None
    data_center: str | None
    checks: Mapping[str, CheckReport]


def parse(output: object) -> SelfTestReport | None:
    """Read a request's output; None if it is no answer to a self-test."""
    answer = _mapping(output)
    if answer.get("outcome") != SELF_TEST or not isinstance(answer.get("self_test"), Mapping):
        return None
    given = _mapping(answer["self_test"])
    return SelfTestReport(
        flavour=_text(given.get("flavour")),
        worker_version=_text(given.get("worker_version")),
        runner_version=_text(given.get("runner_version")),
        sdk_version=_text(given.get("sdk_version")),
        python_version=_text(given.get("python_version")),
        gpus=_gpus(given.get("gpus")),
        cuda_version=_text(given.get("cuda_version")),
        disk_free_mb=_count(given.get("disk_free_mb")),
        volume_free_mb=_count(given.get("volume_free_mb")),
        memory_mb=_count(given.get("memory_mb")),
        process_seconds=_seconds(given.get("process_seconds")),
        github_seconds=_steps(given.get("github_seconds")),
        runner_account=_text(given.get("runner_account")),
        worker=_text(given.get("worker")),
        data_center=_text(given.get("data_center")),
        checks=_checks(given.get("checks")),
    )


def _mapping(value: object) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    """One line without control characters; None if nothing is left."""
    if not isinstance(value, str):
        return None
    return "".join(letter if letter.isprintable() else " " for letter in value[:MAX_TEXT]).strip() or None


def _count(value: object) -> int | None:
    number = _seconds(value)
    return None if number is None else int(number)


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer with hundreds of digits
        return None
    return number if isfinite(number) and number >= 0 else None


def _named(value: object) -> list[tuple[str, Any]]:
    """The first entries of a mapping whose names can be shown."""
    shown = ((_text(name), each) for name, each in list(_mapping(value).items())[:MAX_ENTRIES])
    return [(name, each) for name, each in shown if name is not None]


def _steps(value: object) -> dict[str, float]:
    return {name: seconds for name, each in _named(value) if (seconds := _seconds(each)) is not None}


def _gpus(value: object) -> tuple[GpuReport, ...]:
    listed = value[:MAX_ENTRIES] if isinstance(value, list) else []
    return tuple(
        GpuReport(
            name=_text(each.get("name")), memory_mb=_count(each.get("memory_mb")), driver=_text(each.get("driver"))
        )
        for each in listed
        if isinstance(each, Mapping)
    )


def _checks(value: object) -> dict[str, CheckReport]:
    return {name: _check(_mapping(each)) for name, each in _named(value)}


def _check(given: Mapping[Any, Any]) -> CheckReport:
    ok = given.get("ok")
    return CheckReport(ok=ok if isinstance(ok, bool) else None, detail=_text(given.get("detail")))
