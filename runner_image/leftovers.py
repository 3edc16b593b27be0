"""Nothing of one job is left for the next, even when RunPod keeps the container.

Without an account of its own the runner's files cannot be told by their owner. Then its folder is put back as it was:
config.sh leaves `.env`, `.path` and `svc.sh`, the runner `.service`, `.setup_info` and others, a job what it likes, and
`.env` sets the environment of the next Listener.
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from runner_image.account import Account

OPEN_TO_ALL = tuple(map(Path, ("/tmp", "/var/tmp", "/dev/shm", "/run/lock", "/opt/hostedtoolcache")))  # noqa: S108 - emptied
"""Where any user may write."""

_LEFT_BY_A_RUNNER = (".runner", ".credentials", ".credentials_rsaparams", "_work", "_diag")
_SKELETON = Path("/etc/skel")
_LARGEST = 1_000_000
"""Bytes of a file whose content is remembered; the runner's scripts and settings have a few thousand."""


@dataclass(frozen=True)
class Remembered:
    """A file of the runner's folder as it was."""

    content: bytes
    mode: int


Folder = dict[str, Remembered | None]
"""The entries of a folder by name; None for one of which only the name is remembered."""


def remember(root: Path) -> Folder:
    """What is in the runner's folder before a job, without what an earlier runner left."""
    return {path.name: _remembered(path) for path in _entries(root) if path.name not in _LEFT_BY_A_RUNNER}


def restore(root: Path, folder: Folder) -> None:
    """Put the runner's folder back: new entries go, and files that were changed or removed are written again.

    What lies deeper, in `bin` and `externals`, stays as it is.
    """
    _remove(path for path in _entries(root) if path.name not in folder)
    for name, file in folder.items():
        path = root / name
        if file and _remembered(path) != file:
            _remove([path])
            path.write_bytes(file.content)
            path.chmod(file.mode)


def _remembered(path: Path) -> Remembered | None:
    with contextlib.suppress(OSError):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST:
            return Remembered(path.read_bytes(), stat.S_IMODE(status.st_mode))
    return None


def forget_job(root: Path, account: Account | None, open_to_all: Iterable[Path] = OPEN_TO_ALL) -> None:
    """Remove what a job and its runner left.

    Args:
        root: the runner's directory.
        account: whose processes and files are to go; None where they cannot be told from the worker's own,
            and only what the runner is known to leave goes.
        open_to_all: directories in which only that account's files are removed.

    Raises:
        RuntimeError: some of its processes cannot be ended; they could undo all that follows.
    """
    if account:
        _kill_all_of(account)
    _remove(left_behind(root, account, open_to_all))
    if account:
        _refill(account)


def left_behind(root: Path, account: Account | None, open_to_all: Iterable[Path]) -> list[Path]:
    """What is to go; arguments as for `forget_job`."""
    left = [root / name for name in _LEFT_BY_A_RUNNER]
    if account is None:
        return left
    shared = [path for directory in (root, *open_to_all) for path in _entries(directory)]
    return [*left, *(path for path in shared if _owner(path) == account.uid), *_entries(account.home)]


def _owner(path: Path) -> int | None:
    with contextlib.suppress(OSError):
        return path.lstat().st_uid
    return None


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink()


def _entries(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.is_dir() and not directory.is_symlink() else []


def _refill(account: Account) -> None:
    """A home as useradd made it."""
    if _SKELETON.is_dir():
        shutil.copytree(_SKELETON, account.home, symlinks=True, dirs_exist_ok=True)
    for path in (account.home, *account.home.rglob("*")):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    account.home.chmod(0o750)


def _kill_all_of(account: Account) -> None:
    """Until there is none, for a process may start another meanwhile; but not for ever."""
    for _ in range(20):
        theirs = [p for p in psutil.process_iter() if _belongs(p, account.uid)]
        if not theirs:
            return
        for process in theirs:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(theirs, timeout=0.5)
    raise RuntimeError(f"processes of {account.name} cannot be ended")


def _belongs(process: psutil.Process, uid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return uid in process.uids() and process.status() != psutil.STATUS_ZOMBIE
    return False
