"""A stand-in for the GitHub Actions runner, with its command line, output, exit codes and files.

It follows the source of https://github.com/actions/runner, version 2.336.0. `layout/` contains its shell scripts,
`program/` the Python programs behind them, which use only the standard library and are copied next to the scripts.
"""

import json
import shlex
import shutil
import sys
from pathlib import Path

from bridge.emulator.act import find_act

VERSION = "2.338.0"
"""The runner release that the stand-in imitates."""

_HERE = Path(__file__).parent

_MAIN = """\
import sys

from program import listener, worker

sys.exit({"listener": listener.main, "worker": worker.main}[sys.argv[1]](sys.argv[2:]))
"""

_LAUNCHER = """\
#!/bin/sh
exec {python} -I -B "$(dirname "$0")/standin" {program} "$@"
"""


def install(directory: Path, version: str = VERSION) -> None:
    """Install the stand-in.

    Args:
        directory: empty, or created if it does not exist.
        version: that `--version` prints and the server gets.

    Raises:
        FileNotFoundError: act is not installed.
    """
    standin = directory / "bin" / "standin"
    shutil.copytree(_HERE / "layout", directory, dirs_exist_ok=True)
    shutil.copytree(_HERE / "program", standin / "program", ignore=shutil.ignore_patterns("__pycache__"))
    (standin / "__main__.py").write_text(_MAIN)
    (standin / "install.json").write_text(json.dumps({"version": version, "act": str(find_act())}))
    for program in ("Listener", "Worker"):
        launcher = _LAUNCHER.format(python=shlex.quote(sys.executable), program=program.lower())
        (directory / "bin" / f"Runner.{program}").write_text(launcher)
    for script in (directory / "config.sh", *(directory / "bin").glob("Runner.*")):
        script.chmod(0o755)
