"""The wheel, installed in a virtual environment outside the checkout, as `pip install` and `pipx install` do it."""

import json
import subprocess
import sys
import sysconfig
import venv
import zipfile
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


def run(installed: Path, home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [installed / "bridge", *arguments],
        cwd=home,
        env={"PATH": f"{installed}:/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "TMPDIR": str(home)},
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


def test_the_demo_runs_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    (installed / "act").symlink_to(find_act())
    try:
        done = run(installed, tmp_path, "demo", "--json")
    finally:
        (installed / "act").unlink()
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert {job["conclusion"] for job in document["jobs"] if job["route"]} == {"success", "failure"}
