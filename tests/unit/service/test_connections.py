"""The warnings before the service can accept no more connections, and the files that connections leave to the rest."""

import resource

import pytest
from structlog.testing import capture_logs

from bridge.service.connections import DEFAULT_LIMITS, Warnings
from bridge.service.open_files import allowed_files, count_of, open_files


def test_a_process_near_its_limit_of_open_files_warns_once_a_minute() -> None:
    now = 0.0
    warnings = Warnings(clock=lambda: now)
    with capture_logs() as logged:
        warnings.warn_of_open_files(90, 100)
        warnings.warn_of_open_files(None, 100)
        assert logged == []
        warnings.warn_of_open_files(91, 100)
        now = 59.0
        warnings.warn_of_open_files(95, 100)
        assert [(each["log_level"], each["event"], each["open"]) for each in logged] == [
            ("warning", "open files near their limit", 91)
        ]
        now = 60.0
        warnings.warn_of_open_files(95, 100)
        assert [each["open"] for each in logged] == [91, 95]


def test_warnings_of_different_kinds_do_not_suppress_each_other() -> None:
    warnings = Warnings(clock=lambda: 0.0)
    with capture_logs() as logged:
        warnings.warn_of_open_files(100, 100)
        warnings.warn("connections at their limit", limit=1)
    assert len(logged) == 2


@pytest.mark.parametrize(("files", "most"), [(1024, 896), (65_536, 1000), (resource.RLIM_INFINITY, 1000), (64, 1)])
def test_connections_leave_files_to_the_ledger_and_to_calls(files: int, most: int) -> None:
    assert DEFAULT_LIMITS.most_connections(count_of(files)) == most


def test_a_process_can_tell_how_many_files_are_open() -> None:
    opened = open_files()
    assert opened is None or 0 < opened <= allowed_files()
