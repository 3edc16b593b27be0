"""What the answer to a self-test means, and what it means that there is none."""

from collections.abc import Iterator

from bridge import __version__
from bridge.commands.doctor.check import Check, failed, ok, skipped, warning
from bridge.commands.doctor.runpod_endpoint import LOGS
from bridge.core.model import EndpointHealth, Request, RequestStatus
from bridge.core.runner_version import is_accepted
from bridge.core.self_test import CheckReport, SelfTestReport, parse
from bridge.core.worker import Reason

SELF_TEST, RUNNER = "self_test", "image.runner"
BUILD = f"build the image of version {__version__}, and set it on the endpoint"
MORE_STOCK = "add GPU pools or regions to the endpoint, or try again later"
LONGEST = 200
"""Characters that are shown of a worker's error."""

NEEDED = ("github", "disk")
"""Probes without which no job can run."""

OPTIONAL = ("account", "volume", "memory", "sudo", "user_namespaces", "chroot")
"""Probes of what only some jobs need."""


def answered(name: str, request: Request, seconds: float) -> Iterator[Check]:
    """The checks of a request that has ended.

    Args:
        name: of the endpoint.
        request: as RunPod shows it.
        seconds: from sending the request to its end.
    """
    report = parse(request.output) if request.status is RequestStatus.COMPLETED else None
    if report is None:
        yield _unread(name, request)
        return
    where = f" in {report.data_center}" if report.data_center else ""
    yield ok(SELF_TEST, f"worker {report.worker or 'unknown'}{where} answered after {seconds:.0f} s", subject=name)
    yield _image(name, report)
    yield _runner(name, report)
    yield _gpu(name, report)
    yield _cuda(name, report)
    yield from (_needed(name, probe, report) for probe in NEEDED)
    yield from (_optional(name, probe, report) for probe in OPTIONAL)


def _unread(name: str, request: Request) -> Check:
    """A request without a report."""
    error = " ".join((request.error or "").split())[:LONGEST]
    if request.status is RequestStatus.TIMED_OUT:
        return failed(SELF_TEST, "a worker took it and did not answer in time", LOGS_ONLY, subject=name)
    if request.status is RequestStatus.CANCELLED:
        return failed(SELF_TEST, "someone else cancelled it", "run `bridge doctor --self-test` again", subject=name)
    if request.status is RequestStatus.COMPLETED or error.startswith(f"{Reason.BAD_INPUT}:"):
        told = f": {error}" if error else ""
        return failed(SELF_TEST, f"the worker's image does not know self-tests{told}", BUILD, subject=name)
    return failed(SELF_TEST, f"the worker failed: {error or 'no error was told'}", LOGS_ONLY, subject=name)


LOGS_ONLY = LOGS.partition(";")[0]


def unanswered(name: str, request: Request | None, health: EndpointHealth | None, wait: float) -> Check:
    """Why there was no answer. IN_QUEUE alone cannot tell a lack of machines from workers that keep failing."""
    evidence, fix = _reason(request, health)
    return failed(SELF_TEST, f"no answer within {wait:.0f} s, the request was cancelled: {evidence}", fix, subject=name)


def _reason(request: Request | None, health: EndpointHealth | None) -> tuple[str, str]:
    workers = health.workers if health else {}
    if request is None or health is None:
        return "RunPod could not be asked", "run `bridge doctor --self-test` again later"
    if request.status is RequestStatus.IN_PROGRESS:
        return "a worker took it and did not answer", LOGS_ONLY
    if workers.get("unhealthy"):
        return "workers start and fail", LOGS_ONLY
    if workers.get("initializing"):
        return "a worker is still starting", "wait longer with --wait; a large image takes minutes to load"
    if workers.get("throttled"):
        return "RunPod has no free machine", MORE_STOCK
    if request.status is RequestStatus.MISSING:
        return "RunPod does not know the request", "run `bridge doctor --self-test` again"
    return "RunPod started no worker", f"check the endpoint's maximum of workers and its stock; {MORE_STOCK}"


def _image(name: str, report: SelfTestReport) -> Check:
    version, flavour = report.worker_version or "unknown", report.flavour or "unknown"
    evidence = f"version {version}, flavour {flavour}, SDK {report.sdk_version or 'unknown'}"
    if version == __version__:
        return ok(f"{SELF_TEST}.image", evidence, subject=name)
    return warning(f"{SELF_TEST}.image", f"{evidence}; the bridge is {__version__}", BUILD, subject=name)


def _runner(name: str, report: SelfTestReport) -> Check:
    version, probe = report.runner_version, report.checks.get("runner")
    if version and is_accepted(version) is False:
        evidence = f"{version}, which GitHub does not accept any more"
        return failed(RUNNER, evidence, "build the image with the newest runner", subject=name)
    if _is_bad(probe) or version is None:
        return failed(RUNNER, f"the runner does not work: {_detail(probe)}", "build the image again", subject=name)
    return ok(RUNNER, version, subject=name)


def _gpu(name: str, report: SelfTestReport) -> Check:
    id_, probe = f"{SELF_TEST}.gpu", report.checks.get("gpu")
    if report.gpus:
        shown = ", ".join(f"{gpu.name or 'GPU'} ({_or_unknown(gpu.memory_mb)} MB)" for gpu in report.gpus)
        return ok(id_, f"{shown}, driver {report.gpus[0].driver or 'unknown'}", subject=name)
    if report.flavour == "cpu":
        return skipped(id_, "an image without GPU support", subject=name)
    return failed(id_, f"no GPU: {_detail(probe)}", "use the CPU image, or an endpoint with GPUs", subject=name)


def _cuda(name: str, report: SelfTestReport) -> Check:
    id_, probe = f"{SELF_TEST}.cuda", report.checks.get("cuda")
    if not report.gpus:
        return skipped(id_, "no GPU", subject=name)
    if _is_bad(probe):
        fix = "set min_cuda of the endpoint to the version that your jobs need"
        return failed(id_, f"CUDA does not start: {_detail(probe)}", fix, subject=name)
    return ok(id_, f"CUDA {report.cuda_version or 'unknown'}", subject=name)


def _needed(name: str, probe: str, report: SelfTestReport) -> Check:
    id_, found = f"{SELF_TEST}.{probe}", report.checks.get(probe)
    if _is_bad(found):
        return failed(id_, _detail(found), _NEEDED_FIX[probe], subject=name)
    return ok(id_, _measured(probe, report), subject=name)


_NEEDED_FIX = {
    "github": "let the endpoint's workers reach GitHub; check GITHUB_API_URL of the endpoint",
    "disk": "raise disk_gb of the endpoint",
}


def _measured(probe: str, report: SelfTestReport) -> str:
    if probe == "disk":
        return f"{_or_unknown(report.disk_free_mb)} MB free"
    total = report.github_seconds.get("total")
    return "reached" if total is None else f"reached in {total:.2f} s"


def _optional(name: str, probe: str, report: SelfTestReport) -> Check:
    """What not every job needs: its absence is told, and is no fault."""
    id_, found = f"{SELF_TEST}.{probe}", report.checks.get(probe)
    if found is None or _is_bad(found):
        return skipped(id_, _detail(found), subject=name)
    return ok(id_, "available", subject=name)


def _is_bad(probe: CheckReport | None) -> bool:
    return probe is not None and probe.ok is not True


def _detail(probe: CheckReport | None) -> str:
    return (probe.detail if probe else None) or "the worker does not say why"


def _or_unknown(value: object) -> object:
    return "unknown" if value is None else value
