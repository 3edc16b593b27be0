"""The service as a process of its own. The emulated GitHub sends its webhooks to it."""

import contextlib
import json
import random
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import httpx

from bridge.emulator.github.state import Job
from tests.support.background import until
from tests.support.emulators import Emulators
from tests.support.github import a_run, a_spec

SECRET = "it's a webhook secret"
CALLBACK_KEY = "a key that all copies share"


def free_port() -> int:
    """A free port below the range from which the kernel assigns ports itself, so that nothing takes it meanwhile."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_768)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@dataclass(kw_only=True)
class RunningService:
    """A running service.

    Args:
        emulators: the services that it calls.
        url: where it listens.
        process: its process.
    """

    emulators: Emulators
    url: str
    process: "subprocess.Popen[str]"

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=20)

    def ready(self) -> dict[str, Any]:
        """The status code of /readyz as `status`, with the checks of its answer."""
        return {"status": (answer := self.get("/readyz")).status_code, **answer.json()["checks"]}

    def metric(self, line: str) -> float:
        """The value of a metric; `line` is its name with its labels as on the page. 0 if it is not there."""
        page = self.get("/metrics").text
        return next((float(each.rpartition(" ")[2]) for each in page.splitlines() if each.startswith(f"{line} ")), 0.0)

    def queue(self, *labels: str) -> Job:
        """Queue a job, as a push does."""
        spec = a_spec("build", **({"labels": labels} if labels else {}))
        return self.emulators.github.state.add_run("acme/web", a_run(spec)).jobs["build"]

    def stop(self, number: signal.Signals = signal.SIGTERM) -> str:
        """Stop the service with a signal; returns its log."""
        self.process.send_signal(number)
        _, log = self.process.communicate(timeout=60)
        return log


@contextmanager
def running_service(
    emulators: Emulators, *, port: int | None = None, log: int | IO[str] = subprocess.PIPE, **variables: str
) -> Iterator[RunningService]:
    """Run the service until the block ends, with webhooks and callbacks on."""
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    emulators.github.app.webhook_url = f"{url}/webhook"
    emulators.github.app.webhook_secret = SECRET
    emulators.variables |= {
        "GITHUB_WEBHOOK_SECRET": SECRET,
        "BRIDGE_PUBLIC_URL": url,
        "BRIDGE_CALLBACK_KEY": CALLBACK_KEY,
        **variables,
    }
    process = emulators.start("--serve", f"127.0.0.1:{port}", log=log)
    served = RunningService(emulators=emulators, url=url, process=process)
    try:
        until(lambda: process.poll() is not None or _answers(url))
        assert process.poll() is None, process.communicate()[1]
        yield served
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _answers(url: str) -> bool:
    try:
        return json.loads(httpx.get(f"{url}/readyz").content)["status"] == "ok"
    except httpx.HTTPError:
        return False
