"""Log lines show what is needed and never a secret."""

import io
import json
import logging
import sys
import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest
import structlog

from bridge.telemetry import Masking, configure_logging, mask

SECRET = "rp_secret_key"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _unconfigured() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def logged(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO) -> str:
    """What is logged about an error that has a secret in its text and in a local variable."""
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging([SECRET])
    local = SECRET.upper()
    try:
        raise ValueError(f"no such key: {SECRET}")
    except ValueError:
        structlog.get_logger().exception("a pass failed")
    assert local not in stream.getvalue()
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


PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n7Zx0qU1vQw==\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    "text",
    [
        "a ghs_abc.def-ghi token",
        "\x1b[31mghp_abcdefghij\x1b[0m",
        "github_pat_11ABC_xyz",
        "rpa_ABCDEFGHIJ0123456789",
        "Bearer eyJhbGciOi.eyJpc3Mi.c2lnbmF0dXJl",
        PEM,
        PEM[:60],
        f"https://host/?password={quote('p@ss w/rd')}",
        json.dumps("p@ss w/rd"),
        "it is 'p@ss w/rd'",
        repr("a\nsecret\tline"),
    ],
)
def test_a_secret_is_masked_in_every_form(text: str) -> None:
    masked = Masking(["p@ss w/rd", "a\nsecret\tline"]).mask(text)
    assert "***" in masked
    for part in ("abc", "11ABC", "ABCDEF", "eyJ", "MII", "ss%20w", "p@ss", "secret"):
        assert part not in masked


def test_each_line_of_a_key_is_masked() -> None:
    for key in (PEM, PEM.replace("\n", "\\n")):
        assert Masking([key]).mask("bad base64 near MIIEowIBAAKCAQEA") == "bad base64 near ***"
    assert Masking(["a password of words"]).mask("password") == "password"


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_gets_text_and_colours_unless_it_refuses_them(
    monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool
) -> None:
    monkeypatch.setattr(sys, "stderr", stream := _Terminal())
    monkeypatch.setenv("NO_COLOR", no_color)
    configure_logging([])
    structlog.get_logger().info("news", runner="r-1")
    assert "news" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
    assert ("\x1b[" in stream.getvalue()) is coloured


@pytest.mark.parametrize(("level", "shown"), [("debug", "di we"), ("info", "i we"), ("warning", "we"), ("error", "e")])
def test_lines_below_the_level_are_not_shown(capsys: pytest.CaptureFixture[str], level: str, shown: str) -> None:
    configure_logging([], level)
    logger = structlog.get_logger()
    for name in ("debug", "info", "warning", "error"):
        getattr(logger, name)(name[0])
    lines = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert "".join(lines) == shown.replace(" ", "")


def test_log_lines_at_debug_level_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging([])
    structlog.get_logger().debug("a detail")
    structlog.get_logger().info("news")
    shown = capsys.readouterr().err
    assert "news" in shown
    assert "a detail" not in shown


def test_a_short_value_is_not_masked_because_it_would_match_ordinary_text() -> None:
    assert Masking(["a", "bridge"]).mask("a bridge for all") == "a bridge for all"


def test_texts_within_lists_and_dictionaries_are_masked() -> None:
    shown = Masking([SECRET]).mask({"a": [f"x {SECRET}", {"b": (SECRET, 1, None, True)}], SECRET: ValueError(SECRET)})
    assert shown == {"a": ["x ***", {"b": ["***", 1, None, True]}], "***": "ValueError('***')"}


def test_logs_of_libraries_and_uncaught_errors_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    configure_logging([SECRET])
    error = ValueError(f"no such key: {SECRET}")
    record = logging.LogRecord("asyncio", logging.ERROR, "", 1, "lost %s", (SECRET,), (ValueError, error, None))
    assert logging.lastResort
    logging.lastResort.handle(record)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"]) == ("lost ***", "error")
    sys.excepthook(ValueError, error, None)
    assert "ValueError: no such key: ***" in stream.getvalue()
    assert SECRET not in stream.getvalue()
    assert mask(SECRET) == "***"


@pytest.mark.parametrize("part", ["meyJ", "meyJ-", "eyJ.eyJ", "mghp_", "-----BEGIN PRIVATE KEY"])
def test_a_hostile_text_is_masked_in_a_moment(part: str) -> None:
    """Such as a line of 1 MiB in the log of a worker. A time that grew with its square would be minutes."""
    text = part * (2**20 // len(part))
    began = time.perf_counter()
    mask(text)
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("eyJab eyJa.b.c", "eyJab ***"),
        ("eyJab-ghp_secret.token", "eyJab-***"),
        ("eyJab-rpa_x.b.c", "***"),
        ("ghp_a.eyJa.b.c", "******"),
        ("\x1b[1meyJa.b.c", "\x1b[1m***"),
        ("eyJa.b", "eyJa.b"),
    ],
)
def test_what_looks_like_the_first_part_of_a_jwt_hides_no_token(text: str, shown: str) -> None:
    assert mask(text) == shown
