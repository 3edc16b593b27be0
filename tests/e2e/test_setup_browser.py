"""`bridge setup` in a terminal, and GitHub's pages in a real browser: headless Chromium, driven by Playwright."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from playwright.sync_api import Page

from bridge.commands.setup.register import PAGE, UNREACHED
from tests.support import ROOT
from tests.support.browser import CHROMIUM, NO_CHROMIUM, PATIENCE, chromium
from tests.support.emulators import API_KEY, Emulators, emulators
from tests.support.setting_up import variables

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Emulators]:
    home = tmp_path / "home"
    home.mkdir()
    with emulators(home) as made:
        made.github.state.add_repository("acme/site", private=False)
        made.github.app.installed = False
        yield made


@pytest.fixture
def page() -> Iterator[Page]:
    with chromium() as browser:
        opened = browser.new_page()
        opened.set_default_timeout(PATIENCE)
        yield opened


class Command:
    """`bridge setup` as a process, and the lines that it prints."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[str] = []
        self._queue: Queue[str] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._queue.put(line)

    def line(self, pattern: str) -> str:
        """Wait for a line, and return what the pattern's group is in it."""
        while True:
            self.lines.append(self._queue.get(timeout=PATIENCE / 1000))
            if found := re.search(pattern, self.lines[-1]):
                return found[1]

    def answer(self, text: str) -> None:
        """Type a line."""
        assert self.process.stdin
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def ended(self) -> str:
        """Wait for the end; all that was printed."""
        assert self.process.wait(60) == 0, "".join(self.lines)
        while not self._queue.empty():
            self.lines.append(self._queue.get())
        return "".join(self.lines)


@contextmanager
def started(made: Emulators, folder: Path, *arguments: str) -> Iterator[Command]:
    """Run the command until the block ends."""
    environment = variables(made, RUNPOD_API_KEY=API_KEY, RUNPOD_ENDPOINT_ID="ep-1")
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", "setup", "--org", "acme", "--dir", str(folder), *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(made.home), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Command(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream
            stream.close()


def install(page: Page, url: str) -> None:
    """Install the App on one repository."""
    page.goto(url)
    page.get_by_label("Only select repositories").check()
    page.get_by_label("web").check()
    page.get_by_role("button", name="Install").click()
    page.get_by_role("heading", name="is installed").wait_for()


def is_ready(folder: Path, made: Emulators) -> None:
    """The files are those of the App that was installed."""
    assert sorted(each.name for each in folder.iterdir()) == ["app.pem", "bridge.toml", "secrets.env"]
    assert (folder / "app.pem").read_text() == made.github.app.pem
    assert f'app_client_id = "{made.github.app.client_id}"' in (folder / "bridge.toml").read_text()
    assert made.github.app.repositories == {"web"}


def test_from_the_command_to_the_installed_app_in_a_browser(services: Emulators, page: Page, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with started(services, folder) as command:
        page.goto(command.line(r"(http://127\.0\.0\.1:\d+/\S+)$"))
        page.get_by_role("heading", name="Create GitHub App for acme").wait_for()  # the page submitted itself
        page.get_by_role("button", name="Create GitHub App for acme").click()
        page.get_by_role("heading", name="The GitHub App is registered").wait_for()
        install(page, command.line(r"(http://\S+/installations/new)$"))
        text = command.ended()
    is_ready(folder, services)
    assert "permission organization_self_hosted_runners: write: ok" in text
    assert "acme/web" in text
    assert "acme/site" not in text  # was not selected
    for secret in (API_KEY, services.github.app.webhook_secret, "code="):
        assert secret not in text


def test_a_taken_name_is_corrected_on_githubs_page(services: Emulators, page: Page, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with started(services, folder, "--app-name", "Emulated") as command:
        page.goto(command.line(r"(http://127\.0\.0\.1:\d+/\S+)$"))
        create = page.get_by_role("button", name="Create GitHub App for acme")
        create.click()
        page.get_by_text("Name is already taken").wait_for()
        page.get_by_label("GitHub App name").fill("acme-runners")
        create.click()
        page.get_by_role("heading", name="The GitHub App is registered").wait_for()
        install(page, command.line(r"(http://\S+/apps/acme-runners/installations/new)$"))
        command.ended()
    is_ready(folder, services)


def test_without_a_browser_here_the_address_is_pasted(services: Emulators, page: Page, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    redirects: list[str] = []

    def note(request: Any) -> None:
        if request.url.startswith(UNREACHED):
            redirects.append(request.url)

    page.on("request", note)
    with started(services, folder, "--no-browser") as command:
        page.goto(command.line(rf"(file://\S+/{re.escape(PAGE)})$"))
        page.get_by_role("button", name="Create GitHub App for acme").click(no_wait_after=True)
        page.wait_for_event("requestfailed", lambda request: request.url.startswith(UNREACHED))
        command.answer(redirects[0])
        install(page, command.line(r"(http://\S+/installations/new)$"))
        command.ended()
    is_ready(folder, services)
