"""The images built from the Dockerfile."""

import dataclasses
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.image.build import Image, Release, Store
from tests.support import ROOT

LARGEST = 1.2e9
"""Bytes unpacked, without CUDA and with the runner stand-in."""

RUNNER = 0.8e9
"""Bytes that an official runner may take more than the stand-in."""


def test_both_flavours_are_small_enough(release: Release, cpu: Image, gpu: Image, say: Callable[[str], None]) -> None:
    limit = LARGEST + (RUNNER if release.is_official else 0)
    runner = "the official runner" if release.is_official else "the runner stand-in"
    for name, image in (("cpu", cpu), ("gpu", gpu)):
        say(f"image {name}: {image.size / 1e6:.0f} MB unpacked, on the stand-in base and with {runner}")
        assert image.size < limit
        assert f"RUNNER_BUILD_TYPE={name}" in image.config["Env"]
        assert image.config["Labels"]["org.opencontainers.image.licenses"] == "MIT"


COMPILERS = 250e6
"""Bytes unpacked that an image without compilers saves at least."""


def test_an_image_without_compilers_is_smaller_and_complete(
    store: Store, gpu: Image, slim: Image, say: Callable[[str], None]
) -> None:
    say(f"image gpu without compilers: {slim.size / 1e6:.0f} MB unpacked, {(gpu.size - slim.size) / 1e6:.0f} MB less")
    assert gpu.size - slim.size > COMPILERS
    with store.container(slim.reference) as root:
        assert not list(root.glob("usr/bin/*gcc*"))
        imports = [
            "chroot",
            str(root),
            "/opt/worker/venv/bin/python",
            "-c",
            "import runpod, pynvml, psutil, cryptography",
        ]
        subprocess.run(imports, env={"PATH": os.environ["PATH"]}, check=True)


def test_toolchain_must_be_on_or_off(store: Store, release: Release) -> None:
    with pytest.raises(AssertionError, match="TOOLCHAIN must be on or off, not maybe"):
        store.build("refused", release, BUILD_TYPE="cpu", TOOLCHAIN="maybe")


def test_a_changed_handler_is_rebuilt_in_seconds(
    store: Store, release: Release, cpu: Image, tmp_path: Path, say: Callable[[str], None]
) -> None:
    for name in ("bridge", "runner_image"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("Dockerfile", ".dockerignore"):
        shutil.copy(ROOT / name, tmp_path)
    with (tmp_path / "runner_image" / "handler.py").open("a") as handler:
        handler.write("# changed\n")
    began = time.monotonic()
    changed = store.build("worker-changed", release, context=tmp_path, BUILD_TYPE="cpu")
    took = time.monotonic() - began
    say(f"a changed handler was rebuilt in {took:.1f} s")
    assert took < 60, "a full build takes minutes"
    with store.container(changed.reference) as root:
        assert (root / "opt/worker/runner_image/handler.py").read_text().endswith("# changed\n")


def test_a_runner_with_another_checksum_fails_the_build(store: Store, release: Release, cpu: Image) -> None:
    with pytest.raises(AssertionError, match="computed checksum did NOT match"):
        store.build("refused", dataclasses.replace(release, sha256="0" * 64), BUILD_TYPE="cpu")


def test_sudo_must_be_on_or_off(store: Store, release: Release, cpu: Image) -> None:
    with pytest.raises(AssertionError, match="SUDO must be on or off, not maybe"):
        store.build("refused", release, BUILD_TYPE="cpu", SUDO="maybe")


def test_everything_that_the_worker_imports_is_in_the_image(store: Store, cpu: Image) -> None:
    imports = "import runner_image.handler, runner_image.registration, bridge.github.api, bridge.github.auth, runpod"
    with store.container(cpu.reference) as root:
        python = ["chroot", str(root), "/opt/worker/venv/bin/python", "-c", imports]
        subprocess.run(python, env={"PATH": os.environ["PATH"], "PYTHONPATH": "/opt/worker"}, check=True)


def test_the_runners_programs_belong_to_root(store: Store, cpu: Image) -> None:
    with store.container(cpu.reference) as root:
        folder = root / "actions-runner"
        assert oct(folder.stat().st_mode)[-4:] == "1775"
        paths: list[Path] = [folder, *folder.rglob("*")]
        assert {path.lstat().st_uid for path in paths} == {0}
        assert [p for p in paths[1:] if not p.is_symlink() and p.stat().st_mode & 0o022] == []
