"""The folder of a repository's cache: opened without following links, and shared by jobs that run at the same time.

Each job has a lease, a file with the time of its end. A job may remove old files only if there is no lease, and it
holds a lock meanwhile, for which a starting job waits. Workers share no locks of a kernel, so all of these are files.
"""

import contextlib
import errno
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

LEASES, LOCK, REMOVED = ".jobs", ".evicting", ".removed"
"""Names in the folder."""

LOCK_LIFETIME = 180.0
"""s after which a lock is ignored, because its job was killed."""

LONGEST_LEASE = 8 * 86_400.0
"""s; RunPod ends a request after 7 days."""

CLOCK_ERROR = 3_600.0
"""s by which the clocks of two workers may differ. A lease that was written later than that is no lease."""

UNREADABLE_LEASE = 3_600.0
"""s for which a lease counts that cannot be read."""

_PROBE = 2**20
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_NO_FOLDER = (errno.ENOTDIR, errno.ELOOP, errno.ENOENT)


class Unusable(Exception):
    """The cache cannot be used; says why in one line."""


def enter(root: Path, name: str) -> None:
    """Make the folder of a repository the working directory. A link or a file in its place is removed.

    Args:
        root: of the caches of all repositories; must exist.
        name: `owner/name`, checked.

    Raises:
        OSError: the volume does not allow it.
    """
    here = os.open(root, _OPEN)
    for part in name.split("/"):
        parent, here = here, folder(part, here)
        os.close(parent)
    os.fchdir(here)
    os.close(here)


def folder(name: str, parent: int | None = None) -> int:
    """Open a folder, and create it if needed. A link or a file in its place is removed.

    Args:
        name: in the parent.
        parent: descriptor; None for the working directory.

    Returns:
        Its descriptor.
    """
    for _ in range(5):  # other jobs may do the same now
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=parent)
        try:
            return os.open(name, _OPEN, dir_fd=parent)
        except OSError as error:
            if error.errno not in _NO_FOLDER:
                raise
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            os.unlink(name, dir_fd=parent)
    raise Unusable(f"{name} is not a folder")


def lease_name(runner: str) -> str:
    """The file name of a job's lease. The name of a runner is used once."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", runner)[:100] or "_"


def claim(lease: str, until: float, patience: float) -> None:
    """Take a lease, and wait until no other job removes files.

    Args:
        lease: its name.
        until: Unix seconds.
        patience: s to wait.

    Raises:
        Unusable: the other job takes too long.
        OSError: the volume is full, cannot be written, or is damaged.
    """
    os.close(folder(LEASES))
    probe, new = Path(LEASES, f".probe-{lease}"), Path(LEASES, f".new-{lease}")
    try:
        _write(probe, bytes(_PROBE))  # because a volume does not tell its quota
    finally:
        probe.unlink(missing_ok=True)
    _write(new, f"{until:.0f}".encode())
    new.rename(Path(LEASES, lease))
    end = time.monotonic() + patience
    while _is_locked():
        if time.monotonic() > end:
            release(lease)
            raise Unusable(f"another job has removed old files for {patience:.0f} s")
        time.sleep(0.1)


def release(lease: str) -> bool:
    """Give a lease back; False if there was none."""
    try:
        Path(LEASES, lease).unlink()
    except OSError:
        return False
    return True


def in_use(now: float) -> bool:
    """Whether a job has a lease. Removes those that have ended.

    Args:
        now: Unix seconds.
    """
    used = False
    for path in Path(LEASES).iterdir():
        with contextlib.suppress(OSError):
            if now < _end(path, now):
                used = used or not path.name.startswith(".")
            else:
                path.unlink()
    return used


@contextlib.contextmanager
def locked() -> Iterator[bool]:
    """Hold the lock; False if another job holds it."""
    if not _is_locked():
        discard(Path(LOCK))
    try:
        os.close(os.open(LOCK, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        yield False
        return
    try:
        yield True
    finally:
        discard(Path(LOCK))


def _is_locked() -> bool:
    try:
        return abs(time.time() - Path(LOCK).lstat().st_mtime) < LOCK_LIFETIME
    except OSError:
        return False


def _end(path: Path, now: float) -> float:
    """When a lease ends, in Unix seconds."""
    written = path.lstat().st_mtime
    if written > now + CLOCK_ERROR:
        return now
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            return min(float(os.read(descriptor, 20)), written + LONGEST_LEASE)
        finally:
            os.close(descriptor)
    except (OSError, ValueError):
        return written + UNREADABLE_LEASE


def _write(path: Path, content: bytes) -> None:
    """Write a file, until it is on the volume."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def discard(path: Path) -> None:
    """Remove a file, or what a job has put in its place."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        remove(str(path))


def remove(path: str) -> bool:
    """Remove a file or folder, also if a job has made folders of it read-only; False if that is impossible.

    Programs do it, because a job can nest folders deeper than Python can.
    """
    delete = ["rm", "--recursive", "--force", "--one-file-system", "--", path]
    allow = ["chmod", "--recursive", "u+rwX", "--", path]
    for command in (delete, allow, delete):
        subprocess.run(command, stderr=subprocess.DEVNULL, check=False)
        if not os.path.lexists(path):
            return True
    return False
