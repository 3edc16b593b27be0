"""The images, built once per run."""

import fcntl
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.image.build import Image, Release, Store, make_release, official_release
from tests.support import ROOT

STAND_IN_CUDA = "0.0.0"
"""The version in the name of the stand-in for NVIDIA's image, so that it is never mistaken for one."""


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "runpod-actions-bridge" / "image"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # it would give its images the names of ours, and remove our containers
            pytest.exit(f"another image-check uses {folder}: wait for it, or set XDG_CACHE_HOME", returncode=1)
        store = Store(folder)
        yield store
        store.close()


@pytest.fixture(scope="session")
def release() -> Iterator[Release]:
    """The runner of the images: the release that RUNNER_TARBALL names, or the stand-in."""
    if given := os.environ.get("RUNNER_TARBALL"):
        yield official_release(Path(given))
        return
    with tempfile.TemporaryDirectory(prefix="image-check-") as folder:
        yield make_release(Path(folder))


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Print a line although pytest captures output."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def print_line(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{line}", flush=True)

    return print_line


@pytest.fixture(scope="session")
def cpu(store: Store, release: Release) -> Image:
    """The default image, where jobs may use sudo."""
    return store.build("worker-cpu", release, BUILD_TYPE="cpu")


@pytest.fixture(scope="session")
def strict(store: Store, release: Release, cpu: Image) -> Image:
    """The image without sudo."""
    return store.build("worker-cpu-strict", release, BUILD_TYPE="cpu", SUDO="off")


@pytest.fixture(scope="session")
def gpu(store: Store, release: Release) -> Image:
    return store.build("worker-gpu", release, BUILD_TYPE="gpu")


@pytest.fixture(scope="session")
def slim(store: Store, release: Release) -> Image:
    """A GPU image without compilers, on the Dockerfile's stage gpu-slim. The base of all others is a foreign image."""
    (base,) = re.findall(r"^FROM (\S+) AS gpu-slim$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    store.stand_in_for(f"docker.io/{base.replace('${CUDA_VERSION}', STAND_IN_CUDA)}")
    return store.build(
        "worker-gpu-slim",
        release,
        BUILD_TYPE="gpu",
        BASE_IMAGE="gpu-slim",
        CUDA_VERSION=STAND_IN_CUDA,
        TOOLCHAIN="off",
    )


@pytest.fixture(scope="session")
def bridge(store: Store) -> Image:
    """The bridge's own image."""
    return store.build_bridge()
