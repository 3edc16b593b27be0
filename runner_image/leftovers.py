"""Removes everything that a job leaves behind, in case RunPod keeps the container.

If the runner has no account of its own, its files cannot be recognised by their owner. Then the runner's folder is
restored: config.sh leaves `.env`, `.path` and `svc.sh` there, the runner `.service`, `.setup_info` and others, and a
job can leave anything. `.env` would set the environment of the next Listener.
"""

import contextlib
import os
import shutil
import stat
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from runner_image.account import Account

OPEN_TO_ALL = tuple(map(Path, ("/tmp", "/var/tmp", "/dev/shm", "/run/lock", "/opt/hostedtoolcache")))  # noqa: S108
"""Directories that every user can write to."""

_LEFT_BY_A_RUNNER = (".runner", ".credentials", ".credentials_rsaparams", "_work", "_diag")
_RM = "/bin/rm"
_SKELETON = Path("/etc/skel")
_LARGEST = 1_000_000
"""Bytes of the largest file whose content is remembered; the runner's scripts and settings are much smaller."""


@dataclass(frozen=True)
class Remembered:
    """A file of the runner's folder before the job."""

    content: bytes
    mode: int


Folder = dict[str, Remembered | None]
"""The entries of a folder by name; None if only the name is remembered."""


def remember(root: Path) -> Folder:
    """The content of the runner's folder before a job, without the files of an earlier runner."""
    return {path.name: _remembered(path) for path in _entries(root) if path.name not in _LEFT_BY_A_RUNNER}


def restore(root: Path, folder: Folder) -> None:
    """Restore the runner's folder: remove new entries, and write changed or removed files again.

    Subfolders such as `bin` and `externals` are not restored.
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


def forget_job(root: Path, account: Account | None, open_to_all: Iterable[Path] = OPEN_TO_ALL) -> int:
    """Remove what a job and its runner left.

    Args:
        root: the runner's directory.
        account: its processes and files are removed. None if they cannot be distinguished from the worker's own;
            then only the files that every runner leaves are removed.
        open_to_all: directories in which only files of that account are removed.

    Returns:
        The number of processes that were killed and have not ended, because the kernel keeps them. They never run a
        job's code again.

    Raises:
        RuntimeError: processes of the account start others all the time, and could undo the clean-up.
    """
    stuck = _kill_all_of(account) if account else 0
    _remove(left_behind(root, account, open_to_all))
    if account:
        _refill(account)
    return stuck


def left_behind(root: Path, account: Account | None, open_to_all: Iterable[Path]) -> list[Path]:
    """The paths to remove; arguments as for `forget_job`."""
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
    """A program removes folders, because a job can nest them deeper than Python can."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            remove = [_RM, "--recursive", "--force", "--one-file-system", "--", str(path)]
            subprocess.run(remove, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={}, check=False)
        else:
            with contextlib.suppress(OSError):
                path.unlink()


def _entries(directory: Path) -> list[Path]:
    return list(directory.iterdir()) if directory.is_dir() and not directory.is_symlink() else []


def _refill(account: Account) -> None:
    """Fill the home as useradd does."""
    if _SKELETON.is_dir():
        shutil.copytree(_SKELETON, account.home, symlinks=True, dirs_exist_ok=True)
    for path in (account.home, *account.home.rglob("*")):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    account.home.chmod(0o750)


def _kill_all_of(account: Account) -> int:
    """Kill until none is left, because a process may start another one meanwhile. Give up after 20 attempts.

    Returns:
        The number of those that were killed in an earlier attempt and have not ended.
    """
    killed: set[psutil.Process] = set()
    found: set[psutil.Process] = set()
    for _ in range(20):
        killed |= found
        found = {p for p in psutil.process_iter() if _belongs(p, account.uid)}
        if not found:
            return 0
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, timeout=0.5)
    if found - killed:
        raise RuntimeError(f"processes of the user {account.name} cannot be killed")
    return len(found)


def _belongs(process: psutil.Process, uid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return uid in process.uids() and process.status() != psutil.STATUS_ZOMBIE
    return False
