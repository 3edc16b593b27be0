"""How the official runner comes into CI: it is downloaded by its checksum, and tried before it is proposed."""

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.emulator import runner
from tests.support import ROOT

SCRIPT = ROOT / ".github" / "scripts" / "download_runner.sh"
VERSION = "9.9.9"


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    """A folder with one release, laid out as on GitHub: the stand-in, packed."""
    tree, folder = tmp_path / "tree", tmp_path / "releases" / f"v{VERSION}"
    runner.install(tree)
    folder.mkdir(parents=True)
    with tarfile.open(folder / f"actions-runner-linux-x64-{VERSION}.tar.gz", "w:gz") as archive:
        archive.add(tree, arcname=".")
    return folder.parent


def download(releases: Path, sha256: str, to: Path) -> "subprocess.CompletedProcess[str]":
    given = {"PATH": os.environ["PATH"], "RELEASES": releases.as_uri(), "VERSION": VERSION, "SHA256": sha256}
    return subprocess.run([SCRIPT, to], cwd=ROOT, env=given, capture_output=True, text=True, timeout=60, check=False)


def test_a_release_is_unpacked_if_its_checksum_is_right(releases: Path, tmp_path: Path) -> None:
    (archive,) = releases.glob("*/*.tar.gz")
    done = download(releases, hashlib.sha256(archive.read_bytes()).hexdigest(), tmp_path / "runner")
    assert done.returncode == 0, done.stderr
    runner.check_installed(tmp_path / "runner")


def test_nothing_is_unpacked_if_its_checksum_is_wrong(releases: Path, tmp_path: Path) -> None:
    assert download(releases, "0" * 64, tmp_path / "runner").returncode != 0
    assert list((tmp_path / "runner").iterdir()) == []


def test_a_new_release_is_tried_before_it_is_proposed() -> None:
    path = ROOT / ".github" / "workflows" / "update-runner.yml"
    jobs: dict[str, Any] = yaml.safe_load(path.read_text())["jobs"]
    assert jobs["try"]["uses"] == "./.github/workflows/official-runner.yml"
    assert jobs["try"]["with"] == {
        "version": "${{ needs.find.outputs.version }}",
        "sha256": "${{ needs.find.outputs.sha256 }}",
    }
    assert jobs["update"]["needs"] == ["find", "try"]
    writing = {name for name, job in jobs.items() if "write" in job["permissions"].values()}
    assert writing == {"update"}, "the new runner runs without the right to change anything"
