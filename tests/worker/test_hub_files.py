"""RunPod's Hub finds what it needs, and deploys what the image understands.

https://docs.runpod.io/hub/publishing-guide
"""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from runner_image.self_test import is_self_test
from tests.support import ROOT
from tests.support.runners import Installed

HUB: dict[str, Any] = json.loads((ROOT / ".runpod" / "hub.json").read_text())
TESTS: dict[str, Any] = json.loads((ROOT / ".runpod" / "tests.json").read_text())
README = (ROOT / ".runpod" / "README.md").read_text()
CATEGORIES = {"audio", "embedding", "language", "video", "image"}
VARIABLES = r"^\| `([A-Z_]+)`(?:, `([A-Z_]+)`)? \|"


def variables(text: str) -> set[str]:
    """The variables in the first column of a table."""
    return {name for pair in re.findall(VARIABLES, text, re.MULTILINE) for name in pair if name}


def documented() -> set[str]:
    page = (ROOT / "docs" / "image.md").read_text()
    return variables(page.partition("## Environment of the endpoint")[2].partition("\n## ")[0])


def keys() -> list[str]:
    return [variable["key"] for variable in HUB["config"]["env"]]


@pytest.mark.parametrize("name", ["Dockerfile", "handler.py", "README.md"])
def test_each_required_file_is_in_its_folder_or_in_the_root(name: str) -> None:
    assert [path for path in (ROOT / ".runpod" / name, ROOT / name) if path.is_file() and not path.is_symlink()]


def test_the_hub_builds_the_image_of_the_workflows() -> None:
    """A Dockerfile in the Hub's folder would be built instead of the one in the root."""
    assert not (ROOT / ".runpod" / "Dockerfile").exists()
    for name in ("ci", "docker-dev", "docker-release"):
        assert "file: Dockerfile\n" in (ROOT / ".github" / "workflows" / f"{name}.yml").read_text()


def test_the_listing_has_every_required_key() -> None:
    assert {"title", "description", "type", "category", "config"} <= set(HUB)
    assert (HUB["type"], HUB["config"]["runsOn"]) == ("serverless", "GPU")
    assert HUB["category"] in CATEGORIES
    assert HUB["config"]["containerDiskInGb"] >= 20, "as docs/image.md says"


def test_no_driver_is_older_than_the_images_cuda() -> None:
    found = re.search(r"^ARG CUDA_VERSION=(\d+)\.(\d+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found
    needed = (int(found[1]), int(found[2]))
    for config in (HUB["config"], TESTS["config"]):
        allowed = [tuple(map(int, version.split("."))) for version in config["allowedCudaVersions"]]
        assert min(allowed) == needed


def test_each_variable_is_documented_and_read() -> None:
    assert len(set(keys())) == len(keys())
    assert set(keys()) <= documented()
    code = "".join(path.read_text() for path in (ROOT / "runner_image").rglob("*.py"))
    assert [key for key in keys() if f'"{key}"' not in code] == []


def test_the_listing_offers_no_field_for_a_secret() -> None:
    """With sudo, which the image has by default, jobs could read it."""
    assert [key for key in keys() if re.search(r"KEY|PAT|TOKEN|SECRET", key)] == []


def test_the_readme_has_the_variables_of_the_documentation() -> None:
    assert len(documented()) > 10
    assert variables(README) == documented()


def test_the_hubs_test_is_one_that_the_handler_accepts() -> None:
    assert TESTS["tests"]
    for test in TESTS["tests"]:
        assert is_self_test(test["input"])
        assert test["timeout"] >= 60_000, "ms"


def test_the_hubs_test_passes(standin: Installed) -> None:
    (test,) = TESTS["tests"]
    done = subprocess.run(
        [sys.executable, ROOT / ".runpod" / "handler.py", "--test_input", json.dumps({"input": test["input"]})],
        cwd=standin.home,
        env=standin.environment | {"RUNNER_DIR": str(standin.root)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'outcome': 'self_test'" in done.stdout
