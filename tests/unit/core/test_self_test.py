"""What the bridge reads of a worker's self-test, whoever wrote the answer."""

from typing import Any

import pytest

from bridge.core.self_test import MAX_ENTRIES, MAX_TEXT, CheckReport, GpuReport, SelfTestReport, parse
from bridge.core.worker import SelfTest

FULL: SelfTest = {
    "flavour": "gpu",
    "worker_version": "0.1.0",
    "runner_version": "2.400.0",
    "sdk_version": "1.12.0",
    "python_version": "3.12.3",
    "gpus": [{"name": "NVIDIA L4", "memory_mb": 24152, "driver": "550.54.15"}],
    "cuda_version": "12.4",
    "disk_free_mb": 18500,
    "volume_free_mb": 99000,
    "memory_mb": 64000,
    "process_seconds": 3.5,
    "github_seconds": {"dns": 0.01, "total": 0.2},
    "runner_account": "runner",
    "worker": "pod-1",
    "data_center": "EU-RO-1",
    "checks": {"runner": {"ok": True}, "sudo": {"ok": False, "detail": "sudo exited with code 1"}},
}
NOTHING = SelfTestReport(
    **dict.fromkeys(name for name in FULL if name not in ("gpus", "github_seconds", "checks")),
    gpus=(),
    github_seconds={},
    checks={},
)


def read(**given: Any) -> SelfTestReport:
    report = parse({"outcome": "self_test", "self_test": given})
    assert report is not None
    return report


def test_every_fact_of_a_full_answer_is_read() -> None:
    assert set(FULL) == set(SelfTest.__annotations__)
    lists: dict[str, Any] = {
        "gpus": (GpuReport(name="NVIDIA L4", memory_mb=24152, driver="550.54.15"),),
        "checks": {
            "runner": CheckReport(ok=True, detail=None),
            "sudo": CheckReport(ok=False, detail="sudo exited with code 1"),
        },
    }
    assert read(**FULL) == SelfTestReport(**{**FULL, **lists})


def test_what_a_worker_does_not_say_is_none() -> None:
    assert read() == NOTHING


@pytest.mark.parametrize(
    "output",
    [
        None,
        "self_test",
        [],
        {},
        {"outcome": "completed", "self_test": {}},
        {"self_test": {}},
        {"outcome": "self_test"},
        {"outcome": "self_test", "self_test": []},
    ],
)
def test_other_answers_are_no_self_test(output: object) -> None:
    assert parse(output) is None


@pytest.mark.parametrize("odd", [None, True, [], {}, "text", -1, -0.5, float("nan"), float("inf"), 10**400])
def test_a_number_that_is_none_is_not_read(odd: object) -> None:
    names = ("disk_free_mb", "volume_free_mb", "memory_mb", "process_seconds")
    assert read(**dict.fromkeys(names, odd), github_seconds={"dns": odd}) == NOTHING


def test_zero_is_a_number() -> None:
    report = read(disk_free_mb=0, process_seconds=0.0, github_seconds={"dns": 0})
    assert (report.disk_free_mb, report.process_seconds, report.github_seconds) == (0, 0.0, {"dns": 0.0})


def test_a_fraction_of_a_megabyte_is_dropped() -> None:
    assert repr(read(memory_mb=7.9).memory_mb) == "7"


@pytest.mark.parametrize("odd", [None, 1, b"x", ["x"], "", " \n\x1b "])
def test_a_text_that_is_none_is_not_read(odd: object) -> None:
    assert read(worker=odd, flavour=odd, checks={"runner": {"ok": odd, "detail": odd}}) == SelfTestReport(
        **{**vars(NOTHING), "checks": {"runner": CheckReport(ok=None, detail=None)}}
    )


def test_a_text_loses_its_control_characters_and_its_end() -> None:
    assert read(worker="a\x1b[31m\nb\u202ec ").worker == "a [31m b c"
    assert read(worker="x" * (MAX_TEXT + 1)).worker == "x" * MAX_TEXT


@pytest.mark.parametrize("odd", [None, "gpus", 3, {"name": "L4"}])
def test_a_list_of_gpus_that_is_none_is_not_read(odd: object) -> None:
    assert read(gpus=odd).gpus == ()


def test_of_a_gpu_only_what_is_valid_is_read() -> None:
    assert read(gpus=["L4", {"name": 1, "memory_mb": "2", "driver": None}]).gpus == (
        GpuReport(name=None, memory_mb=None, driver=None),
    )


@pytest.mark.parametrize("odd", [None, "checks", 3, [{"ok": True}]])
def test_checks_that_are_no_mapping_are_not_read(odd: object) -> None:
    assert read(checks=odd, github_seconds=odd) == NOTHING


def test_a_check_that_is_no_mapping_says_nothing() -> None:
    assert read(checks={"runner": "fine"}).checks == {"runner": CheckReport(ok=None, detail=None)}


def test_a_check_without_a_name_does_not_hide_the_others() -> None:
    checks = {"\n": {"ok": True}, 3: {"ok": True}, "ru\x00nner": {"ok": True}}
    assert read(checks=checks).checks == {"ru nner": CheckReport(ok=True, detail=None)}


def test_only_so_many_entries_are_read() -> None:
    many = range(MAX_ENTRIES + 1)
    report = read(
        gpus=[{"name": f"gpu {n}"} for n in many],
        checks={f"check {n}": {"ok": True} for n in many},
        github_seconds={f"step {n}": 1 for n in many},
    )
    assert [len(each) for each in (report.gpus, report.checks, report.github_seconds)] == [MAX_ENTRIES] * 3
    assert report.gpus[-1].name == f"gpu {MAX_ENTRIES - 1}"


def test_the_limits_are_those_that_a_terminal_can_show() -> None:
    assert (MAX_TEXT, MAX_ENTRIES) == (200, 32)
