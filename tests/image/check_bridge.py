"""The bridge's own image, with a read-only root and as its own user."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import bridge as package
from tests.image.build import Image, Store
from tests.image.service import Container
from tests.support.background import until
from tests.support.emulators import Emulators, emulators
from tests.support.github import a_run, a_spec
from tests.support.postgres import postgres
from tests.support.service import free_port

LARGEST = 0.5e9
"""Bytes unpacked, on the stand-in base."""

SECRET = {"GITHUB_WEBHOOK_SECRET": "s" * 32}
OFFLINE = {**SECRET, "GITHUB_ORG": "acme", "GITHUB_PAT": "ghp_x" + "0" * 35, "RUNPOD_API_KEY": "rpa_" + "A1" * 20}


@pytest.fixture
def container(store: Store, bridge: Image, tmp_path: Path) -> Iterator[Container]:
    volume = tmp_path / "volume"
    volume.mkdir()
    os.chown(volume, *map(int, bridge.config["User"].split(":")))
    with store.container(bridge.reference) as root:
        yield Container(image=bridge, root=root, volume=volume)


def test_it_is_small_and_has_neither_pip_nor_a_compiler(
    container: Container, bridge: Image, say: Callable[[str], None]
) -> None:
    say(f"the bridge's image: {bridge.size / 1e6:.0f} MB unpacked, on the stand-in base")
    assert bridge.size < LARGEST
    unwanted = {"pip", "pip3", "gcc", "cc", "make", "act", "curl"}
    found = {path.name for path in container.root.rglob("bin/*") if not path.is_dir()}
    assert "bridge" in found
    assert found & unwanted == set()
    assert not list(container.root.rglob("pip/__main__.py"))


def test_its_user_owns_nothing_of_the_program(container: Container) -> None:
    folder = container.root / "opt/bridge"
    paths = [path for path in (folder, *folder.rglob("*")) if not path.is_symlink()]
    assert {path.stat().st_uid for path in paths} == {0}
    assert [path for path in paths if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)] == []


def test_it_says_its_version_and_writes_nothing(container: Container) -> None:
    done = container.run("--version")
    assert (done.returncode, done.stdout) == (0, f"runpod-actions-bridge {package.__version__}\n")
    assert list(container.volume.iterdir()) == []
    assert container.execute(["touch", "/opt/bridge/app/x"]).returncode != 0


def test_a_missing_setting_is_one_line(container: Container) -> None:
    done = container.run("dispatch", "--dry-run")
    assert done.returncode == 2
    assert done.stdout.startswith("bridge: ")
    assert done.stdout.count("\n") == 1


def test_it_serves_until_it_is_told_to_stop(container: Container, tmp_path: Path) -> None:
    with emulators(tmp_path / "emulated") as emulated:
        container.variables = settings(emulated)
        with serving(container):
            until(lambda: emulated.runpod.state.requests, seconds=30)
    assert [path.name for path in container.volume.iterdir()] == ["ledger.sqlite3"]


def test_two_copies_share_a_postgresql_ledger_and_write_to_no_folder(container: Container, tmp_path: Path) -> None:
    os.chown(container.volume, 0, 0)
    with emulators(tmp_path / "emulated") as emulated, postgres() as server:
        container.variables = settings(emulated) | {"BRIDGE_DATABASE_URL": server.database()}
        with serving(container), serving(container):
            until(lambda: emulated.runpod.state.requests, seconds=30)
    assert list(container.volume.iterdir()) == []
    assert len(emulated.runpod.state.requests) == 1


def settings(emulated: Emulators) -> dict[str, str]:
    """What connects the container to the emulators, which have one queued job."""
    emulated.github.state.add_run("acme/web", a_run(a_spec()))
    outside = {"PATH", "HOME", "BRIDGE_DATABASE_URL"}
    return SECRET | {name: value for name, value in emulated.environment.items() if name not in outside}


@contextmanager
def serving(container: Container) -> Iterator[None]:
    """A service on a free port, which becomes ready."""
    address = f"127.0.0.1:{free_port()}"
    with container.serving("dispatch", "--serve", address):
        until(lambda: _ready(address), seconds=30)
        yield


def _ready(address: str) -> bool:
    try:
        return httpx.get(f"http://{address}/readyz").is_success
    except httpx.TransportError:
        return False


def test_its_health_check_needs_the_service_but_not_the_internet(container: Container) -> None:
    container.network = "alone"
    container.variables = {**OFFLINE, "RUNPOD_ENDPOINT_ID": "ep-1", "http_proxy": "http://127.0.0.1:9"}
    assert container.check_health() == 1
    with container.serving(*container.image.config["Cmd"]) as process:
        until(lambda: container.check_health(process) == 0, seconds=30)
