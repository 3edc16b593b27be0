"""The handler in this process, with the emulated GitHub and the runner stand-in."""

import asyncio
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from bridge.emulator.github import GitHubEmulator
from runner_image import handler
from runner_image.limits import LIMITS, Limits
from tests.support.runners import Installed

PAT = "ghp_thepersonaltoken"
LABELS = ["self-hosted", "linux", "x64", "runpod", "gpu"]


@dataclass(kw_only=True)
class Worker:
    """A worker's directory, and the handler in this process."""

    standin: Installed
    patch: pytest.MonkeyPatch
    limits: Limits = LIMITS
    exits: list[int] = field(default_factory=list)

    @property
    def github(self) -> GitHubEmulator:
        return self.standin.github

    def limit(self, **limits: Any) -> None:
        """Change some limits."""
        self.limits = replace(self.limits, **limits)

    async def answer(self, given: dict[str, Any]) -> dict[str, Any]:
        """The handler's answer to a request with this input; `exits` gets the code with which it would exit."""
        request = {"id": "req-1", "input": given}
        return await handler.handle(request, limits=self.limits, leave=self.exits.append)

    def handle(self, meanwhile: Callable[[], None] = lambda: None, /, **given: Any) -> dict[str, Any]:
        """The answer to a request with this input. `meanwhile` runs in a thread at the same time."""

        async def run() -> dict[str, Any]:
            beside = threading.Thread(target=meanwhile)
            beside.start()
            try:
                return await self.answer(given)
            finally:
                beside.join()

        return asyncio.run(run())

    def jit(self, **given: Any) -> dict[str, Any]:
        """An input with a freshly minted configuration of the runner `r-1`."""
        _, variables = self.standin.mint(labels=LABELS)
        return {"jit_config": variables["ACTIONS_RUNNER_INPUT_JITCONFIG"], "runner_name": "r-1", **given}

    def tokens(self, mode: str, **given: Any) -> dict[str, Any]:
        """An input of a mode that registers its own runner."""
        common = {"mode": mode, "runner_url": f"{self.github.url}/acme", "runner_labels": ["runpod", "gpu"], **given}
        if mode == "registration":
            return {"registration_token": self.github.state.registration_token("orgs/acme")[0], **common}
        return common

    def replace_listener(self, script: str) -> None:
        """Replace the Listener by a shell script."""
        self.standin.replace_listener(script)
        self.limit(interrupt=0.3)  # a shell waits for its command before it handles a signal

    def configures_slowly(self) -> None:
        """Make config.sh hang after it has registered the runner."""
        path = self.standin.root / "config.sh"
        path.write_text('#!/bin/sh\n./bin/Runner.Listener configure "$@"\nsleep 60\n')


@pytest.fixture
def worker(standin: Installed, monkeypatch: pytest.MonkeyPatch) -> Worker:
    for name in [n for n in os.environ if n.startswith(("GITHUB_", "RUNPOD_", "RUNNER_"))]:
        monkeypatch.delenv(name)
    standin.github.access.add_pat(PAT)
    app = standin.github.app
    variables = {
        "RUNNER_DIR": str(standin.root),
        "HOME": str(standin.home),
        "RUNNER_ALLOW_RUNASROOT": "1",
        "GITHUB_API_URL": standin.github.api_url,
        "GITHUB_PAT": PAT,
        "GITHUB_APP_CLIENT_ID": app.client_id,
        "GITHUB_APP_PRIVATE_KEY": app.pem,
        "RUNPOD_AI_API_KEY": "rpa_theworkerskey",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (standin.root / ".env").write_text("RUNNER_STANDIN_WAIT_FACTOR=0.001\n")
    return Worker(standin=standin, patch=monkeypatch)
