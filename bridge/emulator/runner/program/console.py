"""The runner's output, and its diagnostic logs."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path


def use_utf8() -> None:
    """Print each line at once and in UTF-8, independent of the locale."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", line_buffering=True)  # type: ignore[union-attr]  # a TextIOWrapper


def timestamp() -> str:
    """The current time in the runner's format: `2026-09-16 15:14:46Z`."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}"


def say(line: str = "") -> None:
    """Print a line."""
    print(line)


def success(what: str) -> None:
    """Print a line after a check mark."""
    say(f"√ {what}")


def event(what: str) -> None:
    """Print a line after the time."""
    say(f"{timestamp()}: {what}")


def complain(line: str) -> None:
    """Print a line on standard error."""
    print(line, file=sys.stderr)


class Diagnostics:
    """A log in `_diag`.

    Args:
        root: the runner's directory.
        kind: Runner or Worker.
    """

    def __init__(self, root: Path, kind: str) -> None:
        directory = root / "_diag"
        directory.mkdir(exist_ok=True)
        self._kind = kind
        self._echo = kind == "Runner" and _is_set("ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT")
        path = directory / f"{kind}_{datetime.now(UTC):%Y%m%d-%H%M%S}-utc.log"
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def info(self, message: str) -> None:
        """Write a line."""
        line = f"{timestamp()} INFO {self._kind}] {message}"
        self._file.write(f"[{line}\n")
        if self._echo:
            say(f"[{self._kind.upper()} {line}")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true")
