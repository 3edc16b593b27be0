"""`bridge` and its commands, before one of them does anything."""

import re
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

import bridge
from bridge.commands.app import app
from bridge.dispatch import app as dispatch_app
from tests.support import ROOT

COMMANDS = (
    *("budget", "cost", "demo", "dispatch", "doctor", "emulate", "endpoints", "explain", "jobs", "retry", "setup"),
    "submissions",
)
HEAVY = ("httpx", "pydantic", "runpod", "sqlalchemy", "starlette", "structlog", "uvicorn")


def text_of(*arguments: str, of: typer.Typer = app) -> str:
    done = CliRunner().invoke(of, arguments, env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == 0, done.output
    return done.output


def test_help_lists_every_command() -> None:
    assert sorted(re.findall(r"^│ ([a-z]+) ", text_of("--help"), re.MULTILINE)) == sorted(COMMANDS)


def test_each_command_has_a_module_or_package_of_its_own() -> None:
    modules = {path.stem for path in (ROOT / "bridge" / "commands").iterdir()}
    assert set(COMMANDS) <= modules


@pytest.mark.parametrize("arguments", [["--version"], ["dispatch", "--version"]])
def test_the_version_is_the_packages(arguments: list[str]) -> None:
    assert text_of(*arguments) == f"runpod-actions-bridge {bridge.__version__}\n"


def test_bridge_dispatch_is_the_same_as_the_module() -> None:
    def options(text: str) -> list[str]:
        return text.splitlines()[2:]  # without the usage line, which names the program

    assert options(text_of("dispatch", "--help")) == options(text_of("--help", of=dispatch_app))


@pytest.mark.parametrize("module", ["bridge", "bridge.dispatch"])
@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_and_version_load_no_heavy_library(module: str, arguments: list[str]) -> None:
    assert loaded_by(module, arguments) == []


def test_help_of_a_command_loads_no_heavy_library() -> None:
    assert set(loaded_by("bridge", ["setup", "--help"])) <= {"pydantic"}  # typer's own import


def loaded_by(module: str, arguments: list[str]) -> list[str]:
    """The heavy libraries that are loaded when a program ends."""
    code = f"""
import runpy, sys
sys.argv = ["bridge", *{arguments!r}]
try:
    runpy.run_module({module!r}, run_name="__main__")
except SystemExit:
    print("loaded:", *sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()[1:]
