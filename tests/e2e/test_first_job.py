"""From nothing to a green job, by the commands of docs/quickstart.md, against `bridge emulate`'s services."""

import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from bridge.emulator.cloud import OWNER, Cloud, cloud, github_state
from bridge.emulator.runpod import EndpointConfig
from tests.support.background import served, until
from tests.support.emulators import Emulators
from tests.support.github import a_run
from tests.support.runners import a_job_of_steps
from tests.support.setting_up import Person, set_up

IMAGE = "ghcr.io/acme/worker:1-gpu"


@dataclass(kw_only=True)
class Newcomer:
    """A person in an empty folder, with what `bridge emulate` prints."""

    cloud: Cloud
    folder: Path

    def secrets(self) -> dict[str, str]:
        """What `. ./secrets.env` sets."""
        path = self.folder / "secrets.env"
        lines = path.read_text().splitlines() if path.exists() else []
        return dict(line.split("=", 1) for line in lines if not line.startswith("#"))

    def run(self, *arguments: str, status: int = 0, **more: str) -> str:
        """Run a command in the folder; returns its output."""
        variables = {"PATH": os.environ["PATH"], "HOME": str(self.folder), **self.secrets(), **more}
        done = subprocess.run(
            [sys.executable, "-m", "bridge", *arguments],
            cwd=self.folder,
            env=variables,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    def config(self) -> dict[str, Any]:
        return tomllib.loads((self.folder / "bridge.toml").read_text())


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    @asynccontextmanager
    async def both() -> AsyncIterator[Cloud]:
        state = github_state()
        state.add_repository(f"{OWNER}/web")
        async with cloud(state, EndpointConfig(workers_max=2)) as made:
            yield made

    folder = tmp_path / "new"
    folder.mkdir()
    with served(both) as made:
        yield Newcomer(cloud=made, folder=folder)


def test_three_commands_lead_to_a_green_job(newcomer: Newcomer) -> None:
    settings = newcomer.cloud.settings()
    management: dict[str, Any] = {"RUNPOD_MANAGEMENT_API_KEY": newcomer.cloud.management_key}
    given: dict[str, Any] = {
        name: text for name, text in settings.items() if name not in ("RUNPOD_ENDPOINT_ID", "BRIDGE_DATABASE_URL")
    }
    said = newcomer.run("setup", "--non-interactive", "--org", OWNER, "--image", IMAGE, **given)
    assert "GPU pools with at least 16 GB, cheapest first:" in said
    assert newcomer.cloud.management_key not in (newcomer.folder / "secrets.env").read_text()
    newcomer.run("endpoints", "apply", "--yes", **management)
    checks = json.loads(newcomer.run("doctor", "--json", **management))["checks"]
    assert [
        check for check in checks if check["status"] in ("failed", "warning") and check["id"] != "ledger.storage"
    ] == []
    state = newcomer.cloud.github.state
    job = state.add_run(f"{OWNER}/web", a_run(a_job_of_steps("echo hello"))).jobs["build"]
    newcomer.run("dispatch")
    until(lambda: job.status == "completed")
    assert job.conclusion == "success"
    until(lambda: not newcomer.cloud.runpod.state.workers)
    newcomer.run("dispatch")
    state.deprecations["2.338.0"] = time.time() - 60
    checks = json.loads(newcomer.run("doctor", "--json", status=1, **management))["checks"]
    (old,) = (check for check in checks if check["status"] == "failed")
    assert (old["id"], old["evidence"][:40]) == ("image.support", "GitHub gives runner 2.338.0 no jobs sinc")
    del state.deprecations["2.338.0"]
    plan = json.loads(newcomer.run("endpoints", "plan", "--json", **management))
    assert [each["action"] for each in plan["endpoints"]] == ["unchanged"]
    tested = json.loads(newcomer.run("doctor", "--json", "--self-test", **management))["checks"]
    assert {check["status"] for check in tested if check["id"] == "self_test"} == {"ok"}


def a_setup(newcomer: Newcomer, person: Person, **options: Any) -> None:
    """Run the command's steps with a new App."""
    made = newcomer.cloud
    variables = {
        "GITHUB_API_URL": made.github.api_url,
        "RUNPOD_ENDPOINT_BASE_URL": made.runpod.base_url,
        "RUNPOD_MANAGEMENT_URL": made.runpod.management_url,
    }
    set_up(cast(Emulators, made), newcomer.folder, person, environment=variables, **options)


def test_a_person_chooses_pools_and_names_the_image(newcomer: Newcomer) -> None:
    answers = {
        "API key": newcomer.cloud.api_key,
        "management key": newcomer.cloud.management_key,
        "GPU pools": "ADA_24, AMPERE_24",
        "Image": IMAGE,
    }
    a_setup(newcomer, Person(answers=answers), cpu_image="ghcr.io/acme/worker:1-cpu")
    config = newcomer.config()
    gpu, cpu = config["endpoint"]
    assert (gpu["gpu"], gpu["image"], gpu["workers_max"]) == (["ADA_24", "AMPERE_24"], IMAGE, 3)
    assert (cpu["cpu"]["vcpus"], cpu["image"]) == (2, "ghcr.io/acme/worker:1-cpu")
    assert [route["labels"] for route in config["route"]] == [["runpod", "gpu"], ["runpod", "cpu"]]
    assert newcomer.secrets().keys() == {"GITHUB_WEBHOOK_SECRET", "RUNPOD_API_KEY"}


def test_the_management_key_is_kept_on_request(newcomer: Newcomer) -> None:
    answers = {"API key": newcomer.cloud.api_key, "management key": newcomer.cloud.management_key, "Image": IMAGE}
    a_setup(newcomer, Person(answers=answers), keep_management_key=True)
    assert newcomer.secrets()["RUNPOD_MANAGEMENT_API_KEY"] == newcomer.cloud.management_key


def test_a_wrong_management_key_and_a_pool_that_does_not_exist_are_one_line(newcomer: Newcomer) -> None:
    answers = {"API key": newcomer.cloud.api_key, "management key": "rpa_wrong", "Image": IMAGE}
    with pytest.raises(Exception, match="RUNPOD_MANAGEMENT_API_KEY was refused; create a key"):
        a_setup(newcomer, Person(answers=answers))
    answers["management key"] = newcomer.cloud.management_key
    with pytest.raises(Exception, match="--gpu: RunPod has no GPU pool NO_SUCH; it has "):
        a_setup(newcomer, Person(answers=answers), gpu="NO_SUCH")


def test_a_dispatch_before_apply_says_what_to_do(newcomer: Newcomer) -> None:
    answers = {"API key": newcomer.cloud.api_key, "management key": newcomer.cloud.management_key, "Image": IMAGE}
    a_setup(newcomer, Person(answers=answers))
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "dispatch", "--dry-run"],
        cwd=newcomer.folder,
        env={"PATH": os.environ["PATH"], "HOME": str(newcomer.folder), **newcomer.secrets()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "has no RunPod id yet; run `bridge endpoints apply`" in done.stderr
