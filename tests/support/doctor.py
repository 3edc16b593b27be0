"""`bridge doctor` against both emulators, with a management key."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from bridge.commands.app import app
from bridge.emulator.cloud import OWNER, Cloud, cloud, github_state
from bridge.emulator.runpod import EndpointConfig
from tests.support.background import served

TOML = """
[[endpoint]]
name = "l4"
image = "ghcr.io/acme/runner:1.0"
gpu = ["AMPERE_24"]
workers_max = 2

[[route]]
name = "gpu"
labels = ["runpod", "gpu"]
endpoint = "l4"
"""


@dataclass(kw_only=True)
class Clinic:
    """The emulated GitHub and RunPod, and a folder with bridge.toml.

    Args:
        cloud: both emulators.
        folder: with bridge.toml and the ledger.
        variables: added to the environment of the command.
    """

    cloud: Cloud
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """The path of bridge.toml."""
        return self.folder / "bridge.toml"

    @property
    def environment(self) -> dict[str, str]:
        """The command's environment."""
        settings = {**self.cloud.settings(), "BRIDGE_DATABASE_URL": f"sqlite:///{self.folder}/ledger.sqlite3"}
        del settings["RUNPOD_ENDPOINT_ID"]
        return {**settings, "BRIDGE_CONFIG": str(self.config), **self.variables}

    def run(self, *arguments: str, status: int | None = 0) -> str:
        """Run a command of the bridge; returns its output on stdout.

        Args:
            arguments: of `bridge`.
            status: the exit status that must follow; None for any.
        """
        bare = dict.fromkeys((n for n in os.environ if n.startswith(("GITHUB_", "RUNPOD_", "BRIDGE_"))), "")
        done = CliRunner().invoke(app, list(arguments), env=bare | self.environment, catch_exceptions=False)
        assert status is None or done.exit_code == status, done.output
        for secret in self._secrets():
            assert secret not in done.output
        return done.stdout

    def checks(self, *arguments: str, status: int | None = None) -> list[dict[str, Any]]:
        """The checks of `bridge doctor --json`."""
        document: dict[str, Any] = json.loads(self.run("doctor", "--json", *arguments, status=status))
        return list(document["checks"])

    def troubles(self, *arguments: str) -> dict[str, str]:
        """Of all checks that failed or warn: `evidence; fix`, by id (and subject, after a space)."""
        return {
            " ".join(filter(None, (check["id"], check["subject"]))): f"{check['evidence']}; {check['fix']}"
            for check in self.checks(*arguments)
            if check["status"] in ("failed", "warning")
        }

    def _secrets(self) -> list[str]:
        app = self.cloud.github.app
        return [self.cloud.api_key, self.cloud.management_key, app.webhook_secret, app.pem.splitlines()[1]]


@contextmanager
def clinic(folder: Path, *, webhook_url: str | None = None, text: str = TOML) -> Iterator[Clinic]:
    """A set-up in which everything is well, until the block ends: the endpoints of `text` exist.

    Args:
        folder: empty.
        webhook_url: where GitHub sends its events; None for no webhook.
        text: of bridge.toml.
    """

    @asynccontextmanager
    async def both() -> AsyncIterator[Cloud]:
        state = github_state()
        state.add_repository(f"{OWNER}/web")
        async with cloud(state, EndpointConfig(workers_max=2), webhook_url=webhook_url) as made:
            yield made

    with served(both) as made:
        found = Clinic(cloud=made, folder=folder)
        found.config.write_text(text)
        found.run("endpoints", "apply", "--yes")
        yield found
