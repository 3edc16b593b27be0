"""What is kept of an execution: RunPod's times, and those parts of the worker's answer that have the right type."""

from typing import Any

import pytest

from bridge.core.history import LONGEST, MOST_GPUS, MOST_MEMORY, MOST_PHASES, Execution, execution_of
from bridge.core.model import LONGEST_NAME, Request, RequestStatus


def told(output: Any = None, **given: Any) -> Execution:
    return execution_of(Request(id="r", status=RequestStatus.COMPLETED, output=output, **given))


def test_everything_that_is_told_is_kept() -> None:
    output = {
        "gpu_type": "NVIDIA L4",
        "data_center": "EU-RO-1",
        "seconds": {"job": 7.5, "leave": 1},
        "runner_version": "2.330.0",
    }
    assert told(output, delay=1.0, execution=9.0, worker_id="w1") == Execution(
        delay=1.0,
        execution=9.0,
        worker_id="w1",
        gpu_type="NVIDIA L4",
        data_center="EU-RO-1",
        phases={"job": 7.5, "leave": 1.0},
        runner_version="2.330.0",
    )


def test_a_request_that_tells_nothing_leaves_nothing() -> None:
    assert told() == Execution()
    assert told({"seconds": {}, "runner_version": None, "gpu_type": ""}) == Execution()


@pytest.mark.parametrize("seconds", [-1, LONGEST, float("nan"), float("inf"), 10**400, True, "1", None, [1]])
def test_a_phase_that_is_no_duration_is_left_out(seconds: object) -> None:
    assert told({"seconds": {"job": seconds, "leave": 0}}).phases == {"leave": 0.0}


@pytest.mark.parametrize("seconds", [None, 5, [["job", 1]], "job"])
def test_phases_that_are_no_object_are_left_out(seconds: object) -> None:
    assert told({"seconds": seconds}).phases is None


def test_an_endless_answer_is_cut() -> None:
    found = told({"seconds": {f"phase {n}": n for n in range(100)} | {"": 1}, "runner_version": "9" * 1000})
    assert found.phases == {f"phase {n}": float(n) for n in range(MOST_PHASES)}
    assert found.runner_version == "9" * LONGEST_NAME
    assert told({"seconds": {"p" * 1000: 1}}).phases == {"p" * LONGEST_NAME: 1.0}


@pytest.mark.parametrize("version", [5, ["2"], {"a": 1}])
def test_a_version_that_is_no_text_is_left_out(version: object) -> None:
    assert told({"runner_version": version}).runner_version is None


USAGE: dict[str, Any] = {
    "name": "NVIDIA L4",
    "count": 2,
    "driver": "550.54.15",
    "memory_mb": 48_000,
    "peak_memory_mb": 12_000,
    "mean_utilisation": 63.0,
    "peak_utilisation": 99.5,
}
RATES = {"mean_utilisation", "peak_utilisation"}
WITHOUT_RATES = {key: value for key, value in USAGE.items() if key not in RATES}


def test_how_a_job_used_the_gpus_is_kept() -> None:
    assert told({"gpu_usage": {**USAGE, "extra": "x"}}).gpu_usage == USAGE
    assert told({"gpu_usage": WITHOUT_RATES}).gpu_usage == WITHOUT_RATES


@pytest.mark.parametrize("key", sorted(USAGE))
@pytest.mark.parametrize("odd", [None, -1, 1e300, 10**400, float("nan"), True, [], {}, ""])
def test_a_usage_with_an_impossible_part_is_left_out(key: str, odd: object) -> None:
    kept = told({"gpu_usage": {**USAGE, key: odd}}).gpu_usage
    assert kept == (WITHOUT_RATES if key in RATES else None)


def test_the_limits_of_a_usage() -> None:
    most = {"count": MOST_GPUS, "memory_mb": MOST_MEMORY, "peak_memory_mb": MOST_MEMORY}
    least = {"count": 1, "memory_mb": 0, "peak_memory_mb": 0, "mean_utilisation": 0, "peak_utilisation": 100}
    assert told({"gpu_usage": {**USAGE, **most}}).gpu_usage == {**USAGE, **most}
    assert told({"gpu_usage": {**USAGE, **least}}).gpu_usage == {**USAGE, **least}
    assert told({"gpu_usage": {**USAGE, "count": MOST_GPUS + 1}}).gpu_usage is None
    assert told({"gpu_usage": {**USAGE, "count": 0}}).gpu_usage is None
    full = {"mean_utilisation": 100.0, "peak_utilisation": 100.0}
    assert told({"gpu_usage": {**USAGE, **full}}).gpu_usage == {**USAGE, **full}


@pytest.mark.parametrize("key", sorted(RATES))
def test_a_share_above_100_percent_is_left_out(key: str) -> None:
    assert told({"gpu_usage": {**USAGE, key: 100.5}}).gpu_usage == WITHOUT_RATES


@pytest.mark.parametrize("usage", [None, 5, "L4", [USAGE], {}])
def test_a_usage_that_is_no_object_is_left_out(usage: object) -> None:
    assert told({"gpu_usage": usage}).gpu_usage is None


def test_a_usage_with_endless_texts_is_cut() -> None:
    kept = told({"gpu_usage": {**USAGE, "name": "L" * 1000, "driver": "5\0" * 1000}}).gpu_usage
    assert kept is not None
    assert (kept["name"], len(kept["driver"]), "\0" in kept["driver"]) == ("L" * LONGEST_NAME, LONGEST_NAME, False)


def test_a_text_that_no_database_can_store_is_replaced() -> None:
    assert told({"gpu_type": "L4\0"}).gpu_type == "L4\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("status", "error", "kept"),
    [
        (RequestStatus.FAILED, "worker exited unexpectedly", "worker exited unexpectedly"),
        (RequestStatus.FAILED, "crashed: session_conflict: x", "crashed: session_conflict: x"),
        (RequestStatus.FAILED, None, "RunPod gives no reason"),
        (RequestStatus.FAILED, "e" * 1000, "e" * LONGEST_NAME),
        (RequestStatus.TIMED_OUT, "job timed out", "RunPod ended the request at its executionTimeout"),
        (RequestStatus.COMPLETED, "odd", None),
        (RequestStatus.CANCELLED, "odd", None),
        (RequestStatus.MISSING, None, None),
        (RequestStatus.IN_PROGRESS, None, None),
    ],
)
def test_why_a_request_failed_is_kept(status: RequestStatus, error: str | None, kept: str | None) -> None:
    assert execution_of(Request(id="r", status=status, error=error)).error == kept


@pytest.mark.parametrize("reason", ["session_conflict", "name_taken"])
@pytest.mark.parametrize("detail", ["", ": a runner: is there"])
def test_a_second_delivery_that_failed_is_no_failure_of_the_request(reason: str, detail: str) -> None:
    """The first worker goes on, and may still run the job."""
    request = Request(id="r", status=RequestStatus.FAILED, error=f"{reason}{detail}")
    assert execution_of(request) == Execution()


@pytest.mark.parametrize(
    ("said", "kept"), [(2.5, 2.5), (0, 0.0), (-1, None), (1e5, None), (float("nan"), None), (True, None), ("2", None)]
)
def test_only_a_possible_start_of_a_worker_becomes_money(said: object, kept: float | None) -> None:
    assert told({"boot_seconds": said}).boot == kept
