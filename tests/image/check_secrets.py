"""What a hostile job can find in a container, and when a worker refuses to run jobs."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from tests.image.build import Image, Store
from tests.image.container import RUNNER_UID, Endpoint, running_endpoint
from tests.support.background import until

PLANTED = {"RUNPOD_SECRET_token": "PLANTED-in-the-endpoint", "HF_TOKEN": "PLANTED-for-somebody-else"}
HOSTILE = base64.b64encode(Path(__file__).with_name("hostile.py").read_bytes()).decode()


def attacked(endpoint: Endpoint, prefix: str = "") -> tuple[dict[str, Any], str, list[psutil.Process]]:
    """What a hostile job found, the worker's key, and the worker's processes during the job."""
    ports = [str(urlsplit(url).port) for url in (endpoint.emulators.runpod.url, endpoint.emulators.github.url)]
    attack = f"echo {HOSTILE} | base64 --decode > h.py; {prefix}python3 h.py {' '.join(ports)} > found.json"
    job = endpoint.queue(f"{attack}; while [ ! -e /tmp/seen ]; do sleep 0.1; done; cat found.json")
    request = endpoint.submit("r-1")
    endpoint.running(job)
    workers = [process for process in endpoint.processes() if process.uids().real == 0]
    key = next(process.environ()["RUNPOD_AI_API_KEY"] for process in workers)
    listening = [c for process in workers for c in process.net_connections("all") if c.status == "LISTEN"]
    assert listening == [], "the worker must not listen"
    (endpoint.root / "tmp" / "seen").touch()
    assert endpoint.ended(request).status == "COMPLETED", endpoint.log
    (line,) = [line for line in job.log.splitlines() if line.startswith('{"environment"')]
    return json.loads(line), key, workers


def test_without_sudo_a_hostile_job_finds_only_its_own_secrets(store: Store, strict: Image, tmp_path: Path) -> None:
    key = {"GITHUB_APP_PRIVATE_KEY": "PLANTED-key-of-the-app", "GITHUB_PAT": "PLANTED-pat"}
    with running_endpoint(store, strict, tmp_path, **PLANTED, **key) as endpoint:
        found, worker_key, workers = attacked(endpoint)
    processes = found["processes"]
    others = [process for process in processes.values() if process["uid"] != RUNNER_UID]
    assert len(others) == len(workers) >= 3, "init, the handler and the SDK's ping process"
    for process in others:
        assert set(process) <= {"uid", "traced", "cmdline"}
        assert not process["traced"]
    assert any("ACTIONS_RUNNER_INPUT_JITCONFIG" in p.get("environ", "") for p in processes.values()), "its own"
    assert found["closed"], "there are files that it cannot read"
    assert [path for path in found["files"] if "found" not in path and "h.py" not in path] == []
    assert "unauthorized" in found["answers"][0]
    for secret in (worker_key, *PLANTED.values(), *key.values()):
        assert secret not in json.dumps(found)


def test_with_sudo_a_job_reads_the_workers_environment_as_documented(store: Store, cpu: Image, tmp_path: Path) -> None:
    with running_endpoint(store, cpu, tmp_path, **PLANTED) as endpoint:
        found, worker_key, _ = attacked(endpoint, prefix="sudo ")
    assert worker_key in json.dumps(found)


def test_with_sudo_a_worker_with_a_github_key_runs_no_job(store: Store, cpu: Image, tmp_path: Path) -> None:
    with running_endpoint(store, cpu, tmp_path, GITHUB_PAT="ghp_planted") as endpoint:
        request = endpoint.ended(endpoint.submit("r-1"))
    assert request.error is not None
    assert request.error.startswith("configuration_failed: GITHUB_PAT: any job could read it")


def test_a_runner_may_be_root_on_request(store: Store, cpu: Image, tmp_path: Path) -> None:
    with running_endpoint(store, cpu, tmp_path, RUNNER_ALLOW_RUNASROOT="1") as endpoint:
        job = endpoint.queue("echo I am $(id -un)")
        assert endpoint.ended(endpoint.submit("r-1")).output["result"] == "Succeeded", job.log
    assert "I am root" in job.log.splitlines()


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({"RUNNER_VERSION": "9.9.9"}, "the image needs runner version 9.9.9, but `--version` printed: "),
        ({"RUNNER_MIN_DISK_GB": "1000000"}, "GB of disk space are free, but a job needs 1000000.0 GB"),
        ({"RUNNER_BUILD_TYPE": "gpu", "RUNPOD_SKIP_GPU_CHECK": ""}, "on a machine without a GPU, use the cpu image"),
    ],
)
def test_an_unfit_worker_logs_the_reason_and_takes_no_request(
    store: Store, cpu: Image, tmp_path: Path, variables: dict[str, str], why: str
) -> None:
    with running_endpoint(store, cpu, tmp_path, **variables) as endpoint:
        request = endpoint.submit("r-1")
        until(lambda: why in endpoint.log)
        assert request.workers == []
