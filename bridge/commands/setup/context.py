"""The context of all steps of `bridge setup`."""

from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from bridge.commands.setup import progress as progress_file
from bridge.commands.setup.folder import SECRET, Folder
from bridge.commands.setup.inputs import Given
from bridge.commands.setup.progress import Progress
from bridge.commands.setup.terminal import Terminal
from bridge.errors import BridgeError, ConfigError
from bridge.github.auth import AppAuth, AppKey
from bridge.github.manifest import NewApp
from bridge.github.timing import DEFAULT_TIMING, GitHubTiming


class NotDone(BridgeError):
    """A step that the person must do at GitHub is missing or wrong."""


@dataclass(kw_only=True)
class Context:
    """One run.

    Args:
        given: options and environment.
        terminal: the person.
        folder: where the files go.
        progress: how far this set-up has come.
        http: for GitHub.
        timing: the clock and the waiting times.
    """

    given: Given
    terminal: Terminal
    folder: Folder
    progress: Progress
    http: httpx.AsyncClient
    timing: GitHubTiming = DEFAULT_TIMING

    def save(self) -> None:
        """Store the progress."""
        progress_file.save(self.folder, self.progress)

    def write(self, name: str, text: str, mode: int = SECRET) -> None:
        """Write a file; ask first if that replaces a text that this set-up did not write.

        Raises:
            ConfigError: the file exists and may not be replaced, or cannot be written.
        """
        there = self.folder.read(name)
        if there != text and there is not None and not self.progress.wrote(name, there):
            refused = f"{self.folder.path / name}: was changed since this command wrote it; move it away"
            confirm_overwrite(self, [name], refused)
        self.progress.note(name, text)  # first: after an interruption the next run must recognise the file
        self.save()
        self.folder.write(name, text, mode)

    @property
    def app(self) -> NewApp:
        """The App; set by the first step."""
        if self.progress.app is None:
            raise NotDone("there is no GitHub App yet")
        return self.progress.app

    def auth(self, app: NewApp) -> AppAuth:
        """Signs for an App.

        Raises:
            ConfigError: its key cannot be used.
        """
        return AppAuth(
            self.http,
            api_url=self.progress.api_url,
            issuer=app.client_id,
            key=AppKey.load(app.pem),
            owner=self.progress.owner,
            timing=self.timing,
        )


def confirm_overwrite(context: Context, names: Sequence[str], refused: str) -> None:
    """Ask whether files may be replaced.

    Args:
        context: of the run.
        names: of the files.
        refused: the error if they may not.

    Raises:
        ConfigError: they may not.
    """
    if context.given.overwrite:
        return
    question = f"{', '.join(names)} in {context.folder.path} will be replaced. Continue?"
    if not context.terminal.confirm(question, f"{refused}, or give --overwrite"):
        raise ConfigError(refused)
