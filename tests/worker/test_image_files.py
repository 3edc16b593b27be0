"""The image's files are consistent with each other and with the code."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
PACKAGES = {"jwt": "PyJWT", "pynvml": "nvidia-ml-py"}
"""Modules whose package has another name."""

STANDINS = ("bridge/emulator/", "tests/")
"""They imitate a runner release, which may differ from the image's."""


def default(name: str) -> str:
    found = re.search(rf"^ARG {name}=(.+)$", DOCKERFILE, re.MULTILINE)
    assert found, name
    return found[1]


@cache
def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return listed.stdout.splitlines()


@pytest.mark.parametrize("name", ["RUNNER_VERSION", "RUNNER_SHA256", "CUDA_VERSION"])
def test_each_version_is_named_once_in_the_dockerfile_and_nowhere_else(name: str) -> None:
    version = default(name)
    assert DOCKERFILE.count(version) == 1
    others = [
        path
        for path in tracked()
        if not path.startswith(STANDINS) and not path.endswith(".lock") and path != "Dockerfile"
    ]
    assert [path for path in others if version in (ROOT / path).read_text(errors="replace")] == []


def imported(files: list[Path]) -> Iterator[str]:
    """The full names of the modules that files import."""
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom):
                yield from [node.module or "", *(f"{node.module}.{name.name}" for name in node.names)]
            elif isinstance(node, ast.Import):
                yield from (name.name for name in node.names)


def copied() -> list[Path]:
    """The Python files that the Dockerfile copies."""
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+) /opt/worker/\S+$", DOCKERFILE, re.MULTILINE)
        for source in line.split()
    ]
    paths = [ROOT / source for source in sources]
    return [file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path])]


def test_the_image_contains_every_module_that_the_worker_imports() -> None:
    held = {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in copied()}
    assert {"runner_image.handler", "bridge.github.api"} <= held
    ours = {name for name in imported(copied()) if name.startswith(("bridge.", "runner_image."))}
    modules = {name for name in ours if (ROOT / name.replace(".", "/")).with_suffix(".py").exists()}
    assert modules - held == set()


def test_the_images_requirements_are_the_packages_that_the_worker_imports() -> None:
    lines = (ROOT / "runner_image" / "requirements.in").read_text().splitlines()
    wanted = {line for line in lines if not line.startswith("#")}
    top = {name.partition(".")[0] for name in imported(copied())}
    others = top - set(sys.stdlib_module_names) - {"bridge", "runner_image", ""}
    assert {PACKAGES.get(name, name) for name in others} == wanted


def test_the_image_and_the_project_use_the_same_versions() -> None:
    def pins(path: str) -> set[str]:
        return set(re.findall(r"^[\w.-]+(?:\[[\w,]+\])?==\S+", (ROOT / path).read_text(), re.MULTILINE))

    assert pins("runner_image/requirements.lock") - pins("requirements.lock") == set()


def test_the_build_context_contains_what_the_dockerfile_copies_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[0] == "*", "everything is excluded except what follows"
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    sources = re.findall(r"^COPY (?!--from)(.+) /\S+$", DOCKERFILE, re.MULTILINE)
    assert {source for line in sources for source in line.split()} - sent == {"runner_image/requirements.lock"}


def test_every_argument_and_variable_is_documented() -> None:
    documented = set(re.findall(r"`([A-Z_0-9]+)`", (ROOT / "docs" / "image.md").read_text()))
    arguments = set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))
    source = "".join(file.read_text() for file in (ROOT / "runner_image").glob("*.py"))
    variables = set(re.findall(r"environ(?:ment)?\.(?:get|setdefault)\(\"(\w+)\"", source))
    assert {"RUNNER_SHA256", "RUNNER_DIAG_DIR"} < arguments | variables
    assert (arguments | variables) - documented == set()
