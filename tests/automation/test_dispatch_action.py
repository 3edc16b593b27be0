"""The composite action runs a pass of this bridge, even if the workspace has modules of the same names."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from bridge.config.environment import Environment
from tests.support import ROOT

ACTION = ".github/actions/dispatch"


def one_pass(tmp_path: Path, *, python: str, dry_run: str) -> subprocess.CompletedProcess[str]:
    """Run the action's last step as a hosted runner does, in a workspace with modules that must not be imported."""
    home, workspace = tmp_path / "home", tmp_path / "workspace"
    (home / ACTION).mkdir(parents=True)
    (home / "bridge").symlink_to(ROOT / "bridge")
    (home / ".venv" / "bin").mkdir(parents=True)
    (home / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\n{python} "$@"\n')
    (home / ".venv" / "bin" / "python").chmod(0o755)
    workspace.mkdir()
    for name in ("bridge.py", "typer.py", "sitecustomize.py"):
        (workspace / name).write_text("print('the workspace was imported')\n")
    step = yaml.safe_load((ROOT / ACTION / "action.yml").read_text())["runs"]["steps"][-1]
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=workspace,
        env={"PATH": os.environ["PATH"], "GITHUB_ACTION_PATH": str(home / ACTION), "DRY_RUN": dry_run},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_runs_the_bridge_and_nothing_from_the_workspace(tmp_path: Path) -> None:
    ran = one_pass(tmp_path, python=f"exec {sys.executable}", dry_run="false")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "bridge: GITHUB_ORG: missing; set it, or GITHUB_REPOSITORIES=owner/name,...\n"


def test_only_true_is_a_dry_run_and_other_words_are_not_commands(tmp_path: Path) -> None:
    said = {
        word: one_pass(tmp_path / str(index), python="echo", dry_run=word).stdout
        for index, word in enumerate(("true", "false", "", "$(id); --watch 1"))
    }
    plain = "-P -m bridge.dispatch\n"
    assert said == {"true": "-P -m bridge.dispatch --dry-run\n", "false": plain, "": plain, "$(id); --watch 1": plain}


def test_the_scheduled_workflow_passes_existing_settings_from_documented_names() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "dispatch.yml").read_text())
    passed = workflow["jobs"]["dispatch"]["steps"][-1]["env"]
    assert {name.lower() for name in passed} <= set(Environment.model_fields)
    documented = (ROOT / "docs" / "workflows.md").read_text()
    for source in passed.values():
        kind, name = source.removeprefix("${{ ").removesuffix(" }}").split(".")
        assert kind in ("secrets", "vars")
        assert not name.startswith("GITHUB_"), f"GitHub refuses {name}"
        assert f"`{name}`" in documented
