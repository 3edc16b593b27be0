"""Under attack the service answers valid deliveries within a second, uses bounded memory and never answers 5xx."""

import json
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.effort import FULL, SEED
from tests.support.emulators import emulators
from tests.support.github import a_run
from tests.support.service import SECRET, RunningService, running_service

SLOWEST = 1.0
"""s within which each valid delivery is answered."""

MEMORY = 300
"""The most memory that the service may use, in MB."""

MUTATIONS = 50_000 if FULL else 4_000
ANY = {"0", "202", "400", "401", "404", "405", "408", "431"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    home = tmp_path_factory.mktemp("home")
    with (
        emulators(home) as made,
        Path(home, "log").open("w") as log,
        running_service(made, log=log, BRIDGE_INTERVAL="3600") as it,
    ):
        yield it


@pytest.fixture(scope="module")
def payload(service: RunningService) -> str:
    """The payload of a delivery about a completed job, which gives the bridge nothing to do."""
    state = service.emulators.github.state
    service.emulators.github.app.webhook_url = None
    job = state.add_run("acme/web", a_run()).jobs["build"]
    state.cancel_job(job)
    return json.dumps(service.emulators.github.webhooks.payloads.workflow_job("completed", job))


def attacked(service: RunningService, payload: str, attack: str, **given: Any) -> dict[str, Any]:
    """The answers to an attack and to valid deliveries during it; repeated once if the latter were slow."""
    found = _attacked(service, payload, attack, **given)
    return found if found["valid"]["slowest"] < SLOWEST else _attacked(service, payload, attack, **given)


def _attacked(service: RunningService, payload: str, attack: str, **given: Any) -> dict[str, Any]:
    common = {"url": service.url, "secret": SECRET, "payload": payload}
    with started(common | {"attack": "valid"}) as valid:
        with started(common | {"attack": attack, **given}) as attacker:
            answers = ended(attacker)["answers"]
        found = {"answers": answers, "valid": ended(valid), "peak_mb": peak_mb(service)}
    print(attack, found)
    return found


@contextmanager
def started(specification: dict[str, Any]) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.hostile_clients"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin
    try:
        process.stdin.write(json.dumps(specification) + "\n")
        process.stdin.flush()
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Close its stdin; returns what it prints."""
    printed, _ = process.communicate(timeout=900)
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(printed)
    return found


def peak_mb(service: RunningService) -> float:
    """The most memory that the service has used, in MB."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    (peak_kb,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(peak_kb) / 1024


def assert_unharmed(service: RunningService, found: dict[str, Any]) -> None:
    assert set(found["valid"]["answers"]) == {"202"}
    assert found["valid"]["slowest"] < SLOWEST
    assert not [status for status in found["answers"] if status.startswith("5")]
    assert found["peak_mb"] < MEMORY
    assert service.process.poll() is None


@pytest.mark.parametrize(
    ("attack", "given", "status"),
    [
        ("endless_header", {"times": 8, "seconds": 2}, {"431", "0"}),
        ("endless_url", {"times": 8, "seconds": 2}, {"431", "0"}),
        ("endless_trailer", {"times": 8, "seconds": 2}, {"431", "0"}),
        ("endless_chunks", {"times": 8}, {"413", "429", "0"}),
        ("unfinished_bodies", {"times": 40}, {"408", "429", "0"}),
        ("pipelined", {"times": 50}, {"429", "200", "0"}),
        ("mutations", {"times": MUTATIONS, "seed": int(SEED or 1)}, ANY),
    ],
)
def test_valid_deliveries_are_answered_during_an_attack(
    service: RunningService, payload: str, attack: str, given: dict[str, Any], status: set[str]
) -> None:
    found = attacked(service, payload, attack, **given)
    assert_unharmed(service, found)
    assert set(found["answers"]) <= status


def test_idle_connections_are_closed_and_running_out_of_files_is_logged(service: RunningService, payload: str) -> None:
    """Even where they use up the 1,024 open files that systemd allows a service by default."""
    pid = service.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    assert soft == min(hard, 65_536), "the service raises its limit as far as the system allows"
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (1024, 1024))
    found = attacked(service, payload, "idle_connections", times=1500, seconds=13)
    assert_unharmed(service, found)
    assert set(found["answers"]) == {"0"}
    log = Path(service.emulators.home, "log").read_text()
    assert log.count('"event": "connections at their limit"') == 1
