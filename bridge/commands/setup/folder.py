"""The folder that `bridge setup` writes to. Files are written atomically, and only their owner can read secrets."""

import contextlib
import os
import tempfile
from pathlib import Path

from bridge.errors import ConfigError

SECRET, PUBLIC = 0o600, 0o644
"""File modes."""


class Folder:
    """Files by name.

    Args:
        path: created with the first file, if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()

    def read(self, name: str) -> str | None:
        """The text of a file; None if there is no such file.

        Raises:
            ConfigError: it cannot be read.
        """
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.path / name}: cannot be read: {_why(error)}") from None

    def write(self, name: str, text: str, mode: int = SECRET) -> None:
        """Create or replace a file. After a crash it has the old or the new text, never a part of one.

        Args:
            name: of the file.
            text: all of it.
            mode: SECRET or PUBLIC.

        Raises:
            ConfigError: it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._replace(name, text, mode)
        except OSError as error:
            raise ConfigError(
                f"{self.path / name}: cannot be written: {_why(error)}; choose another folder with --dir"
            ) from None

    def remove(self, name: str) -> None:
        """Delete a file, if it exists."""
        with contextlib.suppress(OSError):
            (self.path / name).unlink()

    def _replace(self, name: str, text: str, mode: int) -> None:
        handle, temporary = tempfile.mkstemp(dir=self.path, prefix=f".{name}.")  # mkstemp makes it 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            Path(temporary).replace(self.path / name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        self._sync()

    def _sync(self) -> None:
        """Make the rename durable: GitHub does not show the secrets again."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _why(error: Exception) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else "not a text file"
