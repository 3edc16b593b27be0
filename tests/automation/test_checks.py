"""The checks are the same everywhere: in `make check`, in pre-commit's hooks and in CI."""

import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest
import yaml

import bridge
from tests.support import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
HOOKS: list[dict[str, Any]] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]


def prerequisites(target: str) -> set[str]:
    """The targets that a target of the Makefile needs."""
    found = re.search(rf"^{target}: (.*)$", MAKEFILE, re.MULTILINE)
    assert found, target
    return set(found[1].split())


def workflow(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())
    return loaded


def runs(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def test_pre_commit_runs_the_linters_of_make_check() -> None:
    linters = prerequisites("lint") | prerequisites("check") - {"lint", "test"}
    assert {hook["entry"] for hook in HOOKS} == {f"make {target}" for target in linters}


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: str(hook["id"]))
def test_each_hook_runs_for_files_of_this_repository(hook: dict[str, Any]) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    assert any(re.search(hook["files"], name) for name in listed.stdout.splitlines())


def test_ci_runs_the_linters_once_and_the_tests_on_each_supported_python() -> None:
    jobs = workflow("ci.yml")["jobs"]
    assert runs(jobs["lint"]) == ["make lint types contracts"]
    assert runs(jobs["test"])[-1] == "make test"
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    supported = [found[1] for each in classifiers if (found := re.fullmatch(r".* :: Python :: (3\.\d+)", each))]
    assert jobs["test"]["strategy"]["matrix"]["python"] == supported


def test_each_action_is_used_in_one_version_and_each_dockerfile_exists() -> None:
    versions: dict[str, set[str]] = {}
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for job in workflow(path.name)["jobs"].values():
            for step in job["steps"]:
                action, _, version = step.get("uses", "").partition("@")
                versions.setdefault(action, set()).add(version)
                assert (ROOT / step.get("with", {}).get("file", "Makefile")).is_file(), path.name
    assert len(versions) > 5
    assert {action: found for action, found in versions.items() if len(found) > 1} == {}


def test_the_nightly_run_fails_if_the_image_check_is_skipped() -> None:
    (line,) = [
        line for each in runs(workflow("nightly.yml")["jobs"]["image"]) for line in each.splitlines() if "grep" in line
    ]
    said = re.findall(r"grep '(.*?)'", line)[0]
    assert f'print(f"{said}: ' in (ROOT / "tests" / "image" / "__main__.py").read_text()


def test_only_the_job_that_publishes_gets_an_identity_token() -> None:
    jobs = workflow("release.yml")["jobs"]
    assert {name: list(job["permissions"]) for name, job in jobs.items()} == {
        "build": ["contents"],
        "publish": ["id-token"],
    }
    assert jobs["publish"]["environment"] == {"name": "pypi"}
    assert not runs(jobs["publish"]), "the job with the token runs no code of this repository"


def test_dependabots_file_matches_its_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.dependabot"]
    done = subprocess.run([*command, ROOT / ".github" / "dependabot.yml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_of_the_community_pages_lead_to_files(page: str) -> None:
    for target in re.findall(r"\]\(([^):#]+)\)", (ROOT / page).read_text()):
        assert (ROOT / target).exists(), f"{page}: {target}"


def test_the_places_that_contributing_names_exist() -> None:
    named = re.findall(r"`((?:bridge|tests|runner_image|docs)/[\w./]*)`", (ROOT / "CONTRIBUTING.md").read_text())
    assert named
    assert [place for place in named if not (ROOT / place).exists()] == []


def test_the_changelog_has_the_current_version() -> None:
    assert re.search(rf"^## {re.escape(bridge.__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
