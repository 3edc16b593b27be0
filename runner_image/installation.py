"""The runner as it is installed on this machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner_image.account import Account
from runner_image.limits import LIMITS, Limits


@dataclass(frozen=True, kw_only=True)
class Installation:
    """An installed runner.

    Args:
        root: its directory.
        account: the user that it runs as; None for this process's user.
        limits: how long to wait for it and for GitHub.
    """

    root: Path
    account: Account | None = None
    limits: Limits = LIMITS


def runner_root(environment: Mapping[str, str]) -> Path:
    """The directory of the runner: RUNNER_DIR, by default /actions-runner."""
    return Path(environment.get("RUNNER_DIR") or "/actions-runner").resolve()
