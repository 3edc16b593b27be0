"""Builds the image with buildah, a stand-in for the base image, and a stand-in for the runner release."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bridge.emulator import runner
from bridge.emulator.act import find_act
from tests.support import ROOT

RUNNER_FOLDER = Path("/actions-runner")
HANDED_IN = Path("/run/image-check")
"""A directory with files for the build. It is mounted only during the build, so it is not in the image."""

INSTALL_DEPENDENCIES = """\
#!/bin/bash
set -e
apt-get update
apt-get install --yes --no-install-recommends libicu-dev
"""


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release of the runner, or the stand-in packed like one: a tarball and its SHA-256."""

    tarball: Path
    sha256: str
    version: str = runner.VERSION
    is_official: bool = False


@dataclass(frozen=True, kw_only=True)
class Image:
    """A built image.

    Args:
        reference: its name in the store.
        config: its configuration, as Docker writes it.
        size: bytes, unpacked.
    """

    reference: str
    config: dict[str, Any]
    size: int


def make_release(folder: Path) -> Release:
    """Pack the stand-in like a runner release, reproducibly."""
    tree = folder / "tree"
    tree.mkdir()
    runner.install(tree)
    shutil.copy(find_act(), tree / "bin" / "act")
    installed = {"version": runner.VERSION, "act": str(RUNNER_FOLDER / "bin" / "act")}
    (tree / "bin" / "standin" / "install.json").write_text(json.dumps(installed))
    for launcher in (tree / "bin").glob("Runner.*"):
        launcher.write_text(launcher.read_text().replace(sys.executable, "/usr/bin/python3"))
    dependencies = tree / "bin" / "installdependencies.sh"
    dependencies.write_text(INSTALL_DEPENDENCIES)
    dependencies.chmod(0o755)
    tarball = folder / "runner.tar.gz"
    packed = ["tar", "--sort=name", "--mtime=@0", "--owner=1001", "--group=127", "--numeric-owner", "-C", str(tree)]
    with tarball.open("wb") as file, subprocess.Popen([*packed, "-c", "."], stdout=subprocess.PIPE) as tar:
        subprocess.run(["gzip", "-1n"], stdin=tar.stdout, stdout=file, check=True)
    shutil.rmtree(tree)
    return Release(tarball=tarball, sha256=hashlib.sha256(tarball.read_bytes()).hexdigest())


def official_release(tarball: Path) -> Release:
    """A release of actions/runner, as it was downloaded: actions-runner-linux-x64-VERSION.tar.gz."""
    named = re.fullmatch(r"actions-runner-linux-x64-([0-9.]+)\.tar\.gz", tarball.name)
    assert named, f"RUNNER_TARBALL: {tarball.name}: keep the name that the release has"
    sha256 = hashlib.sha256(tarball.read_bytes()).hexdigest()
    return Release(tarball=tarball.resolve(), sha256=sha256, version=named[1], is_official=True)


class Store:
    """buildah's images and containers in their own folder.

    Args:
        folder: kept between runs, so that unchanged layers are not built again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def _driver(self) -> str:
        """The storage driver: overlay if the kernel and the folder allow it, because vfs copies every layer."""
        probe = self._command("overlay", ["info"])
        return "vfs" if subprocess.run(probe, capture_output=True, check=False).returncode else "overlay"

    def _command(self, driver: str, arguments: Sequence[str]) -> list[str]:
        where = ["--root", str(self._folder / "storage"), "--runroot", str(self._folder / "run")]
        return ["buildah", *where, "--storage-driver", driver, *arguments]

    def run(self, *arguments: str) -> str:
        """Run a buildah command; returns its output."""
        done = subprocess.run(self._command(self._driver, arguments), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"buildah {arguments[0]}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout.strip()

    @contextmanager
    def container(self, reference: str) -> Iterator[Path]:
        """The file system of a new container, mounted until the block ends."""
        name = self.run("from", "--pull-never", reference)
        try:
            yield Path(self.run("mount", name))
        finally:
            self.run("rm", name)

    def close(self) -> None:
        """Remove all containers and mounts, but no images."""
        self.run("rm", "--all")
        subprocess.run(["umount", self._folder / "storage" / self._driver], capture_output=True, check=False)

    def base(self) -> str:
        """The stand-in for the base image: this machine's distribution, created once."""
        reference = f"localhost/base-{_codename()}"
        if not self.run("images", "--quiet", "--filter", f"reference={reference}"):
            name = self.run("from", "scratch")
            _bootstrap(Path(self.run("mount", name)))
            self.run("commit", "--rm", name, reference)
        return reference

    def stand_in_for(self, reference: str) -> None:
        """Give the stand-in for the base image another name, too: of an image that the Dockerfile names."""
        self.run("tag", self.base(), reference)

    def build(self, name: str, release: Release, context: Path = ROOT, **arguments: str) -> Image:
        """Build the Dockerfile in `context` with these build arguments."""
        given = {
            "BASE_IMAGE": self.base(),
            "RUNNER_VERSION": release.version,
            "RUNNER_URL": f"file://{HANDED_IN}/runner.tar.gz",
            "RUNNER_SHA256": release.sha256,
            **arguments,
        }
        return self._bud(name, context, "Dockerfile", given, release)

    def build_bridge(self) -> Image:
        """Build the bridge's own image."""
        dockerfile = "deploy/Dockerfile"
        ignored = ("--ignorefile", str(ROOT / f"{dockerfile}.dockerignore"))
        return self._bud("bridge", ROOT, dockerfile, {"BASE_IMAGE": self.base()}, None, *ignored)

    def _bud(
        self, name: str, context: Path, dockerfile: str, given: Mapping[str, str], release: Release | None, *more: str
    ) -> Image:
        flags = [part for item in given.items() for part in ("--build-arg", "=".join(item))]
        reference = f"localhost/{name}"
        with tempfile.TemporaryDirectory() as folder:
            volumes = _handed_in(Path(folder), release)
            # The format docker, because OCI's has no HEALTHCHECK.
            self.run(
                *("bud", "--isolation", "chroot", "--pull-never", "--force-rm", "--format", "docker"),
                *(["--layers"] if self._driver == "overlay" else []),
                *("--tag", reference, "--file", str(context / dockerfile), *more, *flags, *volumes, str(context)),
            )
        return self.image(reference)

    def image(self, reference: str) -> Image:
        """Inspect an image of this store."""
        inspected = json.loads(self.run("inspect", "--type", "image", reference))
        with self.container(reference) as root:
            size = int(subprocess.run(["du", "-sxB1", root], capture_output=True, check=True).stdout.split()[0])
        return Image(reference=reference, config=inspected["Docker"]["config"], size=size)


def _codename() -> str:
    lines = Path("/etc/os-release").read_text().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith("VERSION_CODENAME="))


def _bootstrap(root: Path) -> None:
    """Fill `root` with this machine's distribution, and apt's settings."""
    wanted = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"]
    targets = subprocess.run(wanted, capture_output=True, text=True, check=True).stdout.splitlines()
    mirror = next(uri for uri, release in (line.split() for line in targets) if release == _codename())
    subprocess.run(
        ["debootstrap", "--variant=minbase", _codename(), str(root), mirror], capture_output=True, check=True
    )
    sources = Path("/etc/apt/sources.list.d")
    (root / "etc/apt/sources.list").write_text("")
    for source in (Path("/etc/apt/sources.list"), *sources.glob("*.list"), *sources.glob("*.sources")):
        if source.exists():
            shutil.copy(source, root / source.relative_to("/"))
    acquire = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=True).stdout
    # Like the real base images, keep no downloaded packages.
    keep_none = 'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };\n'
    (root / "etc/apt/apt.conf.d/99host").write_text(acquire + keep_none)
    shutil.rmtree(root / "var/cache/apt/archives")
    shutil.rmtree(root / "var/lib/apt/lists")


def _handed_in(folder: Path, release: Release | None) -> list[str]:
    """Build volumes with the release, if there is one, and with this machine's pip settings."""
    if release:
        shutil.copy(release.tarball, folder / "runner.tar.gz")
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    settings = dict(re.findall(r"^[a-z:]+\.([a-z-]+)='(.*)'$", listed.stdout, re.MULTILINE))
    lines = ["[global]", *(f"{key} = {settings[key]}" for key in ("index-url", "proxy") if key in settings)]
    if "cert" in settings:
        shutil.copy(settings["cert"], folder / "ca.crt")
        lines.append(f"cert = {HANDED_IN}/ca.crt")
    (folder / "pip.conf").write_text("\n".join(lines) + "\n")
    return ["--volume", f"{folder}:{HANDED_IN}:ro", "--volume", f"{folder}/pip.conf:/etc/pip.conf:ro"]
