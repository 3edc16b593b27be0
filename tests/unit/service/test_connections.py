"""The warnings before the service cannot accept another connection."""

import resource

import pytest
from structlog.testing import capture_logs

from bridge.service import connections


@pytest.fixture(autouse=True)
def _never_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_warned_at", {})


def limited(monkeypatch: pytest.MonkeyPatch, soft: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))


def test_a_limit_of_open_files_that_is_near_is_logged_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    with capture_logs() as logged:
        limited(monkeypatch, 100_000)
        connections._warn_of_open_files()
        assert logged == []
        limited(monkeypatch, 2)
        connections._warn_of_open_files()
        connections._warn_of_open_files()
    assert [(each["log_level"], each["event"], each["limit"]) for each in logged] == [
        ("warning", "open files near their limit", 2)
    ]


@pytest.mark.parametrize(("files", "most"), [(1024, 896), (65_536, 1000), (resource.RLIM_INFINITY, 1000), (64, 1)])
def test_connections_leave_files_for_the_rest(monkeypatch: pytest.MonkeyPatch, files: int, most: int) -> None:
    limited(monkeypatch, files)
    assert connections.most_connections() == most
