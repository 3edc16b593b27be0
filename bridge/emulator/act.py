"""Where act is: it runs the stand-in's jobs and evaluates workflow expressions. https://nektosact.com"""

import shutil
import sysconfig
from pathlib import Path


def find_act() -> Path:
    """The `act` of this environment, else the one on PATH.

    Raises:
        FileNotFoundError: there is none; the extra `demo` installs it.
    """
    installed = shutil.which("act", path=sysconfig.get_path("scripts")) or shutil.which("act")
    if installed is None:
        raise FileNotFoundError("act is not installed: pip install 'runpod-actions-bridge[demo]'")
    return Path(installed).absolute()
