"""Runs the checks that need the built image, or explains why this machine cannot build it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NEEDED = ("apt-get", "buildah", "debootstrap", "ip", "unshare")


def missing() -> str:
    """What this machine lacks, in one line; empty if nothing."""
    if os.geteuid() != 0:
        return "it needs root"
    absent = [program for program in NEEDED if shutil.which(program) is None]
    if absent:
        return f"it needs {', '.join(absent)}"
    # Fails in an unprivileged container, where root cannot mount.
    namespaces = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "true"], check=False)
    return "it needs permission to create namespaces" if namespaces.returncode else ""


def main() -> int:
    """Run the checks with pytest."""
    if lack := missing():
        print(f"image-check skipped: {lack} (apt-get install buildah debootstrap iproute2)")
        return 0
    here = Path(__file__).parent
    options = ["-o", "python_files=check_*.py", "-p", "no:cacheprovider", "-rA", "--tb=short"]
    return subprocess.run([sys.executable, "-m", "pytest", *options, str(here), *sys.argv[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
