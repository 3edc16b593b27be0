"""The runner of the emulated workers: a stand-in for the GitHub Actions runner, or a copy of an installed official one.

The stand-in has the official runner's command line, output, exit codes and files.

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


PROGRAMS = ("config.sh", "bin/Runner.Listener", "bin/Runner.Worker")
"""What every installed runner has."""


def check_installed(source: Path) -> None:
    """Check that a folder has an installed runner.

    Raises:
        FileNotFoundError: it has none.
    """
    lacking = next((program for program in PROGRAMS if not (source / program).is_file()), None)
    if lacking:
        raise FileNotFoundError(
            f"{source}: not the folder of a runner: it has no {lacking}; unpack a release of actions/runner there"
        )


def copy(source: Path, directory: Path) -> None:
    """Copy an installed runner, without what an earlier job or registration left in it.

    Args:
        source: the folder of an unpacked release of actions/runner.
        directory: does not exist yet.
    """
    left = shutil.ignore_patterns("_work", "_diag", ".env", ".path", ".runner*", ".credentials*", ".service")
    shutil.copytree(source, directory, symlinks=True, ignore=lambda at, names: _top(source, at, left(at, names)))


def _top(source: Path, at: str, ignored: set[str]) -> set[str]:
    """What is ignored in the top folder; deeper folders may have files of these names."""
    return ignored if Path(at) == source else set()


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
