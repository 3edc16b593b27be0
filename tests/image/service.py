"""The bridge's image as a container runtime runs it: its user, no capabilities, a read-only root, one volume."""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.image.build import Image
from tests.support.background import until

MOUNTS = """
root=$1 volume=$2 state=$3
shift 3
if [ "$1" = alone ]; then ip link set lo up; fi
shift
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount --bind "$volume" "$root$state"
mount -o remount,ro,bind "$root"
exec chroot "$root" "$@"
"""


@dataclass(kw_only=True)
class Container:
    """Starts commands in one file system.

    Args:
        image: the bridge's.
        root: its file system, mounted.
        volume: the only folder that a command can write to.
        variables: added to the image's.
        network: that of the host, or `alone`: a new one, with nothing but loopback.
    """

    image: Image
    root: Path
    volume: Path
    variables: dict[str, str] = field(default_factory=dict)
    network: str = "host"

    @property
    def _environment(self) -> dict[str, str]:
        given = dict(line.split("=", 1) for line in self.image.config["Env"])
        return {**given, "PATH": f"{given['PATH']}:/usr/sbin:/sbin", **self.variables}  # with chroot and ip

    def _as_user(self, argv: Sequence[str]) -> list[str]:
        uid, gid = self.image.config["User"].split(":")
        limits = ["--clear-groups", "--no-new-privs", "--bounding-set", "-all", "--inh-caps", "-all"]
        enter = ["setpriv", "--reuid", uid, "--regid", gid, *limits]
        return [*enter, "env", "--chdir", self.image.config["WorkingDir"], *argv]

    def start(self, argv: Sequence[str]) -> "subprocess.Popen[str]":
        """Start a command as process 1 of new namespaces."""
        (state,) = self.image.config["Volumes"]
        namespaces = ["--pid", "--fork", "--kill-child", "--mount", "--ipc"]
        network = ["--net"] if self.network == "alone" else []
        entered = ["sh", "-euc", MOUNTS, "sh", str(self.root), str(self.volume), state, self.network]
        return subprocess.Popen(
            ["unshare", *namespaces, *network, *entered, *self._as_user(argv)],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the image's program with these arguments until it exits."""
        return self.execute([*self.image.config["Entrypoint"], *arguments])

    def execute(self, argv: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        """Run a command until it exits; stdout has stderr, too."""
        with self.start(argv) as process:
            output, _ = process.communicate(timeout=60)
        return subprocess.CompletedProcess(argv, process.returncode, output, "")

    @contextmanager
    def serving(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """Run the image's program until the block ends, then send TERM. It must exit with status 0."""
        with self.start([*self.image.config["Entrypoint"], *arguments]) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.kill(inner(process), signal.SIGTERM)
                output, _ = process.communicate(timeout=30)
        assert process.returncode == 0, output

    def check_health(self, process: "subprocess.Popen[str] | None" = None) -> int:
        """Run the image's HEALTHCHECK beside a process, as Docker does, or alone; returns its exit status."""
        kind, *argv = self.image.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        if process is None:
            return self.execute(argv).returncode
        beside = ["nsenter", "--target", str(inner(process)), "--net", "--", "chroot", str(self.root)]
        command = [*beside, *self._as_user(argv)]
        return subprocess.run(command, env=self._environment, check=False, capture_output=True).returncode


def inner(unshare: "subprocess.Popen[str]") -> int:
    """The process that `unshare` started, as the host numbers it."""
    children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
    until(children.read_text, seconds=10)
    return int(children.read_text())
