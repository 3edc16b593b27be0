"""Keeps the runner's own logs of a failure, masked, when the endpoint asks for them with RUNNER_DIAG_DIR."""

import os
from pathlib import Path

from runner_image.masking import Masker

LONGEST = 20_000_000
"""Bytes kept of one log, its end, from a whole line on: no mask would know half a secret."""


def keep(root: Path, directory: Path, masker: Masker) -> int:
    """Copy the logs in `_diag`; they hold the job message, so only this process's user can read the copies.

    Args:
        root: the runner's directory.
        directory: where the copies go, made if absent.
        masker: masks them.

    Returns:
        How many were kept.
    """
    diagnostics = root / "_diag"
    if diagnostics.is_symlink() or not diagnostics.is_dir():
        return 0
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    logs = [path for path in sorted(diagnostics.glob("*.log")) if path.is_file() and not path.is_symlink()]
    for path in logs:
        _copy(path, directory / path.name, masker)
    return len(logs)


def _copy(source: Path, target: Path, masker: Masker) -> None:
    # A job may have put a link in the log's place, to a file that only the worker can read.
    with open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:  # noqa: PTH123 - a descriptor
        if (skipped := os.fstat(file.fileno()).st_size - LONGEST) > 0:
            file.seek(skipped - 1)
            file.readline()
        text = file.read().decode(errors="replace")
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file_kept:  # noqa: PTH123 - a descriptor
        file_kept.write(masker.mask(text))
