"""The output and the questions of `bridge setup`."""

import contextlib
import os
import signal
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator

import typer

from bridge.errors import ConfigError


class Terminal:
    """A person at a terminal, or a script.

    Args:
        interactive: whether questions may be asked.
    """

    def __init__(self, *, interactive: bool) -> None:
        self.interactive = interactive

    def say(self, text: str = "") -> None:
        """Print one or more lines."""
        typer.echo(text)

    def ask(self, question: str, missing: str) -> str:
        """Ask for a text, which may be empty.

        Args:
            question: shown.
            missing: the error where no question may be asked.

        Raises:
            ConfigError: no question may be asked.
        """
        return self._asked(question, missing, hidden=False)

    def ask_secret(self, question: str, missing: str) -> str:
        """Ask for a text that is not shown while it is typed."""
        return self._asked(question, missing, hidden=True)

    def confirm(self, question: str, missing: str) -> bool:
        """Ask a question that can be answered with yes or no; the default is no."""
        return self.ask(f"{question} [y/N]", missing).strip().lower() in ("y", "yes")

    def open(self, url: str) -> None:
        """Open a page in the browser, if there is a display: a text browser would take over the terminal."""
        if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            with contextlib.suppress(webbrowser.Error, OSError):
                webbrowser.open(url)

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[Callable[[str], None]]:
        """Show a progress display on a terminal; yields a function that changes its text."""
        from rich.console import Console
        from rich.markup import escape

        console = Console(stderr=True)
        if not console.is_terminal:
            self.say(what)
            yield lambda _text: None
            return
        with console.status(escape(what)) as status:
            yield lambda text: status.update(escape(text))

    def _asked(self, question: str, missing: str, *, hidden: bool) -> str:
        if not self.interactive:
            raise ConfigError(missing)
        with _interruptible():
            answer: str = typer.prompt(question, default="", show_default=False, hide_input=hidden)
        return answer.strip()


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end a question at once: asyncio's handler would wait until it is answered."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
