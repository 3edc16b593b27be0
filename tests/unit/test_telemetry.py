"""What a log line shows, and what it never does."""

import io
import json
import sys
from collections.abc import Iterator

import pytest
import structlog

from bridge.telemetry import configure_logging

SECRET = "rp_secret_key"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def logged(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> str:
    """What is written of an error that met a secret, in its text and in a variable beside it."""
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging([SECRET])
    beside = SECRET.upper()
    try:
        raise ValueError(f"no such key: {SECRET}")
    except ValueError:
        structlog.get_logger().exception("a pass failed")
    assert beside not in stream.getvalue()
    return stream.getvalue()


def test_an_error_on_a_terminal_shows_its_traceback_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = logged(monkeypatch, _Terminal())
    assert "Traceback (most recent call last)" in shown
    assert "no such key: ***" in shown
    assert SECRET not in shown


def test_an_error_in_json_holds_its_traceback_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    line = json.loads(logged(monkeypatch, io.StringIO()))
    assert "Traceback (most recent call last)" in line["exception"]
    assert line["exception"].endswith("no such key: ***")
