"""`bridge dispatch` as a person or cron runs it, against both emulators; no worker takes its requests."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.emulator.faults import Fault, FaultKind
from tests.support import ROOT
from tests.support.emulators import API_KEY, PAT, Emulators, assert_no_secret, emulators
from tests.support.github import a_run, a_spec

HOSTED = a_spec("hosted", labels=("ubuntu-latest",))


@pytest.fixture
def bridge(tmp_path: Path) -> Iterator[Emulators]:
    """Both emulators, with two queued jobs for the bridge and one for hosted runners."""
    with emulators(tmp_path) as made:
        made.github.state.add_run("acme/web", a_run(a_spec("one"), a_spec("two"), HOSTED))
        yield made


def test_a_dry_run_prints_the_plan_and_changes_nothing(bridge: Emulators) -> None:
    planned = bridge.dispatch("--dry-run")
    assert planned["counts"] == {"queued_jobs": 3, "matched_jobs": 2, "claims": 2, "submitted": 0}
    why = {job["name"]: job["why"] for job in planned["jobs"]}
    assert why["hosted"] == 'no route has any of the labels "ubuntu-latest"'
    assert bridge.github.state.runners == {}
    assert bridge.runpod.state.requests == {}
    assert list(bridge.home.iterdir()) == []


def test_a_secret_in_a_jobs_name_is_not_printed(bridge: Emulators) -> None:
    """Anyone who may write a workflow chooses the name. `dispatch` checks all output for secrets, too."""
    bridge.github.state.add_run("acme/web", a_run(a_spec(f"key {API_KEY}"), a_spec(f"token {PAT}")))
    names = {job["name"] for job in bridge.dispatch("--dry-run")["jobs"]}
    assert {"key ***", "token ***"} <= names
    shown, _ = bridge.start("--dry-run").communicate(timeout=60)
    assert "key ***" in " ".join(shown.split())
    assert_no_secret(bridge, shown)


@pytest.mark.parametrize("setting", ["RUNPOD_ENDPOINT_ID", "BRIDGE_CONFIG", "BRIDGE_LABELS", "GITHUB_ORG"])
def test_a_key_in_the_wrong_setting_is_reported_in_one_line_without_the_key(tmp_path: Path, setting: str) -> None:
    key = "rpa_ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    with emulators(tmp_path) as made:
        made.variables[setting] = key
        for command in ("bridge.dispatch", "bridge"):
            done = subprocess.run(
                [sys.executable, "-m", command, *(["jobs"] if command == "bridge" else [])],
                cwd=ROOT, env=made.environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
            assert key not in done.stderr


def test_repeated_passes_request_one_worker_for_each_matched_job(bridge: Emulators) -> None:
    assert bridge.dispatch()["counts"]["submitted"] == 2
    again = bridge.dispatch()
    assert again["counts"]["submitted"] == 0
    bridge.lose_ledger()
    assert bridge.dispatch()["counts"]["submitted"] == 0, "a new container finds its runners on GitHub"
    assert len(bridge.runpod.state.requests) == len(bridge.github.state.runners) == 2


def test_simultaneous_passes_submit_each_job_once(bridge: Emulators) -> None:
    passes = [bridge.start("--json") for _ in range(3)]
    documents = [json.loads(each.communicate(timeout=60)[0]) for each in passes]
    assert sum(document["counts"]["submitted"] for document in documents) == 2
    assert len(bridge.runpod.state.requests) == 2


def test_a_pass_reports_every_call_to_github(bridge: Emulators) -> None:
    assert bridge.dispatch()["github_calls"]["total"] == bridge.github.calls.total()


def test_a_request_has_everything_that_its_worker_needs_and_no_key(bridge: Emulators) -> None:
    bridge.dispatch()
    request = next(iter(bridge.runpod.state.requests.values()))
    assert set(request.input["runner_labels"]) > {"self-hosted", "linux", "x64", "runpod", "gpu"}
    assert request.input["mode"] == "jit"
    assert request.input["runner_url"] == f"{bridge.github.url}/acme"
    assert request.execution_timeout > 21600
    assert request.ttl > request.execution_timeout
    assert_no_secret(bridge, json.dumps(request.input))


@pytest.mark.parametrize("mode", ["registration", "app", "pat"])
def test_in_token_modes_nothing_is_requested_twice_after_the_ledger_is_lost(bridge: Emulators, mode: str) -> None:
    path = bridge.home / "bridge.toml"
    path.write_text(f'[[route]]\nname = "gpu"\ncredentials = "{mode}"\n')
    assert bridge.dispatch("--config", str(path))["counts"]["submitted"] == 2
    assert bridge.dispatch("--config", str(path))["counts"]["submitted"] == 0
    bridge.lose_ledger()
    assert bridge.dispatch("--config", str(path))["counts"]["submitted"] == 0


def test_with_a_personal_access_token_runners_register_at_the_repository(bridge: Emulators) -> None:
    bridge.variables |= {"GITHUB_ORG": "", "GITHUB_REPOSITORIES": "acme/web", "GITHUB_APP_CLIENT_ID": ""}
    bridge.variables |= {"GITHUB_APP_PRIVATE_KEY": "", "GITHUB_PAT": "ghp_secretpersonaltoken"}
    assert bridge.dispatch()["counts"]["submitted"] == 2
    assert {runner.target for runner in bridge.github.state.runners.values()} == {"repos/acme/web"}


def test_the_request_of_a_cancelled_job_is_cancelled(bridge: Emulators) -> None:
    bridge.dispatch()
    job = next(job for job in bridge.github.state.jobs.values() if job.spec.name == "one")
    bridge.github.state.cancel_job(job)
    assert [w["detail"] for w in bridge.dispatch()["withdrawals"]] == ["no queued job needs it"]
    statuses = sorted(request.status for request in bridge.runpod.state.requests.values())
    assert statuses == ["CANCELLED", "IN_QUEUE"]
    assert len(bridge.github.state.runners) == 1


@pytest.mark.parametrize(
    ("fault", "requests"),
    [
        ({"kind": FaultKind.ERROR, "status": 401}, 0),
        ({"kind": FaultKind.ERROR, "status": 429}, 0),
        ({"kind": FaultKind.ERROR, "status": 400}, 0),
        ({"kind": FaultKind.ACCEPT_THEN_ERROR, "status": 500}, 2),
        ({"kind": FaultKind.ACCEPT_THEN_ERROR, "status": 200, "body": "<html>"}, 2),
        ({"kind": FaultKind.DROP}, 0),
    ],
)
def test_a_failed_submission_is_reported_and_never_sent_twice(
    bridge: Emulators, fault: dict[str, Any], requests: int
) -> None:
    """`retry`, or a probe after a minute, repeats a refused request under a new name. An unknown one may exist."""
    bridge.runpod.faults.add(Fault(method="POST", path="/run$", times=2, **fault))
    failed = bridge.dispatch(status=1)
    assert len(failed["problems"]) in (1, 2)
    assert all(problem.startswith("RunPod: POST /ep-1/run") for problem in failed["problems"])
    assert len(bridge.runpod.state.requests) == requests
    refused = fault["kind"] is FaultKind.ERROR
    assert len(bridge.github.state.runners) == (0 if refused else 2)
    held = bridge.dispatch(status=int(refused))
    assert held["counts"]["submitted"] == 0
    if refused:
        said = "has reached a rate limit" if fault["status"] == 429 else "was refused"
        assert all(said in job["why"] for job in held["jobs"] if job["route"])
        bridge.retry(held["jobs"][0]["id"])
        assert bridge.dispatch()["counts"]["submitted"] == 2


def test_a_registration_whose_answer_is_lost_is_not_repeated(bridge: Emulators) -> None:
    lost = Fault(method="POST", path="generate-jitconfig", kind=FaultKind.ACCEPT_THEN_ERROR, status=502)
    bridge.github.faults.add(lost)
    failed = bridge.dispatch(status=1)
    assert "it may have been done" in failed["problems"][0]
    assert bridge.dispatch()["counts"]["submitted"] == 0, "the claim holds until its lease ends"


@pytest.mark.parametrize("path", ["/actions/runs$", "/actions/runners$", "/installation/repositories$"])
def test_a_failed_read_is_reported_and_nothing_is_submitted(bridge: Emulators, path: str) -> None:
    bridge.github.faults.add(Fault(method="GET", path=path, kind=FaultKind.ERROR, status=502, times=6))
    document = bridge.dispatch(status=1)
    assert "502" in document["problems"][0]
    assert document["counts"]["submitted"] == 0
    bridge.github.faults.clear()
    assert bridge.dispatch()["counts"]["submitted"] == 2


def test_a_wrong_configuration_is_one_line_and_status_2(bridge: Emulators) -> None:
    bridge.variables["GITHUB_APP_PRIVATE_KEY"] = "not a key"
    process = bridge.start()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    line = "bridge: GITHUB_APP_PRIVATE_KEY: not an RSA private key; give the App's PEM, or base64 of it\n"
    assert (out, err) == ("", line)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watch_repeats_until_a_signal_and_finishes_the_current_pass(bridge: Emulators, number: signal.Signals) -> None:
    process = bridge.start("--json", "--watch", "1")
    assert process.stdout is not None
    first, second, third = (json.loads(process.stdout.readline()) for _ in range(3))
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert first["counts"]["submitted"] == 2
    assert second["counts"]["submitted"] == 0
    assert third["github_calls"]["total"] == third["github_calls"]["not_modified"], "nothing has changed"


def test_the_table_shows_names_as_plain_text(bridge: Emulators) -> None:
    hostile = a_spec("[red]x[/red] $(id)\x1b[31m")
    bridge.github.state.add_run("acme/web", a_run(hostile))
    process = bridge.start("--dry-run")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "[red]x" in out
    assert "\x1b[31m" not in out
    assert "would submit 3" in out
