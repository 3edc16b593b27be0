"""How many files, connections included, the process has open and may open."""

import os
import resource

MOST_FILES = 65_536
"""Open files that the service asks the system for, and assumes where the system sets no limit."""


def open_files() -> int | None:
    """The number of open files; None where there is no /proc, as it is Linux's."""
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only the names, and fast
    except OSError:
        return None


def allowed_files() -> int:
    """The number of files that the process may open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return count_of(soft)


def count_of(limit: int) -> int:
    """A limit of the system as a number of files."""
    return MOST_FILES if limit == resource.RLIM_INFINITY else limit


def raise_file_limit() -> None:
    """Allow the process to open as many files as it can: systemd and shells give 1,024 where it may have more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(count_of(hard), MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
