"""A copy of the official runner for each test, with an emulated GitHub."""

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.emulator.github import github_emulator
from bridge.emulator.runner import check_installed, copy
from tests.support.background import served
from tests.support.github import a_github, an_app
from tests.support.runners import Installed
from tests.worker.workers import worker

__all__ = ["worker"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of this folder without a runner."""
    if os.environ.get("RUNNER_DIR"):
        return
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.skip(reason="RUNNER_DIR is not set to the folder of an official runner"))


@pytest.fixture(scope="session")
def runner_dir() -> Path:
    """The folder of the official runner."""
    found = Path(os.environ["RUNNER_DIR"]).resolve()
    check_installed(found)
    return found


@pytest.fixture
def standin(runner_dir: Path, tmp_path: Path) -> Iterator[Installed]:
    """A copy of the official runner in place of the stand-in."""
    yield from _installed(runner_dir, tmp_path, 0)


@pytest.fixture
def on_port_80(runner_dir: Path, tmp_path: Path) -> Iterator[Installed]:
    """The same on port 80: config.sh drops the port of its `--url`.

    One test at a time can have the port.
    """
    with (Path(tempfile.gettempdir()) / "bridge-tests-port-80.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _skip_unless_free(80)
        yield from _installed(runner_dir, tmp_path, 80)


def _installed(runner_dir: Path, tmp_path: Path, port: int) -> Iterator[Installed]:
    root, home = tmp_path / "runner", tmp_path / "home"
    copy(runner_dir, root)
    home.mkdir()
    with served(lambda: github_emulator(a_github(), an_app(), port=port)) as github:
        yield Installed(root, github, home)


def _skip_unless_free(port: int) -> None:
    try:
        with socket.create_server(("127.0.0.1", port)):
            pass
    except OSError as error:
        pytest.skip(f"port {port} cannot be used: {error.strerror}")
