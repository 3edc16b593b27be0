"""Whom the runner runs as. In the image not as the handler, whose environment and memory hold secrets."""

import ctypes
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bridge.core.worker import Credentials, Reason
from runner_image.failure import Failure

SUDOERS = Path("/etc/sudoers.d/runner")
"""Exists in an image whose jobs may become root."""

KEYS = ("GITHUB_APP_PRIVATE_KEY", "GITHUB_PAT")

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38  # linux/prctl.h


@dataclass(frozen=True, kw_only=True)
class Account:
    """The user that the runner and its jobs run as, in no other group than its own."""

    name: str
    uid: int
    gid: int
    home: Path

    @property
    def variables(self) -> dict[str, str]:
        """What a login would set."""
        return {"HOME": str(self.home), "USER": self.name, "LOGNAME": self.name, "SHELL": "/bin/bash"}


def runner_account(environment: Mapping[str, str]) -> Account | None:
    """The account that RUNNER_USER names; None where the runner is to run as this process does.

    Args:
        environment: the worker's; RUNNER_ALLOW_RUNASROOT asks for the runner to be root.

    Raises:
        Failure: configuration_failed, there is no such user, or it is root.
    """
    name = environment.get("RUNNER_USER")
    if not name or environment.get("RUNNER_ALLOW_RUNASROOT") or os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise Failure(Reason.CONFIGURATION_FAILED, f"RUNNER_USER: there is no user {name}") from None
    if entry.pw_uid == 0:
        raise Failure(Reason.CONFIGURATION_FAILED, "RUNNER_USER: root is no account of the runner's own; unset it")
    return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid, home=Path(entry.pw_dir))


def refuse_exposed_keys(mode: Credentials, environment: Mapping[str, str], *, sudo: bool) -> None:
    """Refuse to run a job that could read a GitHub key of this worker, unless that is explicitly allowed.

    Outside the image, where RUNNER_USER is unset, whoever starts the worker knows what its jobs may read.

    Raises:
        Failure: configuration_failed, with the key and the fix.
    """
    if not environment.get("RUNNER_USER") or environment.get("RUNNER_ALLOW_EXPOSED_KEYS"):
        return
    readable = sudo or environment.get("RUNNER_ALLOW_RUNASROOT") or os.geteuid() != 0
    keys = [name for name in KEYS if environment.get(name)]
    if mode is Credentials.PAT:
        keys.append("github_pat")
    if readable and keys:
        fix = "build the image with SUDO=off, or set RUNNER_ALLOW_EXPOSED_KEYS=1"
        raise Failure(Reason.CONFIGURATION_FAILED, f"{keys[0]}: any job could read it, as jobs may become root; {fix}")


def shield(environment: Mapping[str, str], sudoers: Path = SUDOERS) -> None:
    """In the image: close this process's memory to its own user, and without sudo every other way to more rights."""
    if not environment.get("RUNNER_USER"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if not sudoers.exists():
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
