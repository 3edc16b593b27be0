"""The user that the runner runs as: in the image not the handler's, whose environment and memory contain secrets."""

import ctypes
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
    """The user that the runner and its jobs run as. It is in no other group than its own."""

    name: str
    uid: int
    gid: int
    home: Path

    @property
    def variables(self) -> dict[str, str]:
        """The variables that a login would set."""
        return {"HOME": str(self.home), "USER": self.name, "LOGNAME": self.name, "SHELL": "/bin/bash"}


def runner_account(environment: Mapping[str, str], uid: int) -> Account | None:
    """The account that RUNNER_USER names; None if the runner runs as the same user as this process.

    Args:
        environment: the worker's; RUNNER_ALLOW_RUNASROOT asks for a runner that is root.
        uid: the effective user id of this process; only root can start programs as another user.

    Raises:
        Failure: configuration_failed; the user does not exist, or it is root.
    """
    name = environment.get("RUNNER_USER")
    if not name or environment.get("RUNNER_ALLOW_RUNASROOT") or uid != 0:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        detail = f"RUNNER_USER: the user {name} does not exist in this image; create it, or unset RUNNER_USER"
        raise Failure(Reason.CONFIGURATION_FAILED, detail) from None
    if entry.pw_uid == 0:
        detail = "RUNNER_USER: must not be root; to run jobs as root, set RUNNER_ALLOW_RUNASROOT=1"
        raise Failure(Reason.CONFIGURATION_FAILED, detail)
    return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid, home=Path(entry.pw_dir))


def refuse_exposed_keys(mode: Credentials, environment: Mapping[str, str], uid: int, *, sudo: bool) -> None:
    """Refuse to run a job that could read a GitHub key of this worker, unless the endpoint allows it.

    Outside the image, where RUNNER_USER is unset, every key is allowed.

    Args:
        mode: of the request.
        environment: the worker's.
        uid: the effective user id of this process.
        sudo: whether jobs may become root.

    Raises:
        Failure: configuration_failed, with the key and the fix.
    """
    if not environment.get("RUNNER_USER") or environment.get("RUNNER_ALLOW_EXPOSED_KEYS"):
        return
    readable = sudo or environment.get("RUNNER_ALLOW_RUNASROOT") or uid != 0
    keys = [name for name in KEYS if environment.get(name)]
    if mode is Credentials.PAT:
        keys.append("github_pat")
    if readable and keys:
        fix = "build the image with SUDO=off, or set RUNNER_ALLOW_EXPOSED_KEYS=1"
        detail = f"{keys[0]}: any job could read it, because jobs may become root; {fix}"
        raise Failure(Reason.CONFIGURATION_FAILED, detail)


def shield(environment: Mapping[str, str], sudoers: Path = SUDOERS) -> None:
    """In the image: hide this process's memory from other users. Without sudo, also disable set-uid programs."""
    if not environment.get("RUNNER_USER"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if not sudoers.exists():
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
