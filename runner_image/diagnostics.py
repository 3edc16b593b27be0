"""Saves the runner's own logs of a failure, masked, if the endpoint sets RUNNER_DIAG_DIR."""

import os
from pathlib import Path

from runner_image.masking import Masker

LONGEST = 20_000_000
"""Bytes saved of one log."""


def save(root: Path, directory: Path, masker: Masker, longest: int = LONGEST) -> int:
    """Copy the logs in `_diag`. They contain the job message, so only this process's user can read the copies.

    Args:
        root: the runner's directory.
        directory: where the copies go; created if it does not exist.
        masker: masks the copies.
        longest: bytes of each log that are copied. A longer log loses its beginning, up to a line break: half of a
            secret would not be masked.

    Returns:
        The number of copies.
    """
    diagnostics = root / "_diag"
    if diagnostics.is_symlink() or not diagnostics.is_dir():
        return 0
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    logs = [path for path in sorted(diagnostics.glob("*.log")) if path.is_file() and not path.is_symlink()]
    for path in logs:
        _copy(path, directory / path.name, masker, longest)
    return len(logs)


def _copy(source: Path, target: Path, masker: Masker, longest: int) -> None:
    # A job may have replaced the log by a link to a file that only the worker can read.
    with open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:  # noqa: PTH123 - a descriptor
        if (skipped := os.fstat(file.fileno()).st_size - longest) > 0:
            file.seek(skipped - 1)
            file.readline()
        text = file.read().decode(errors="replace")
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as copy:  # noqa: PTH123 - a descriptor
        copy.write(masker.mask(text))
