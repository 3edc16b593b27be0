"""Everything that needs the built image; says so and does nothing where it cannot be built."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

NEEDED = ("apt-get", "buildah", "debootstrap", "unshare")


def missing() -> str:
    """What this machine lacks, in one line; empty when it has all."""
    if os.geteuid() != 0:
        return "it needs root"
    absent = [program for program in NEEDED if shutil.which(program) is None]
    if absent:
        return f"it needs {', '.join(absent)}"
    # As in a container without privileges, where root may not mount.
    apart = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "true"], check=False)
    return "it needs leave to make namespaces" if apart.returncode else ""


def main() -> int:
    """Run the checks with pytest."""
    if lack := missing():
        print(f"image-check does nothing here: {lack} (apt-get install buildah debootstrap)")
        return 0
    here = Path(__file__).parent
    options = ["-o", "python_files=check_*.py", "-p", "no:cacheprovider", "-rA", "--tb=short"]
    return subprocess.run([sys.executable, "-m", "pytest", *options, str(here), *sys.argv[1:]], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
