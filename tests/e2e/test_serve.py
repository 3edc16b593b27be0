"""`python -m bridge.dispatch --serve` as a process: webhooks, callbacks, read pages, outages and signals."""

import hashlib
import hmac
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from bridge.core.callback import path as callback_path
from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.github.state import Job
from tests.support import ROOT
from tests.support.background import until
from tests.support.emulators import emulators, real_workers
from tests.support.github import a_run
from tests.support.runners import a_job_of_steps
from tests.support.service import CALLBACK_KEY, SECRET, RunningService, running_service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    with emulators(tmp_path) as made, running_service(made) as service:
        yield service


def payload(service: RunningService, job: Job) -> bytes:
    return json.dumps(service.emulators.github.webhooks.payloads.workflow_job("queued", job)).encode()


def post(
    service: RunningService, body: bytes, *, secret: str = SECRET, event: str = "workflow_job", **headers: str
) -> httpx.Response:
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    common = {
        "X-GitHub-Event": "workflow_job",
        "X-GitHub-Delivery": "guid-1",
        "X-Hub-Signature-256": f"sha256={signature}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return httpx.post(f"{service.url}/webhook", content=body, headers=common, timeout=30)


def submitted(service: RunningService) -> int:
    return len(service.emulators.runpod.state.requests)


def test_a_pushed_job_runs_without_polling(tmp_path: Path) -> None:
    """After the first resync the bridge calls GitHub three times: for the run, the runner groups and the runner."""
    with real_workers(tmp_path) as made, running_service(made, BRIDGE_INTERVAL="3600") as service:
        before = dict(made.github.calls)
        statuses = made.runpod.calls["GET /v2/{endpoint}/status/{id}"]
        job = made.github.state.add_run("acme/web", a_run(a_job_of_steps("true"))).jobs["build"]
        until(lambda: job.status == "completed" and not made.runpod.state.workers)
        until(lambda: service.metric('bridge_submissions_total{state="finished"}') == 1)
        assert service.metric('bridge_job_wait_seconds_count{route="default"}') == 1
        assert service.metric('bridge_job_seconds_count{result="success",route="default"}') == 1
        calls = {call: n - before.get(call, 0) for call, n in made.github.calls.items() if n != before.get(call, 0)}
        assert job.conclusion == "success"
        assert calls == {
            "GET /repos/{owner}/{repo}/actions/runs/{id}": 1,
            "GET /orgs/{owner}/actions/runner-groups": 1,
            "POST /orgs/{owner}/actions/runners/generate-jitconfig": 1,
        }
        assert made.runpod.calls["GET /v2/{endpoint}/status/{id}"] - statuses <= 1, "RunPod's callback reported the end"


def test_a_delivery_needs_a_valid_signature_and_counts_once(service: RunningService) -> None:
    service.emulators.github.app.webhook_url = None
    body = payload(service, service.queue())
    assert post(service, body, secret="another").status_code == 401
    assert post(service, body, X_Hub_Signature_256="").status_code == 401
    assert submitted(service) == 0
    assert post(service, body).json() == {"outcome": "taken"}
    assert post(service, body).status_code == 202
    until(lambda: submitted(service) == 1)
    assert post(service, body, X_GitHub_Delivery="guid-2").status_code == 202
    (row,) = listed(service, "jobs")
    assert row["why"].startswith("already requested: runner ")
    assert submitted(service) == 1


def listed(service: RunningService, command: str, *arguments: str) -> list[dict[str, Any]]:
    """What `python -m bridge COMMAND --json` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "bridge", command, "--json", *arguments],
        cwd=ROOT, env=service.emulators.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def test_submissions_can_be_listed_and_an_open_job_can_be_retried(service: RunningService) -> None:
    job = service.queue()
    until(lambda: submitted(service) == 1)
    (row,) = listed(service, "submissions")
    assert (row["job_id"], row["state"], row["target"]) == (job.id, "submitted", "orgs/acme")
    url = f"https://github.com/acme/web/actions/runs/{job.run_id}"
    ids = [str(job.id), f"{url}/job/{job.id}", "404", url]
    retried = [
        subprocess.run(
            [sys.executable, "-m", "bridge", "retry", each],
            cwd=ROOT, env=service.emulators.environment, capture_output=True, text=True, check=False,
        )
        for each in ids
    ]  # fmt: skip
    assert [each.returncode for each in retried] == [0, 0, 1, 1]
    (*_, line) = retried[2].stderr.splitlines()
    assert line == "bridge: the ledger has no open job 404; `bridge jobs` lists the open jobs"
    assert retried[3].stderr == f"bridge: {url!r} is no job: give the URL or the id of a job\n"


def test_a_retry_without_a_ledger_says_so(tmp_path: Path) -> None:
    with emulators(tmp_path) as made:
        done = subprocess.run(
            [sys.executable, "-m", "bridge", "retry", "404"],
            cwd=ROOT, env=made.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert not made.ledger.exists()
    line = "bridge: there is no ledger yet; run `bridge dispatch` first, or correct BRIDGE_DATABASE_URL\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


def test_a_signed_form_is_accepted(service: RunningService) -> None:
    service.emulators.github.app.webhook_url = None
    body = urlencode({"payload": payload(service, service.queue())}).encode()
    assert post(service, body, Content_Type="application/x-www-form-urlencoded").json() == {"outcome": "taken"}


OLD, NEW = "the old webhook secret", "the new webhook secret"


def test_an_old_and_a_new_webhook_secret_are_accepted_together(tmp_path: Path) -> None:
    with emulators(tmp_path) as made, running_service(made, GITHUB_WEBHOOK_SECRET=f"{NEW}, {OLD}") as service:
        made.github.app.webhook_url = None
        body = payload(service, service.queue())
        assert [post(service, body, secret=s).status_code for s in (OLD, NEW, SECRET)] == [202, 202, 401]


REFUSED: list[tuple[bytes, dict[str, str], int, str]] = [
    (b"<html>", {}, 400, "refused: the body is not JSON"),
    (b"[]", {}, 400, "refused: the body is not a JSON object"),
    (b"{}", {}, 400, "refused: the field repository is missing"),
    (b'{"repository": {"full_name": "a/b", "private": true}}', {}, 400, "refused: the field workflow_job is missing"),
    (
        b'{"repository": 7, "workflow_job": {}}',
        {},
        400,
        "refused: a field does not have the type that GitHub documents",
    ),
    (
        b'{"repository": {"full_name": "acme/\\ud800", "private": true}, "workflow_job": {}}',
        {},
        400,
        "refused: the field full_name is not owner/name",
    ),
    (b"{}", {"X_GitHub_Delivery": "x" * 300}, 400, "refused: the header X-GitHub-Delivery is too long"),
    (
        b"a=b",
        {"Content_Type": "application/x-www-form-urlencoded"},
        400,
        "refused: the body is not a form with one field named payload",
    ),
    (b"{}", {"X_GitHub_Event": "star"}, 202, "ignored: the bridge does not need the event star"),
    (b"{}", {"X_GitHub_Event": "ping"}, 202, "taken"),
    (b"{}", {"X_GitHub_Delivery": ""}, 400, "refused: the header X-GitHub-Delivery or X-GitHub-Event is missing"),
]


def test_a_refused_delivery_is_answered_with_the_reason(service: RunningService) -> None:
    for body, headers, status, outcome in REFUSED:
        answer = post(service, body, **headers)
        assert (answer.status_code, answer.json()["outcome"]) == (status, outcome)


def test_an_irrelevant_delivery_is_answered_2xx_with_the_reason_and_counted(service: RunningService) -> None:
    service.emulators.github.app.webhook_url = None
    hosted = payload(service, service.queue("ubuntu-latest"))
    assert post(service, hosted).json() == {"outcome": "ignored: no route serves this job"}
    raw: dict[str, Any] = json.loads(hosted)
    raw["repository"]["full_name"] = "other/web"
    foreign = post(service, json.dumps(raw).encode())
    assert foreign.json() == {"outcome": "ignored: this bridge does not serve the owner other"}
    assert service.metric('bridge_deliveries_total{event="workflow_job",outcome="ignored"}') == 2


SIGNED = {"X-Hub-Signature-256": f"sha256={'0' * 64}"}


def test_a_body_over_25_mb_is_refused_before_it_is_read(service: RunningService) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(30):
            yield b"x" * 2**20

    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        signature = f"X-Hub-Signature-256: {SIGNED['X-Hub-Signature-256']}\r\n".encode()
        connection.sendall(b"POST /webhook HTTP/1.1\r\nHost: x\r\n" + signature + b"Content-Length: 27000000\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    streamed = httpx.post(f"{service.url}/webhook", content=endless(), headers=SIGNED, timeout=30)
    assert streamed.status_code == 413


def test_a_body_without_a_signature_is_refused_before_it_is_read(service: RunningService) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n")
        answered = connection.recv(1000)
        assert answered.startswith(b"HTTP/1.1 401 ")
        connection.sendall(b"x" * 2_000_000 + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        while b"HTTP/1.1 200 " not in answered:  # the connection stays usable: a proxy may send the next delivery on it
            more = connection.recv(1000)
            assert more, f"the connection was closed: {answered!r}"
            answered += more


def test_other_methods_and_paths_are_refused(service: RunningService) -> None:
    assert httpx.get(f"{service.url}/webhook").status_code == 405
    assert httpx.get(f"{service.url}/admin").status_code == 404


def test_only_callback_urls_that_the_bridge_has_made_are_accepted(service: RunningService) -> None:
    assert httpx.post(f"{service.url}/runpod/s1/{'0' * 64}").status_code == 401
    assert httpx.post(f"{service.url}{callback_path('s1', 'another key entirely')}").status_code == 401
    assert httpx.post(f"{service.url}{callback_path('s1', CALLBACK_KEY)}", content=b"<html>").status_code == 200


def test_lost_deliveries_are_read_from_the_delivery_log(tmp_path: Path) -> None:
    with emulators(tmp_path) as made, running_service(made, BRIDGE_INTERVAL="1") as service:
        made.github.webhooks.mishap = lambda _: ()
        scans = made.github.calls["GET /repos/{owner}/{repo}/actions/runs"]
        service.queue()
        until(lambda: submitted(service) == 1)
        assert made.github.calls["GET /repos/{owner}/{repo}/actions/runs"] == scans, "no repository was scanned"


def test_during_an_outage_of_github_the_service_is_not_ready_but_accepts_deliveries(tmp_path: Path) -> None:
    with emulators(tmp_path) as made, running_service(made, BRIDGE_INTERVAL="1") as service:
        made.github.faults.add(Fault(method="GET", path="/api/v3", kind=FaultKind.ERROR, status=502, times=10**6))
        until(lambda: "502" in service.ready()["services"])
        assert service.ready()["status"] == 503
        made.github.app.webhook_url = None
        assert post(service, payload(service, service.queue())).status_code == 202
        made.github.faults.clear()
        until(lambda: service.ready()["status"] == 200)
        until(lambda: submitted(service) == 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_service_cleanly_and_the_log_contains_no_secret(
    service: RunningService, number: signal.Signals
) -> None:
    job = service.queue()
    until(lambda: submitted(service) == 1)
    log = service.stop(number)
    assert service.process.returncode == 0
    assert str(job.id) in log
    assert '"event": "stopped"' in log.splitlines()[-1]
    for secret in (SECRET, CALLBACK_KEY, service.emulators.github.app.pem.splitlines()[1], "ghs_"):
        assert secret not in log


def test_a_missing_webhook_secret_and_a_port_in_use_are_reported(tmp_path: Path) -> None:
    with emulators(tmp_path) as made:
        out, err = made.start("--serve").communicate(timeout=30)
        assert err == "bridge: GITHUB_WEBHOOK_SECRET: missing; set it to the webhook secret of the App\n"
        made.variables["GITHUB_WEBHOOK_SECRET"] = SECRET
        with running_service(made) as service:
            out, err = made.start("--serve", service.url.removeprefix("http://")).communicate(timeout=30)
            assert err.startswith("bridge: --serve: cannot listen on 127.0.0.1:")
        assert out == ""
