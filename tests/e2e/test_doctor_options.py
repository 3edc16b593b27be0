"""`bridge doctor --self-test`, `--fix` and `--bundle` against the emulated services."""

import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bridge.commands.app import app
from bridge.emulator.cloud import OWNER
from bridge.emulator.faults import Fault, FaultKind
from tests.support.background import until
from tests.support.doctor import TOML, Clinic, clinic
from tests.support.github import a_run
from tests.support.runners import a_job_of_steps


@pytest.fixture
def well(tmp_path: Path) -> Iterator[Clinic]:
    with clinic(tmp_path) as made:
        yield made


def endpoint(clinic: Clinic) -> str:
    """The id of the endpoint that `apply` created."""
    account = clinic.cloud.runpod.account
    return next(id_ for id_, record in account.records.items() if record["name"] == "l4")


def statuses(clinic: Clinic) -> list[str]:
    """Of all requests, in the order of their arrival."""
    return [request.status for request in list(clinic.cloud.runpod.state.requests.values())]


@contextmanager
def answering(clinic: Clinic, result: dict[str, Any]) -> Iterator[None]:
    """A worker that gives one answer, instead of a real one."""
    state, id_ = clinic.cloud.runpod.state, endpoint(clinic)
    state.endpoints[id_].capacity = 0

    def answer() -> None:
        until(lambda: state.queued(id_))
        worker = state.add_worker(id_)
        request = state.take(worker.id)
        assert request is not None
        assert request.input == {"self_test": True}
        assert request.execution_timeout == 120.0
        state.done(worker.id, request.id, result)
        state.remove_worker(worker)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def self_test(clinic: Clinic, *arguments: str) -> dict[str, tuple[str, str]]:
    """Status and evidence of the checks of --self-test, by id."""
    found = clinic.checks("--self-test", *arguments)
    return {
        check["id"]: (check["status"], check["evidence"])
        for check in found
        if check["id"].startswith(("self_test", "image.runner"))
    }


def test_a_real_worker_tests_itself_and_runs_no_job(well: Clinic) -> None:
    found = {check["id"]: check["status"] for check in well.checks("--self-test", status=0)}
    needed = ("self_test", "self_test.image", "image.runner", "self_test.github", "self_test.disk")
    assert {id_: found[id_] for id_ in needed} == dict.fromkeys(needed, "ok")
    assert found["self_test.gpu"] == "skipped"
    assert statuses(well) == ["COMPLETED"]


def test_an_image_that_knows_no_self_test_is_named(well: Clinic) -> None:
    error = "bad_input: runner_name: missing"
    with answering(well, {"output": {"outcome": "bad_input"}, "error": error}):
        found = self_test(well)
    assert found == {"self_test": ("failed", f"the worker's image does not know self-tests: {error}")}


def test_a_runner_that_github_refuses_is_named(well: Clinic) -> None:
    output = {"outcome": "self_test", "self_test": {"runner_version": "2.320.0", "checks": {"runner": {"ok": True}}}}
    with answering(well, {"output": output}):
        found = self_test(well)
    assert found["image.runner"] == ("failed", "2.320.0, which GitHub does not accept any more")


def test_without_an_answer_the_request_is_cancelled_and_the_reason_told(well: Clinic) -> None:
    well.cloud.runpod.state.endpoints[endpoint(well)].capacity = 0
    found = self_test(well, "--wait", "10")
    why = "no answer within 10 s, the request was cancelled: RunPod has no free machine"
    assert found == {"self_test": ("failed", why)}
    assert statuses(well) == ["CANCELLED"]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (FaultKind.ERROR, "500 Internal Server Error; the request may have been accepted"),
        (FaultKind.DROP, "no readable answer (ConnectionError); the request may have been accepted"),
    ],
)
def test_a_self_test_is_sent_once(well: Clinic, kind: FaultKind, text: str) -> None:
    well.cloud.runpod.faults.add(Fault(method="POST", path="/run$", kind=kind))
    found = well.troubles("--self-test")
    assert found == {"self_test l4": f"RunPod: POST /{endpoint(well)}/run (endpoint l4): {text}"}
    assert statuses(well) == []


def test_ctrl_c_cancels_the_request(well: Clinic) -> None:
    well.cloud.runpod.state.endpoints[endpoint(well)].capacity = 0
    bare = {name: text for name, text in os.environ.items() if not name.startswith(("GITHUB_", "RUNPOD_", "BRIDGE_"))}
    command = [sys.executable, "-m", "bridge", "doctor", "--self-test"]
    process = subprocess.Popen(
        command, env=bare | well.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        until(lambda: statuses(well) == ["IN_QUEUE"])
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert statuses(well) == ["CANCELLED"], errors
    assert "--self-test starts one worker on each of l4, which RunPod bills" in errors
    assert "Traceback" not in errors


def reduce(clinic: Clinic, workers: int = 0) -> None:
    clinic.cloud.runpod.state.endpoints[endpoint(clinic)].workers_max = workers


def test_fix_restores_what_runpod_reduced_and_checks_it_again(well: Clinic) -> None:
    reduce(well)
    out = well.run("doctor", "--fix", "--yes")
    assert "failed  endpoint.workers_max l4: 0" in out
    assert out.endswith("ok      endpoint.workers_max l4: 3\n1 ok\n")
    assert well.cloud.runpod.state.endpoints[endpoint(well)].workers_max == 3


def test_fix_with_json_prints_one_document_with_the_new_state(well: Clinic) -> None:
    reduce(well, 2)
    found = {check["id"]: check["status"] for check in well.checks("--fix", "--yes", status=0)}
    assert found["endpoint.workers_max"] == "ok"


def test_fix_without_a_terminal_needs_yes(well: Clinic) -> None:
    reduce(well)
    out = well.run("doctor", "--fix", status=2)
    assert "endpoint.workers_max l4: 0" in out
    assert well.cloud.runpod.state.endpoints[endpoint(well)].workers_max == 0


def test_fix_with_nothing_to_repair_changes_nothing(well: Clinic) -> None:
    before = well.cloud.runpod.management.calls["PATCH /v2/serverless/{id}"]
    well.run("doctor", "--fix", status=0)
    assert well.cloud.runpod.management.calls["PATCH /v2/serverless/{id}"] == before


@pytest.mark.parametrize(
    ("fault", "workers"),
    [
        ({"kind": FaultKind.ERROR, "status": 400, "body": "{}"}, 0),
        ({"kind": FaultKind.ERROR, "status": 500}, 0),
        ({"kind": FaultKind.ACCEPT_THEN_ERROR, "status": 500}, 3),
    ],
)
def test_a_repair_is_sent_once_and_its_end_is_looked_up(well: Clinic, fault: dict[str, Any], workers: int) -> None:
    reduce(well)
    well.cloud.runpod.faults.add(Fault(method="PATCH", path="/serverless/", **fault))
    before = well.cloud.runpod.management.calls["PATCH /v2/serverless/{id}"]
    well.run("doctor", "--fix", "--yes", status=0 if workers else 1)
    assert well.cloud.runpod.state.endpoints[endpoint(well)].workers_max == workers
    assert well.cloud.runpod.management.calls["PATCH /v2/serverless/{id}"] - before == bool(workers)


SECRETS = {
    "BRIDGE_CALLBACK_KEY": "callback-key-0123456789abcdef0123456789abcdef",
    "BRIDGE_NOTIFY_URL": "https://hooks.example/notify-secret-1",
    "BRIDGE_PUBLIC_URL": "https://bridge.example.org",
    "GITHUB_WEBHOOK_SECRET": "webhook-secret-0123456789",
}


def unzipped(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_a_bundle_has_everything_but_secrets(well: Clinic, tmp_path: Path) -> None:
    well.variables.update(SECRETS)
    mistakes = (
        "# hook_secret = 'mistaken-secret-1' and https://me:mistaken-secret-2@host",
        "# notify_url = 'https://a/mistaken-secret-3'",
    )
    well.config.write_text("\n".join([*mistakes, TOML]))
    path = tmp_path / "report.zip"
    well.run("doctor", "--bundle", str(path), status=None)
    files = unzipped(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert set(files) == {"report.json", "versions.json", "environment.json", "ledger.json", "bridge.toml"}
    key = well.cloud.github.app.pem.splitlines()[1]
    values = [SECRETS["BRIDGE_CALLBACK_KEY"], SECRETS["GITHUB_WEBHOOK_SECRET"], well.cloud.api_key]
    for secret in (*values, well.cloud.management_key, key, "mistaken-secret", "notify-secret"):
        assert all(secret not in text for text in files.values())
    assert 'name = "l4"' in files["bridge.toml"]
    assert "RUNPOD_API_KEY" in json.loads(files["environment.json"])["set"]
    assert json.loads(files["versions.json"])["dependencies"]["httpx"]
    assert json.loads(files["report.json"])["checks"]
    assert json.loads(files["ledger.json"])["schema"]


def test_a_bundle_lists_the_last_submissions_with_their_reasons(well: Clinic, tmp_path: Path) -> None:
    hostile = a_run(a_job_of_steps("true", name="\x1b[31m<script>"))
    well.cloud.github.state.add_run(f"{OWNER}/web", hostile)
    well.run("dispatch")
    well.run("doctor", "--bundle", str(tmp_path / "report.zip"), status=None)
    ledger = json.loads(unzipped(tmp_path / "report.zip")["ledger.json"])
    (recent,) = ledger["recent"]
    assert (recent["route"], recent["endpoint"], recent["state"]) == ("gpu", endpoint(well), "submitted")
    assert ledger["submissions"] == {"submitted": 1}


def test_a_bundle_is_written_although_the_configuration_cannot_be_loaded(well: Clinic, tmp_path: Path) -> None:
    well.variables.update({"BRIDGE_PUBLIC_URL": "", "BRIDGE_CALLBACK_KEY": SECRETS["BRIDGE_CALLBACK_KEY"]})
    path = tmp_path / "report.zip"
    well.run("doctor", "--bundle", str(path), status=2)
    files = unzipped(path)
    (check,) = json.loads(files["report.json"])["checks"]
    assert check["id"] == "configuration"
    assert all(SECRETS["BRIDGE_CALLBACK_KEY"] not in text for text in files.values())


@pytest.mark.parametrize("name", ["taken.zip", "no/such/folder.zip"])
def test_a_bundle_replaces_no_file_and_needs_its_folder(well: Clinic, tmp_path: Path, name: str) -> None:
    (tmp_path / "taken.zip").write_text("mine")
    done = CliRunner().invoke(app, ["doctor", "--bundle", str(tmp_path / name)], env=well.environment)
    assert done.exit_code == 2
    assert done.stderr.count("bridge: --bundle: ") == 1
    assert done.stderr.strip().endswith("name another file")
    assert (tmp_path / "taken.zip").read_text() == "mine"
