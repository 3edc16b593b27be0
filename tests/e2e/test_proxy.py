"""The service behind Caddy with deploy/Caddyfile: what the public can reach, and what it cannot."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support import ROOT
from tests.support.background import until
from tests.support.emulators import emulators
from tests.support.service import RunningService, free_port, running_service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    with emulators(tmp_path) as made, running_service(made, BRIDGE_INTERVAL="3600") as service:
        yield service


@pytest.fixture
def proxy(service: RunningService, tmp_path: Path) -> Iterator[str]:
    """The proxy's URL. Without https://, Caddy wants no certificate."""
    caddy = shutil.which("caddy")
    if not caddy:
        pytest.skip("caddy is not installed")
    url = f"http://127.0.0.1:{free_port()}"
    settings = {
        "SITE": url,
        "UPSTREAM": urlsplit(service.url).netloc,
        "CADDY_ADMIN": f"127.0.0.1:{free_port()}",
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
    }
    command = [caddy, "run", "--adapter", "caddyfile", "--config", str(ROOT / "deploy" / "Caddyfile")]
    with (tmp_path / "caddy.log").open("w") as log, subprocess.Popen(command, env=settings, stderr=log) as process:
        try:
            until(lambda: _answers(url), seconds=30)
            yield url
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 404
    except httpx.TransportError:
        return False


def test_a_delivery_and_a_callback_come_through_and_nothing_else(service: RunningService, proxy: str) -> None:
    service.emulators.github.app.webhook_url = f"{proxy}/webhook"
    service.queue()
    until(lambda: service.emulators.runpod.state.requests, seconds=30)
    assert httpx.head(f"{proxy}/webhook").status_code == 405, "what docs/server.md says"
    assert httpx.post(f"{proxy}/webhook").status_code == 401, "without a signature"
    assert httpx.post(f"{proxy}/runpod/submission/signature").status_code == 401, "without our signature"
    for path in ("/metrics", "/readyz", "/healthz", "/", "/webhook/../metrics", "//metrics"):
        assert httpx.get(proxy + path).status_code == 404, path
