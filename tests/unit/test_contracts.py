"""The import contracts have no gaps: each forbidden import, added to a copy of the tree, makes `lint-imports` fail."""

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.support import ROOT

LEAKS = {
    "core imports the emulator": ("bridge/core/plan.py", "import bridge.emulator.jobs"),
    "core imports errors": ("bridge/core/plan.py", "import bridge.errors"),
    "core reads the clock": ("bridge/core/plan.py", "import time"),
    "core imports a library": ("bridge/core/plan.py", "import cachetools"),
    "core imports the exporter of traces": ("bridge/core/spans.py", "import opentelemetry.sdk.trace"),
    "the service imports the exporter of traces": ("bridge/service/job_traces.py", "import opentelemetry.sdk.trace"),
    "the service imports the client of the collector": (
        "bridge/service/sender.py",
        "import bridge.observability.traces",
    ),
    "the client of the collector imports another": ("bridge/observability/traces.py", "import bridge.github.api"),
    "the ledger imports the controller": ("bridge/ledger/rows.py", "import bridge.controller.apply"),
    "an adapter imports another": ("bridge/ledger/rows.py", "import bridge.github.parse"),
    "github imports the intake": ("bridge/github/parse.py", "import bridge.service.intake"),
    "github logs": ("bridge/github/parse.py", "import bridge.telemetry"),
    "the controller imports an adapter": ("bridge/controller/scan.py", "import bridge.github.api"),
    "the controller imports the service": ("bridge/controller/scan.py", "import bridge.service.metrics"),
    "the service imports an adapter": ("bridge/service/http.py", "import bridge.ledger"),
    "the service decides": ("bridge/service/loop.py", "import bridge.core.plan"),
    "the dashboard imports an adapter": ("bridge/dashboard/http.py", "import bridge.ledger"),
    "the dashboard imports the service": ("bridge/dashboard/http.py", "import bridge.service.http"),
    "the dashboard decides": ("bridge/dashboard/sight.py", "import bridge.core.plan"),
    "the ledger imports the dashboard": ("bridge/ledger/overview.py", "import bridge.dashboard.questions"),
    "the worker imports the service": ("runner_image/pace.py", "import bridge.service.metrics"),
    "the worker imports the decision": ("runner_image/pace.py", "import bridge.core.plan"),
    "the worker imports the configuration": ("runner_image/pace.py", "import bridge.config.settings"),
    "the emulator imports the bridge": ("bridge/emulator/jobs.py", "import bridge.core.worker"),
    "the emulator imports errors": ("bridge/emulator/jobs.py", "import bridge.errors"),
    "the configuration imports the emulator": ("bridge/config/types.py", "import bridge.emulator.jobs"),
    "the bridge imports the worker": ("bridge/core/naming.py", "import runner_image.pace"),
    "errors imports the decision": ("bridge/errors.py", "import bridge.core.plan"),
    "a second module uses the SDK": ("bridge/commands/report.py", "import runpod"),
    "a command is imported by what it puts together": ("bridge/service/loop.py", "import bridge.commands.report"),
    "a module belongs to no layer": ("bridge/helpers.py", "import enum"),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code and its contracts."""
    copy = tmp_path_factory.mktemp("tree")
    for package in ("bridge", "runner_image"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def lint_imports(tree: Path) -> "subprocess.CompletedProcess[str]":
    """The tool as `make contracts` runs it; its cache makes all runs but the first fast."""
    program = Path(sysconfig.get_path("scripts")) / "lint-imports"
    return subprocess.run([program, "--no-logo"], cwd=tree, capture_output=True, text=True, check=False)


def test_the_tree_keeps_every_contract(tree: Path) -> None:
    ran = lint_imports(tree)
    assert ran.returncode == 0, ran.stdout
    assert " 0 broken" in ran.stdout


@pytest.mark.parametrize(("module", "line"), LEAKS.values(), ids=LEAKS)
def test_a_forbidden_import_breaks_a_contract(tree: Path, module: str, line: str) -> None:
    changed = tree / module
    before = changed.read_text() if changed.exists() else None
    changed.write_text(f"{line}\n{before or ''}")
    try:
        ran = lint_imports(tree)
    finally:
        changed.unlink() if before is None else changed.write_text(before)
    assert ran.returncode == 1, ran.stdout
    assert "BROKEN" in ran.stdout
