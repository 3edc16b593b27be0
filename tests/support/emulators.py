"""Both emulators in a thread of their own, and the bridge's command run against them."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from typer.testing import CliRunner

from bridge.dispatch import app
from bridge.emulator.cloud import worker_image
from bridge.emulator.github import UNLIMITED, Budget, GitHubEmulator, GitHubState, github_emulator
from bridge.emulator.runpod import EndpointConfig, RunPodEmulator, RunPodState, WorkerImage, runpod_emulator
from bridge.ledger import Ledger
from tests.support import ROOT
from tests.support.background import served
from tests.support.github import a_github, an_app
from tests.support.instant import instant_workers

API_KEY = "rp_secret_key"
PAT = "ghp_secretpersonaltoken"


@dataclass(kw_only=True)
class Emulators:
    """The emulated GitHub and RunPod, and the bridge's state.

    Args:
        github: the emulator.
        runpod: the emulator, with the endpoint `ep-1`.
        home: the folder of the bridge's state.
        variables: added to the bridge's environment.
    """

    github: GitHubEmulator
    runpod: RunPodEmulator
    home: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The bridge's environment. Of this process it has only the search path."""
        app = self.github.app
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "GITHUB_ORG": app.owner,
            "GITHUB_API_URL": self.github.api_url,
            "GITHUB_APP_CLIENT_ID": app.client_id,
            "GITHUB_APP_PRIVATE_KEY": app.pem,
            "RUNPOD_API_KEY": API_KEY,
            "RUNPOD_ENDPOINT_ID": "ep-1",
            "RUNPOD_ENDPOINT_BASE_URL": self.runpod.base_url,
            "BRIDGE_MAX_WORKERS": "50",
            "BRIDGE_DATABASE_URL": f"sqlite:///{self.ledger}",
            **self.variables,
        }

    @property
    def ledger(self) -> Path:
        """The file of the ledger."""
        return self.home / "ledger.sqlite3"

    def retry(self, job_id: int) -> None:
        """Have the bridge forget the failed attempts of a job, and all refusals."""
        ledger = Ledger.open(f"sqlite:///{self.ledger}")
        try:
            assert asyncio.run(ledger.transact(lambda transaction: transaction.retry(job_id, time.time())))
        finally:
            ledger.close()

    def lose_ledger(self) -> None:
        """Delete the ledger, as when a new container starts without the old disk."""
        for path in self.home.glob("ledger.sqlite3*"):
            path.unlink()

    def start(self, *arguments: str, log: int | IO[str] = subprocess.PIPE) -> "subprocess.Popen[str]":
        """Start the bridge's command. `log` must be a file if the test does not read it while the command runs."""
        return subprocess.Popen(
            [sys.executable, "-m", "bridge.dispatch", *arguments],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )

    def dispatch(self, *arguments: str, status: int = 0) -> dict[str, Any]:
        """Run one pass with --json in this process (which imports the SDK only once); returns its document."""
        bare = dict.fromkeys((n for n in os.environ if n.startswith(("GITHUB_", "RUNPOD_", "BRIDGE_"))), "")
        done = CliRunner().invoke(app, ["--json", *arguments], env=bare | self.environment, catch_exceptions=False)
        assert done.exit_code == status, done.output
        assert_no_secret(self, done.output)
        document: dict[str, Any] = json.loads(done.stdout)
        return document


def assert_no_secret(emulators: Emulators, text: str) -> None:
    """Check that `text` contains none of the bridge's secrets."""
    key_line = emulators.github.app.pem.splitlines()[1]
    for secret in (API_KEY, PAT, key_line, "ghs_"):
        assert secret not in text


@contextmanager
def emulators(
    home: Path,
    *,
    state: GitHubState | None = None,
    images: Mapping[str, WorkerImage] | None = None,
    image: Callable[[GitHubEmulator], WorkerImage] | None = None,
    instant: Mapping[str, Any] | None = None,
    budget: Budget = UNLIMITED,
    **config: Any,
) -> Iterator[Emulators]:
    """Serve both emulators until the block ends.

    Args:
        home: an empty folder for the bridge's state.
        state: GitHub's state; by default one organisation with one repository.
        images: RunPod's worker images by endpoint; by default none.
        image: makes the worker image of `ep-1` when GitHub's address is known.
        instant: arguments for tests.support.instant.work, which then serves the requests; None for no such workers.
        budget: the calls that GitHub allows.
        config: the endpoint's settings.
    """

    @asynccontextmanager
    async def both() -> AsyncIterator[Emulators]:
        async with github_emulator(state or a_github(), an_app(), budget=budget) as github:
            github.access.add_pat(PAT)
            runs = {**(images or {}), **({"ep-1": image(github)} if image else {})}
            endpoints = RunPodState({"ep-1": EndpointConfig(**config)})
            workers = (
                contextlib.nullcontext() if instant is None else instant_workers(github.state, endpoints, **instant)
            )
            async with runpod_emulator(endpoints, api_key=API_KEY, images=runs) as runpod, workers:
                yield Emulators(github=github, runpod=runpod, home=home)

    with served(both) as made:
        yield made


@contextmanager
def real_workers(
    home: Path, *, state: GitHubState | None = None, variables: Mapping[str, str] | None = None, **config: Any
) -> Iterator[Emulators]:
    """Both emulators, with worker processes that hold every kind of credential, as on a badly set up endpoint.

    Args:
        home: as for `emulators`.
        state: as for `emulators`.
        variables: added to the endpoint's environment.
        config: as for `emulators`.
    """

    def image(github: GitHubEmulator) -> WorkerImage:
        made = worker_image(github.api_url)
        secrets = {
            "GITHUB_PAT": PAT,
            "GITHUB_APP_CLIENT_ID": github.app.client_id,
            "GITHUB_APP_PRIVATE_KEY": github.app.pem,
            "RUNPOD_API_KEY": API_KEY,
        }
        return replace(made, environment={**made.environment, **secrets, **(variables or {})})

    with emulators(home, state=state, image=image, **config) as made:
        yield made
