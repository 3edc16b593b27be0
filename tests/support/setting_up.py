"""`bridge setup` within a test: a person who answers its questions, and what they click at GitHub."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bridge.commands.setup.folder import Folder
from bridge.commands.setup.inputs import Options, given
from bridge.commands.setup.register import PAGE
from bridge.commands.setup.steps import run
from bridge.commands.setup.terminal import Terminal
from bridge.github.timing import GitHubTiming
from bridge.github.transport import http_client
from tests.support.emulators import API_KEY, Emulators
from tests.support.forms import submitted

QUICK = 0.02
"""s for each wait of the command in a test."""


@dataclass
class Person(Terminal):
    """Answers questions and does at GitHub what the command asks for.

    Args:
        answers: by a word of the question.
        clicks: whether they go to GitHub at all.

    Attributes:
        said: all that was printed.
        asked: the questions.
        redirect: where GitHub sent the browser with the code.
    """

    answers: dict[str, str] = field(default_factory=lambda: {"API key": API_KEY, "endpoint": "ep-1"})
    clicks: bool = True
    interactive: bool = True
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    redirect: str = ""
    name: str | None = None
    threads: list[threading.Thread] = field(default_factory=list)

    def say(self, text: str = "") -> None:
        self.said.append(text)

    def open(self, url: str) -> None:
        if self.clicks:
            thread = threading.Thread(target=self.browse, args=(url,))
            self.threads.append(thread)
            thread.start()

    def browse(self, url: str) -> None:
        """Open a page and do what is asked for there."""
        with httpx.Client(follow_redirects=True, timeout=10) as client:
            page = client.get(url)
            submitted_page = submitted(client, page)
            if "/installations/new" not in url:
                changed = {"name": self.name} if self.name else {}
                client.follow_redirects = False
                self.redirect = submitted(client, submitted_page, **changed).headers["location"]
                if self.redirect.startswith("http://127.0.0.1:49151/"):
                    return
                client.get(self.redirect)

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[Callable[[str], None]]:
        self.said.append(what)
        yield self.said.append

    def _asked(self, question: str, missing: str, *, hidden: bool) -> str:
        if self.interactive:
            self.asked.append(question)
        known = next((value for word, value in self.answers.items() if word in question), "")
        return known if self.interactive else super()._asked(question, missing, hidden=hidden)

    @property
    def text(self) -> str:
        return "\n".join(self.said + self.asked)


def variables(made: Emulators, **more: str) -> dict[str, str]:
    """The environment that points the command at the emulators, without credentials."""
    return {"GITHUB_API_URL": made.github.api_url, "RUNPOD_ENDPOINT_BASE_URL": made.runpod.base_url, **more}


def options(**changed: Any) -> Options:
    """The command's options, for organisation acme."""
    defaults: dict[str, Any] = dict.fromkeys(("account", "webhook_url", "app_name", "code", "endpoint"))
    return Options(**{**defaults, "org": "acme", "no_browser": False, "overwrite": False, "wait": 30.0, **changed})


async def _quick(_seconds: float) -> None:
    """Wait, but not long."""
    await asyncio.sleep(QUICK)


TIMING = GitHubTiming(sleep=_quick)


def set_up(
    made: Emulators,
    folder: Path | Folder,
    person: Person,
    *,
    environment: dict[str, str] | None = None,
    **changed: Any,
) -> None:
    """Run the command's steps."""

    async def main() -> None:
        where = Folder(folder) if isinstance(folder, Path) else folder
        async with http_client() as http:
            await run(given(options(**changed), environment or variables(made)), person, where, http, TIMING)

    try:
        asyncio.run(main())
    finally:
        for thread in person.threads:
            thread.join()


class PastingPerson(Person):
    """Opens the file of --no-browser, and pastes where GitHub's redirect went."""

    folder: Path = Path()

    def _asked(self, question: str, missing: str, *, hidden: bool) -> str:
        if "Paste" not in question:
            return super()._asked(question, missing, hidden=hidden)
        self.asked.append(question)
        with httpx.Client(timeout=10) as client:
            text = (self.folder / PAGE).read_text()
            page = submitted(client, httpx.Response(200, text=text, request=httpx.Request("GET", "http://localhost/")))
            self.redirect = submitted(client, page).headers["location"]
        return self.redirect
