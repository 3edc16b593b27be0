"""Starts a container on a mounted file system, like a container runtime. A program with only the standard library.

Usage: enter.py ROOT CONFIG, where CONFIG is a JSON file with `argv` and `environment`. Its own environment, without
the host's variables, is the endpoint's. The container's program is process 1 in its own namespaces, and gets TERM.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

HOSTS = frozenset({"PATH", "HOME", "TMPDIR", "LANG", "PWD"})

MOUNTS = """
root=$1
shift
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
exec chroot "$root" "$@"
"""


def main(root: str, config: str) -> int:
    """Run the container until it exits; returns its exit code."""
    spec = json.loads(Path(config).read_text())
    endpoints = {name: value for name, value in os.environ.items() if name not in HOSTS}
    container = subprocess.Popen(
        [
            "unshare",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount",
            "--ipc",
            "sh",
            "-euc",
            MOUNTS,
            "sh",
            root,
            *spec["argv"],
        ],
        env={**spec["environment"], "HOME": "/root", **endpoints},
    )
    signal.signal(signal.SIGTERM, lambda *_: _terminate(container.pid))
    code = container.wait()
    return 128 - code if code < 0 else code


def _terminate(unshare: int) -> None:
    for child in Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split():
        os.kill(int(child), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
