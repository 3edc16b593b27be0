"""The wheel, installed in a virtual environment outside the checkout, as `pip install` and `pipx install` do it."""

import json
import re
import shlex
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge.emulator.act import find_act
from tests.support import ROOT

PACKAGES = ("bridge", "runner_image")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built without network."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment with the wheel, this environment's libraries, and without `act`."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index"]
    subprocess.run([*install, "--quiet", "--disable-pip-version-check", str(wheel)], check=True)
    purelib = sysconfig.get_path("purelib", "venv", {"base": str(home)})
    # Python adds the folder to the import path, but does not read the .pth files in it: the checkout stays out.
    (Path(purelib) / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return home / "bin"


@pytest.fixture
def act(installed: Path) -> Iterator[None]:
    """`act` in the environment, as with the extra `demo`."""
    (installed / "act").symlink_to(find_act())
    yield
    (installed / "act").unlink()


def environment(installed: Path, home: Path) -> dict[str, str]:
    return {"PATH": f"{installed}:/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "TMPDIR": str(home)}


def run(installed: Path, home: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [installed / "bridge", *arguments],
        cwd=home,
        env=environment(installed, home) | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


def test_it_holds_every_file_of_its_packages_and_nothing_else(wheel: Path) -> None:
    listed = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name for name in listed.stdout.splitlines() if (ROOT / name).exists()} <= names
    assert {name.split("/")[0] for name in names} == set(PACKAGES)
    assert {"bridge/emulator/sample/ci.yml", "bridge/emulator/runner/layout/config.sh"} <= names


def test_the_command_has_the_packages_version(installed: Path, tmp_path: Path) -> None:
    assert run(installed, tmp_path, "--version").stdout == f"runpod-actions-bridge {bridge.__version__}\n"
    assert run(installed, tmp_path, "--help").returncode == 0


def test_the_demo_without_its_extra_says_what_to_install(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "demo")
    line = (
        "bridge: act is not installed; in a checkout: pip install '.[demo]'; "
        "otherwise: pip install 'runpod-actions-bridge[demo]'\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


@pytest.mark.usefixtures("act")
def test_the_demo_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "demo", "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert {job["conclusion"] for job in document["jobs"] if job["route"]} == {"success", "failure"}


@contextmanager
def emulated(installed: Path, home: Path) -> Iterator[dict[str, str]]:
    """`bridge emulate`; the settings that it prints."""
    home.mkdir()
    command = [str(installed / "bridge"), "emulate", "--cold-start", "0"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=home, env=environment(installed, home), **pipes) as process:
        try:
            settings: dict[str, str] = {}
            while "BRIDGE_DATABASE_URL" not in settings and (line := process.stdout.readline()):  # type: ignore[union-attr]
                if found := re.fullmatch(r"export (\w+)=(.*)\n", line):
                    settings[found[1]] = "".join(shlex.split(found[2]))
            yield settings
        finally:
            process.terminate()


ENDPOINT = """
[[endpoint]]
name = "l4"
image = "ghcr.io/acme/runner:1.0"
gpu = ["ADA_24"]
workers_max = 1
"""


@pytest.mark.usefixtures("act")
def test_set_up_and_endpoints_run_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    with emulated(installed, tmp_path / "emulated") as settings:
        done = run(installed, tmp_path, "setup", "--non-interactive", "--dir", "new", **settings)
        assert done.returncode == 0, done.stderr
        config = tmp_path / "new" / "bridge.toml"
        config.write_text(config.read_text() + ENDPOINT)
        for command in (["endpoints", "apply", "--yes"], ["endpoints", "plan"], ["dispatch", "--dry-run"]):
            done = run(installed, tmp_path, *command, "--config", str(config), **settings)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert "would submit" in done.stdout


def test_the_source_package_has_what_users_deploy(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {str(each.relative_to(ROOT)) for folder in ("deploy", "docs") for each in (ROOT / folder).rglob("*.*")}
    assert len(wanted) > 20
    assert wanted - names == set()
    assert {"runner_image/Dockerfile", "requirements.lock"} <= names
    assert {name.split("/")[0] for name in names} & {".venv", ".git"} == set()
