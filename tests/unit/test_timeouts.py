"""A test that hangs fails by name, and the tests after it run."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT

HANGING = """
import threading

from hypothesis import given, strategies


@given(strategies.integers())
def test_hangs(_number):
    threading.Event().wait()


def test_after_it():
    pass
"""


def test_a_test_that_hangs_is_named_and_ends_alone(tmp_path: Path) -> None:
    (tmp_path / "test_hanging.py").write_text(HANGING)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", ROOT / "pyproject.toml", "--rootdir", tmp_path,
         "--timeout", "1", tmp_path],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert re.search(r"^FAILED \S*test_hanging\.py::test_hangs", done.stdout, re.MULTILINE), done.stdout
    assert "TimedOut: Timeout" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
