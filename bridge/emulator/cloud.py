"""Both emulators together, with real workers, and the settings that connect the bridge to them."""

import base64
import contextlib
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from bridge.emulator import runner
from bridge.emulator.github import App, GitHubEmulator, GitHubState, Limits, github_emulator
from bridge.emulator.runpod import Account, EndpointConfig, RunPodEmulator, RunPodState, WorkerImage, runpod_emulator

OWNER, ENDPOINT = "acme", "emulated"

QUOTA = 10
"""Workers of all endpoints together: RunPod's quota of an account with a balance of $100."""


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """Both emulators, while they are served.

    Args:
        github: GitHub.
        runpod: RunPod, with one endpoint.
        folder: for files that belong to them, such as a ledger.
        api_key: of RunPod, for requests only.
        management_key: of RunPod, for everything.
        callback_key: with which the bridge authenticates RunPod's callbacks.
    """

    github: GitHubEmulator
    runpod: RunPodEmulator
    folder: Path
    api_key: str
    management_key: str
    callback_key: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)

    def settings(self) -> dict[str, str]:
        """The bridge's environment variables."""
        app = self.github.app
        return {
            **self._webhook_settings(),
            "GITHUB_ORG": app.owner,
            "GITHUB_API_URL": self.github.api_url,
            "GITHUB_APP_CLIENT_ID": app.client_id,
            "GITHUB_APP_PRIVATE_KEY": base64.b64encode(app.pem.encode()).decode(),
            "RUNPOD_API_KEY": self.api_key,
            "RUNPOD_ENDPOINT_ID": ENDPOINT,
            "RUNPOD_ENDPOINT_BASE_URL": self.runpod.base_url,
            "RUNPOD_MANAGEMENT_API_KEY": self.management_key,
            "RUNPOD_MANAGEMENT_URL": self.runpod.management_url,
            "BRIDGE_DATABASE_URL": f"sqlite:///{self.folder / 'ledger.sqlite3'}",
        }

    def _webhook_settings(self) -> dict[str, str]:
        app = self.github.app
        if not app.webhook_url:
            return {}
        url = urlsplit(app.webhook_url)
        return {
            "GITHUB_WEBHOOK_SECRET": app.webhook_secret,
            "BRIDGE_PUBLIC_URL": f"{url.scheme}://{url.netloc}",
            "BRIDGE_CALLBACK_KEY": self.callback_key,
        }


def worker_image(github_api_url: str, runner_dir: Path | None = None) -> WorkerImage:
    """The CPU worker of this repository.

    Args:
        github_api_url: of the emulated GitHub.
        runner_dir: the folder of an unpacked official runner, which each worker gets a copy of; None for the stand-in.
    """
    package = find_spec("runner_image")
    if package is None or package.origin is None:
        raise FileNotFoundError("the package runner_image is not installed")
    handler = Path(package.origin).with_name("handler.py")

    def prepare(folder: Path) -> Mapping[str, str]:
        root = folder / "actions-runner"
        runner.copy(runner_dir, root) if runner_dir else runner.install(root)
        return {"RUNNER_DIR": str(root)}

    return WorkerImage(
        command=[sys.executable, "-u", str(handler)],
        environment={"GITHUB_API_URL": github_api_url, "RUNNER_ALLOW_RUNASROOT": "1", "RUNNER_BUILD_TYPE": "cpu"},
        prepare=prepare,
    )


@asynccontextmanager
async def cloud(  # noqa: PLR0913 - each is an option of its own
    state: GitHubState,
    config: EndpointConfig,
    *,
    github_port: int = 0,
    runpod_port: int = 0,
    webhook_url: str | None = None,
    runner_dir: Path | None = None,
) -> AsyncIterator[Cloud]:
    """Serve both until the block ends. Then everything that they started has ended, too.

    Args:
        state: of GitHub.
        config: of the endpoint.
        github_port: 0 takes a free one.
        runpod_port: 0 takes a free one.
        webhook_url: where GitHub sends its events; None for no webhook.
        runner_dir: as of `worker_image`.
    """
    api_key, management_key = f"rpa_{secrets.token_hex(16)}", f"rpa_{secrets.token_hex(16)}"
    endpoints = RunPodState({ENDPOINT: config})
    account = Account(endpoints, quota=QUOTA, cold_start=config.cold_start)
    with tempfile.TemporaryDirectory(prefix="bridge-emulated-") as folder:
        app = App(owner=OWNER, webhook_url=webhook_url)
        async with github_emulator(state, app, port=github_port) as github:
            image = worker_image(github.api_url, runner_dir)
            async with runpod_emulator(
                endpoints,
                api_key=api_key,
                images={ENDPOINT: image},
                port=runpod_port,
                account=account,
                management_key=management_key,
                new_image=image,
            ) as runpod:
                yield Cloud(
                    github=github,
                    runpod=runpod,
                    folder=Path(folder),
                    api_key=api_key,
                    management_key=management_key,
                )


def github_state(limits: Limits | None = None) -> GitHubState:
    """A GitHub with one organisation. It fails the job of a dead runner after 30 s instead of 10 min.

    Args:
        limits: other ones.
    """
    state = GitHubState(limits=limits or Limits(pickup=60.0, heartbeat=30.0, renewal=30.0))
    state.add_organisation(OWNER)
    return state


def repository_name(path: Path) -> str:
    """The owner/name of a local repository."""
    return f"{OWNER}/{re.sub(r'[^A-Za-z0-9._-]', '-', path.resolve().name) or 'repository'}"


@contextlib.contextmanager
def sample_repository() -> Iterator[Path]:
    """A git repository with the sample workflow, until the block ends."""
    with tempfile.TemporaryDirectory(prefix="bridge-sample-") as folder:
        path = Path(folder) / "sample"
        workflows = path / ".github" / "workflows"
        workflows.mkdir(parents=True)
        shutil.copy(Path(__file__).parent / "sample" / "ci.yml", workflows)
        (path / "README.md").write_text("# A sample\n")
        who = ("-c", "user.name=sample", "-c", "user.email=sample@localhost", "-c", "commit.gpgsign=false")
        for step in (
            ("init", "--quiet", "--initial-branch=main"),
            ("add", "."),
            (*who, "commit", "--quiet", "-m", "x"),
        ):
            subprocess.run(["git", "-C", str(path), *step], check=True)  # noqa: S607 - git is on the search path
        yield path
