"""The emulated GitHub speaks the official runner's protocol: from the configuration to the result of a job."""

import base64
import json
import os
import re
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from bridge.emulator.github import GitHubEmulator, Limits, github_emulator
from bridge.emulator.github.runner_protocol import broker
from bridge.emulator.github.state import Job, Runner
from bridge.emulator.jobs import JobResult, JobSpec
from tests.emulator.runner_client import Client, files_of
from tests.support.background import served, until
from tests.support.github import GPU, a_github, a_run, an_app
from tests.support.runners import a_job_of_steps, commit_all, git

RECEIVER = "results.services.receiver.Receiver/"
STEPS = "github.actions.results.api.v1.WorkflowStepUpdateService/WorkflowStepsUpdate"


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
def github(limits: Limits) -> Iterator[GitHubEmulator]:
    with served(lambda: github_emulator(a_github(limits=limits), an_app())) as made:
        yield made


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=20, trust_env=False) as made:
        yield made


@pytest.fixture
def runner(github: GitHubEmulator) -> Runner:
    return github.state.add_runner("orgs/acme", "r-1", GPU)


@pytest.fixture
def client(http: httpx.Client, runner: Runner, github: GitHubEmulator) -> Client:
    return Client.of(http, runner, github)


def queue(github: GitHubEmulator, *steps: Any, **job: Any) -> Job:
    """Queue a job of these steps."""
    spec = a_job_of_steps(*steps, **job)
    return github.state.add_run("acme/web", a_run(spec)).jobs[spec.key]


def error_of(answer: httpx.Response) -> tuple[int, str, str]:
    body = answer.json()
    assert body["statusCode"] == answer.status_code
    assert body["errorMessage"]
    return answer.status_code, body["source"], body.get("errorKind", "")


# --- the configuration and the token ---


def test_a_jit_configuration_has_the_real_form(github: GitHubEmulator, runner: Runner, client: Client) -> None:
    files = client.files
    assert set(files) == {".runner", ".credentials", ".credentials_rsaparams"}
    assert files[".runner"] | {"ServerUrl": "", "ServerUrlV2": "", "GitHubUrl": ""} == {
        "AgentId": str(runner.id), "AgentName": "r-1", "PoolId": "1", "PoolName": "Default", "ServerUrl": "",
        "ServerUrlV2": "", "GitHubUrl": "", "UseV2Flow": "True", "Ephemeral": "True", "DisableUpdate": "True",
        "WorkFolder": "_work",
    }  # fmt: skip
    assert all(files[".runner"][name].endswith("/") for name in ("ServerUrl", "ServerUrlV2"))
    assert files[".credentials"]["Data"]["RequireFipsCryptography"] == "True"
    assert set(files[".credentials_rsaparams"]) == {"d", "dp", "dq", "exponent", "inverseQ", "modulus", "p", "q"}


def test_a_runner_learns_which_service_it_talks_to(client: Client) -> None:
    url = client.files[".runner"]["ServerUrl"]
    query = {"connectOptions": "1", "lastChangeId": "-1", "lastChangeId64": "-1"}
    found = client.http.get(f"{url}_apis/connectionData", params=query).json()
    assert found["locationServiceData"]["serviceOwner"] == "a85b8835-c1a1-4aac-ae97-1c3d0ba72dbd"
    assert found["locationServiceData"]["accessMappings"][0]["accessPoint"] == url
    assert found["locationServiceData"]["serviceDefinitions"] == []
    assert found["instanceId"]


@pytest.mark.parametrize("algorithm", ["PS256", "RS256"])
def test_an_assertion_with_the_runners_own_key_gives_a_token(client: Client, algorithm: str) -> None:
    answer = client.sign_in(client.assertion(algorithm))
    assert (answer.status_code, answer.json()["token_type"]) == (200, "bearer")
    assert client.open().status_code == 200


INVALID: Mapping[str, Callable[[Client], str]] = {
    "another key": lambda client: client.assertion(key=rsa.generate_private_key(65537, 2048)),
    "another audience": lambda client: client.assertion(aud="http://elsewhere/"),
    "expired": lambda client: client.assertion(exp=1, nbf=0),
    "of nobody": lambda client: client.assertion(iss="nobody", sub="nobody"),
    "of two": lambda client: client.assertion(sub="another"),
    "not yet valid": lambda client: client.assertion(nbf=2**31),
    "another algorithm": lambda client: jwt.encode({"iss": client.assertion()}, "x" * 32, "HS256"),
    "no assertion": lambda _client: "nonsense",
}


@pytest.mark.parametrize("kind", INVALID)
def test_an_invalid_assertion_gives_invalid_client(client: Client, kind: str) -> None:
    answer = client.sign_in(INVALID[kind](client))
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_client"})


def test_the_assertion_of_a_deleted_runner_gives_invalid_client(
    github: GitHubEmulator, runner: Runner, client: Client
) -> None:
    github.state.delete_runner("orgs/acme", runner.id)
    assert client.sign_in().json() == {"error": "invalid_client"}


def test_another_grant_is_refused(client: Client) -> None:
    answer = client.sign_in(grant_type="password")
    assert (answer.status_code, answer.json()) == (400, {"error": "unsupported_grant_type"})


@pytest.mark.parametrize("token", ["nonsense", jwt.encode({"sub": "r-1"}, "x" * 32, "HS256")], ids=["none", "foreign"])
def test_every_call_needs_a_token(github: GitHubEmulator, client: Client, token: str) -> None:
    client.token = token
    calls = [("POST", "session"), ("GET", "message"), ("POST", "acknowledge"), ("DELETE", "session")]
    query = {"runnerVersion": "2.338.0"}
    assert {client.call(method, client.broker + path, {}, **query).status_code for method, path in calls} == {401}
    assert client.call("POST", f"{github.url}/_run/acquirejob", {}).status_code == 401


def test_a_runners_token_expires(github: GitHubEmulator, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    client.sign_in()
    now = github.state.clock()
    monkeypatch.setattr(github.state, "clock", lambda: now + 3601)
    assert client.open().status_code == 401


# --- sessions and messages ---


def test_a_second_session_is_a_conflict(client: Client) -> None:
    client.sign_in()
    assert client.open().status_code == 200
    assert client.open().status_code == 409


def test_a_closed_session_can_be_opened_again(client: Client, runner: Runner) -> None:
    client.sign_in()
    client.open()
    assert client.call("DELETE", f"{client.broker}session").status_code == 200
    assert runner.session is None
    assert client.open().status_code == 200


def test_a_poll_without_a_message_is_held_and_then_empty(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "HOLD", 0.3)
    client.sign_in()
    client.open()
    answer = client.poll()
    assert (answer.status_code, answer.content) == (202, b"")
    assert answer.elapsed.total_seconds() >= 0.2


def test_a_deprecated_version_is_refused_at_its_first_poll_and_gets_no_job(
    github: GitHubEmulator, client: Client
) -> None:
    job = queue(github, "true")
    client.sign_in()
    assert client.open("2.300.0").status_code == 200
    answer = client.poll(version="2.300.0")
    assert error_of(answer) == (403, "actions-broker-listener", "RunnerVersionTooOld")
    assert answer.json()["errorMessage"] == (
        "Runner version v2.300.0 is deprecated and cannot receive messages."
    )  # fmt: skip
    assert job.runner is None


def test_a_poll_with_another_session_is_refused(client: Client) -> None:
    client.sign_in()
    client.open()
    client.session = "another"
    assert error_of(client.poll()) == (404, "actions-broker-listener", "RunnerSessionInvalid")


def test_a_runner_that_is_deleted_while_it_listens_is_told(
    github: GitHubEmulator, client: Client, runner: Runner
) -> None:
    client.sign_in()
    client.open()
    github.state.delete_runner("orgs/acme", runner.id)
    assert error_of(client.poll()) == (404, "actions-broker-listener", "RunnerNotFound")


def test_a_job_is_announced_and_acknowledged(github: GitHubEmulator, client: Client) -> None:
    queue(github, "true")
    client.sign_in()
    client.open()
    message = client.poll().json()
    assert message["messageType"] == "RunnerJobRequest"
    request = json.loads(message["body"])
    assert set(request) == {"id", "runner_request_id", "run_service_url", "billing_owner_id", "should_acknowledge"}
    right, wrong = ({"runnerRequestId": each} for each in (request["runner_request_id"], "another"))
    assert client.call("POST", f"{client.broker}acknowledge", right).status_code == 200
    answer = client.call("POST", f"{client.broker}acknowledge", wrong)
    assert error_of(answer) == (404, "actions-broker-listener", "AcknowledgeJobNotFound")


def test_a_message_whose_answer_was_lost_comes_again(
    github: GitHubEmulator, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "TELL_AGAIN", 0.2)
    queue(github, "true")
    client.sign_in()
    client.open()
    first, second = client.poll().json(), client.poll().json()
    assert (first["body"], first["messageId"] < second["messageId"]) == (second["body"], True)


# --- a job ---


def test_a_job_is_taken_renewed_and_completed(github: GitHubEmulator, client: Client, runner: Runner) -> None:
    job = queue(github, "true")
    message = client.take()
    assert (job.status, job.executions) == ("in_progress", ["r-1"])
    for until_text in (message["lockedUntil"], client.renew().json()["lockedUntil"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", until_text)
    answer = client.complete(outputs={"v": {"value": "1"}}, annotations=[{"message": "careful"}])
    assert answer.status_code == 200
    assert (job.conclusion, job.outputs, job.annotations) == ("success", {"v": "1"}, [{"message": "careful"}])
    assert github.state.runners == {}, "the registration of an ephemeral runner ends with its job"


@pytest.mark.parametrize(
    ("said", "concluded"), [("succeeded", "success"), ("failed", "failure"), ("canceled", "cancelled")]
)
def test_each_conclusion_has_githubs_word(github: GitHubEmulator, client: Client, said: str, concluded: str) -> None:
    job = queue(github, "true")
    client.take()
    client.complete(said)
    assert job.conclusion == concluded


def test_an_unknown_conclusion_is_refused(github: GitHubEmulator, client: Client) -> None:
    job = queue(github, "true")
    client.take()
    assert error_of(client.complete("fine"))[:2] == (422, "actions-run-service")
    assert job.status == "in_progress"


def test_a_job_of_another_runner_cannot_be_taken(github: GitHubEmulator, client: Client, http: httpx.Client) -> None:
    queue(github, "true")
    client.sign_in()
    client.open()
    request = json.loads(client.poll().json()["body"])
    other = Client.of(http, github.state.add_runner("orgs/acme", "r-2", GPU), github)
    other.sign_in()
    other.open()
    assert error_of(other.acquire(request))[:2] == (409, "actions-run-service")


def test_a_job_whose_answer_was_lost_can_be_taken_again_but_starts_once(github: GitHubEmulator, client: Client) -> None:
    events: list[str] = []
    github.state.on_event = lambda action, _job: events.append(action)
    job = queue(github, "true")
    client.sign_in()
    client.open()
    request = json.loads(client.poll().json()["body"])
    first, second = client.acquire(request).json(), client.acquire(request).json()
    assert first["jobId"] == second["jobId"]
    assert (job.executions, events) == (["r-1"], ["queued", "in_progress"])


def test_a_second_completion_changes_nothing(github: GitHubEmulator, client: Client) -> None:
    job = queue(github, "true")
    client.take()
    client.complete("succeeded")
    assert client.complete("failed").status_code == 200
    assert job.conclusion == "success"


@pytest.mark.parametrize("limits", [Limits(renewal=0.3)])
def test_a_job_that_is_not_renewed_fails_and_is_not_queued_again(github: GitHubEmulator, client: Client) -> None:
    job = queue(github, "true")
    client.take()
    time.sleep(0.35)
    github.state.tick()
    assert job.conclusion == "failure"
    assert job.executions == ["r-1"]
    assert error_of(client.renew())[:2] == (404, "actions-run-service")
    assert error_of(client.complete())[:2] == (404, "actions-run-service")
    assert job.conclusion == "failure"
    assert error_of(client.poll("Busy"))[2] == "RunnerSessionInvalid"


@pytest.mark.parametrize("limits", [Limits(renewal=0.6)])
def test_renewals_keep_a_job(github: GitHubEmulator, client: Client) -> None:
    job = queue(github, "true")
    client.take()
    begun = github.state.clock()
    while github.state.clock() < begun + 1.2:
        assert client.renew().status_code == 200
        github.state.tick()
    assert job.status == "in_progress"


def test_a_cancelled_job_is_announced_to_its_busy_runner(github: GitHubEmulator, client: Client) -> None:
    job = queue(github, "true")
    client.take()
    github.state.cancel_job(job)
    message = client.poll("Busy").json()
    assert message["messageType"] == "JobCancellation"
    assert json.loads(message["body"]) == {"jobId": client.ids["jobId"], "timeout": "00:05:00"}


def test_a_job_that_exceeds_its_timeout_is_cancelled_by_github(
    github: GitHubEmulator, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = a_job_of_steps("true")
    job = github.state.add_run("acme/web", a_run(spec)).jobs["build"]
    client.take()
    client.sign_in()
    now = github.state.clock()
    monkeypatch.setattr(github.state, "clock", lambda: now + 361 * 60)
    job.heard_at = now + 361 * 60
    client.sign_in()
    assert client.poll("Busy").json()["messageType"] == "JobCancellation"


@pytest.mark.parametrize("call", ["renewjob", "completejob"])
def test_a_jobs_token_is_good_for_its_job_only(
    github: GitHubEmulator, client: Client, http: httpx.Client, call: str
) -> None:
    queue(github, "true")
    client.take()
    queue(github, "true")
    other = Client.of(http, github.state.add_runner("orgs/acme", "r-2", GPU), github)
    other.take()
    answer = client.of_job(client.job_url + call, {**other.ids, "conclusion": "failed"})
    assert answer.status_code == 404
    client.endpoint["authorization"]["parameters"]["AccessToken"] = client.token
    assert client.renew().status_code == 401


# --- what the Worker reports ---


def upload(client: Client, call: str, name: str, content: bytes, **body: str) -> httpx.Response:
    url = client.twirp(RECEIVER + call, body).json()[name]
    assert "?" in url
    return client.http.put(url, content=content, headers={"x-ms-blob-type": "BlockBlob"})


def test_logs_summaries_and_steps_reach_the_job(github: GitHubEmulator, client: Client) -> None:
    job = queue(github, "true")
    client.take()
    text = "\ufeff2026-11-26T10:00:00.1234567Z first\n2026-11-26T10:00:01.1234567Z second\n".encode()
    assert upload(client, "GetJobLogsSignedBlobURL", "logs_url", text).status_code == 201
    assert upload(client, "GetStepLogsSignedBlobURL", "logs_url", text, step_backend_id="s").status_code == 201
    assert upload(client, "GetStepSummarySignedBlobURL", "summary_url", b"# ok", step_backend_id="s").is_success
    assert upload(client, "GetJobDiagLogsSignedBlobURL", "diag_logs_url", b"diag").is_success
    for kind in ("StepLogs", "JobLogs", "StepSummary"):
        assert client.twirp(f"{RECEIVER}Create{kind}Metadata", {"line_count": 2}).json() == {"ok": True}
    step = {"external_id": "s", "number": 1, "name": "Run true", "status": 3}
    assert client.twirp(STEPS, {"steps": [step], "change_order": 1}).json() == {"ok": True}
    assert client.twirp(STEPS, {"steps": [{"external_id": "s", "status": 6, "conclusion": 2}]}).json() == {"ok": True}
    assert job.log == "first\nsecond\n"
    assert job.step_logs == {"log s": "first\nsecond\n", "summary s": "# ok", "diagnostics ": "diag"}
    assert job.steps == {"s": {**step, "status": 6, "conclusion": 2}}


def test_a_long_log_is_uploaded_in_parts(github: GitHubEmulator, client: Client) -> None:
    job = queue(github, "true")
    client.take()
    url = client.twirp(f"{RECEIVER}GetJobLogsSignedBlobURL", {}).json()["logs_url"]
    client.http.put(url, content=b"", headers={"x-ms-blob-type": "AppendBlob"})
    for part in (b"one\n", b"two\n"):
        assert client.http.put(f"{url}&comp=appendblock&seal=true", content=part).status_code == 201
    assert job.log == "one\ntwo\n"


def test_uploads_need_a_signature_a_token_and_a_known_call(github: GitHubEmulator, client: Client) -> None:
    queue(github, "true")
    client.take()
    assert client.http.put(f"{github.url}/_blobs/job?sig=wrong", content=b"x").status_code == 403
    assert client.twirp(f"{RECEIVER}GetNothing", {}).status_code == 404
    url = client.twirp(f"{RECEIVER}GetJobLogsSignedBlobURL", {}).json()["logs_url"]
    assert client.http.put(url, content=b"x").status_code == 400
    results = client.message["variables"]["system.github.results_endpoint"]["value"]
    assert client.http.post(f"{results}twirp/{RECEIVER}GetJobLogsSignedBlobURL", json={}).status_code == 401


def test_the_live_log_comes_through_a_websocket(github: GitHubEmulator, client: Client) -> None:
    job = queue(github, "true")
    client.take()
    url = client.endpoint["data"]["FeedStreamUrl"]
    with connect(url, additional_headers=client.job_headers, proxy=None) as socket:
        for body in ("nonsense", json.dumps({"stepId": "s", "value": ["a", "b"], "startLine": 1, "count": 2})):
            socket.send(body)
        until(lambda: job.feed)
    assert job.feed == ["a", "b"]
    with pytest.raises(InvalidStatus), connect(url, proxy=None):
        pass


def test_checkout_is_an_action_that_gets_the_runs_commit_from_the_local_folder(
    github: GitHubEmulator, client: Client, tmp_path: Path
) -> None:
    repository, work = tmp_path / "repository", tmp_path / "work"
    repository.mkdir()
    work.mkdir()
    (repository / "file").write_text("of the run")
    commit_all(repository)
    sha = git(repository, "rev-parse", "HEAD").strip()
    (repository / "file").write_text("later")
    git(repository, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--all", "--quiet", "-m", "later")
    spec = a_job_of_steps({"uses": "actions/checkout@v5"})
    github.state.add_run("acme/web", a_run(spec), repository)
    context = unwrapped(client.take()["contextData"]["github"])
    action = yaml.safe_load((github.state.actions["actions/checkout"] / "action.yml").read_text())
    (step,) = action["runs"]["steps"]
    url = context["event"]["repository"]["clone_url"]
    variables = {"FOLDER": action["inputs"]["path"]["default"], "REPOSITORY": url}
    subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        cwd=work,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GITHUB_SHA": sha, **variables},
        check=True,
    )
    assert (work / "file").read_text() == "of the run"


def test_actions_come_from_local_folders(github: GitHubEmulator, client: Client, tmp_path: Any) -> None:
    (tmp_path / "action.yml").write_text("name: x\n")
    (tmp_path / ".git").mkdir()
    github.state.actions["acme/greet"] = tmp_path
    queue(github, "true")
    client.take()
    launch = client.message["variables"]["system.github.launch_endpoint"]["value"]
    url = f"{launch}actions/build/{client.ids['planId']}/jobs/{client.ids['jobId']}/runnerresolve/actions"
    found = client.of_job(url, {"actions": [{"action": "Acme/greet", "version": "v1", "path": ""}]}).json()
    resolved = found["actions"]["Acme/greet@v1"]
    assert (resolved["resolved_name"], len(resolved["resolved_sha"])) == ("Acme/greet", 40)
    packed = client.http.get(resolved["tar_url"])
    (tmp_path / "x.tgz").write_bytes(packed.content)
    with tarfile.open(tmp_path / "x.tgz") as archive:
        names = archive.getnames()
    assert {name.partition("/")[0] for name in names} == {"Acme-greet"}
    assert "Acme-greet/action.yml" in names
    assert not any("/.git" in name for name in names)
    answer = client.of_job(url, {"actions": [{"action": "no/body", "version": "v1", "path": ""}]})
    assert answer.status_code == 422
    assert "no/body@v1" in answer.json()["errors"]


# --- registration with a token ---


def register(http: httpx.Client, github: GitHubEmulator, token: str, **changed: Any) -> httpx.Response:
    numbers = rsa.generate_private_key(65537, 2048).public_key().public_numbers()
    modulus, exponent = (
        base64.b64encode(each.to_bytes(256 if each > 65537 else 3)).decode() for each in (numbers.n, numbers.e)
    )
    body = {
        "url": f"{github.url}/acme", "group_id": 1, "name": "r-9", "version": "2.338.0", "updates_disabled": True,
        "ephemeral": True, "labels": [{"name": "gpu", "type": "user"}],
        "public_key": f"<RSAKeyValue><Modulus>{modulus}</Modulus><Exponent>{exponent}</Exponent></RSAKeyValue>",
        **changed,
    }  # fmt: skip
    return remote(http, "POST", f"{github.api_url}/actions/runners/register", token, body)


def remote(http: httpx.Client, method: str, url: str, token: str, body: object = None) -> httpx.Response:
    return http.request(method, url, json=body, headers={"Authorization": f"RemoteAuth {token}"})


def test_a_registration_token_registers_a_runner(http: httpx.Client, github: GitHubEmulator) -> None:
    token, _ = github.state.registration_token("orgs/acme")
    announced = {"url": f"{github.url}/acme", "runner_event": "register"}
    answer = remote(http, "POST", f"{github.api_url}/actions/runner-registration", token, announced).json()
    assert (answer["use_v2_flow"], answer["token_schema"]) == (True, "OAuthAccessToken")
    assert answer["url"].startswith(github.url)
    groups = remote(http, "GET", f"{github.api_url}/orgs/acme/actions/runner-groups", token).json()
    assert groups["runner_groups"] == [{"id": 1, "name": "Default", "default": True, "is_hosted": False}]
    named = f"{github.api_url}/orgs/acme/actions/runners?name=r-9"
    assert remote(http, "GET", named, token).json() == {"total_count": 0, "runners": []}
    made = register(http, github, token)
    assert made.status_code == 201
    assert set(made.json()["authorization"]) == {"authorization_url", "server_url", "client_id"}
    (runner,) = github.state.runners.values()
    assert (runner.name, runner.labels, runner.ephemeral, runner.id) == ("r-9", ("gpu",), True, made.json()["id"])
    assert remote(http, "GET", named, token).json()["runners"] == [{"id": runner.id, "name": "r-9"}]


def test_a_name_is_registered_once_unless_it_is_replaced(http: httpx.Client, github: GitHubEmulator) -> None:
    token, _ = github.state.registration_token("orgs/acme")
    first = register(http, github, token).json()["id"]
    assert register(http, github, token).status_code == 409
    assert register(http, github, token, replace=True, runner_id=first).status_code == 201
    (runner,) = github.state.runners
    assert runner != first


@pytest.mark.parametrize("changed", [{"public_key": "<RSAKeyValue/>"}, {"group_id": 99}, {"name": ""}])
def test_an_invalid_registration_is_refused(http: httpx.Client, github: GitHubEmulator, changed: Any) -> None:
    token, _ = github.state.registration_token("orgs/acme")
    assert register(http, github, token, **changed).status_code == 422
    assert github.state.runners == {}


def test_a_registration_needs_a_token_of_its_target(http: httpx.Client, github: GitHubEmulator) -> None:
    token, _ = github.state.registration_token("repos/acme/web")
    assert register(http, github, token).status_code == 404
    assert register(http, github, token, url=f"{github.url}/acme/web").status_code == 201
    for path in ("orgs/acme/actions/runners?name=x", "orgs/acme/actions/runner-groups"):
        assert remote(http, "GET", f"{github.api_url}/{path}", token).status_code == 404


def test_the_rest_api_has_other_credentials_for_the_same_path(http: httpx.Client, github: GitHubEmulator) -> None:
    token, _ = github.state.registration_token("orgs/acme")
    url = f"{github.api_url}/orgs/acme/actions/runners"
    assert http.get(url, headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_a_body_that_is_no_json_object_is_refused(client: Client) -> None:
    client.sign_in()
    for content in (b"<html>", b"[]", b""):
        headers = {"Authorization": f"Bearer {client.token}"}
        assert client.http.post(f"{client.broker}session", content=content, headers=headers).status_code == 400


# --- the job message ---


def unwrapped(value: Any) -> Any:
    """Context data as JSON."""
    if not isinstance(value, dict):
        return value
    if value["t"] == 2:
        return {item["k"]: unwrapped(item["v"]) for item in value["d"]}
    return [unwrapped(each) for each in value["a"]]


def a_message(github: GitHubEmulator, client: Client, *steps: Any, **given: Any) -> dict[str, Any]:
    queue(github, *steps, **given)
    return client.take()


def test_the_message_has_the_parts_that_the_runner_needs(github: GitHubEmulator, client: Client) -> None:
    message = a_message(github, client, "true")
    assert message["messageType"] == "RunnerJobRequest"
    assert (message["jobDisplayName"], message["jobName"]) == ("build", "__default")
    assert (client.endpoint["name"], client.endpoint["authorization"]["scheme"]) == ("SystemVssConnection", "OAuth")
    claims = jwt.decode(client.job_headers["Authorization"][7:], options={"verify_signature": False})
    assert claims["orch_id"] == message["variables"]["system.orchestrationId"]["value"]
    assert " " not in claims["orch_id"]
    assert message["variables"]["system.github.token"]["isSecret"]
    assert message["variables"]["system.github.job"] == {"value": "build"}
    context = unwrapped(message["contextData"]["github"])
    assert (context["repository"], context["sha"], context["event_name"]) == ("acme/web", "a" * 40, "push")
    assert (context["ref"], context["ref_name"], context["ref_type"]) == ("refs/heads/main", "main", "branch")
    assert unwrapped(message["contextData"]["strategy"]) == {
        "fail-fast": True, "job-index": 0, "job-total": 1, "max-parallel": 1,
    }  # fmt: skip
    assert message["contextData"]["matrix"] is None
    assert message["fileTable"] == [".github/workflows/ci.yml"]


def test_every_key_of_a_step_is_in_the_message(github: GitHubEmulator, client: Client) -> None:
    step = {
        "id": "s", "name": "say ${{ github.sha }}", "if": "always()", "run": "echo", "shell": "bash",
        "working-directory": "src", "env": {"A": "${{ env.B }}", "C": 1}, "timeout-minutes": 3,
        "continue-on-error": True,
    }  # fmt: skip
    (found,) = a_message(github, client, step)["steps"]
    assert len(found.pop("id")) == 36
    assert found == {
        "type": "action", "name": "s", "contextName": "s", "reference": {"type": "script"}, "condition": "always()",
        "displayNameToken": {"type": 3, "expr": "format('say {0}', github.sha)"},
        "inputs": mapping(script="echo", shell="bash", workingDirectory="src"),
        "environment": mapping(A={"type": 3, "expr": "env.B"}, C=1),
        "timeoutInMinutes": 3, "continueOnError": True,
    }  # fmt: skip


def mapping(**items: Any) -> dict[str, Any]:
    return {"type": 2, "map": [{"Key": key, "Value": value} for key, value in items.items()]}


def test_actions_are_named_by_their_place(github: GitHubEmulator, client: Client) -> None:
    steps = ("./my/action", "actions/checkout@v4", "acme/tools/sub/dir@main")
    found = a_message(github, client, *({"uses": each, "with": {"a": "b"}} for each in steps), "true", "true")["steps"]
    assert [step["reference"] for step in found[:3]] == [
        {"type": "repository", "repositoryType": "self", "path": "./my/action"},
        {"type": "repository", "repositoryType": "GitHub", "name": "actions/checkout", "ref": "v4"},
        {"type": "repository", "repositoryType": "GitHub", "name": "acme/tools", "ref": "main", "path": "sub/dir"},
    ]
    assert found[0]["inputs"] == mapping(a="b")
    assert [step["contextName"] for step in found] == [
        "____my_action", "__actions_checkout", "__acme_tools_sub_dir", "__run", "__run_2",
    ]  # fmt: skip


def test_env_defaults_and_outputs_of_the_job_are_in_the_message(github: GitHubEmulator, client: Client) -> None:
    message = a_message(
        github, client, "true",
        env={"A": "b"}, defaults={"run": {"shell": "sh"}}, outputs={"v": "${{ steps.s.outputs.v }}"},
    )  # fmt: skip
    assert message["environmentVariables"] == [mapping(A="b")]
    assert message["defaults"] == [mapping(run=mapping(shell="sh"))]
    assert message["jobOutputs"] == mapping(v={"type": 3, "expr": "steps.s.outputs.v"})


def test_a_job_without_them_has_none(github: GitHubEmulator, client: Client) -> None:
    message = a_message(github, client, "true")
    assert (message["environmentVariables"], message["defaults"], message["jobOutputs"]) == ([], [], None)


def test_secrets_are_variables_and_masked(github: GitHubEmulator, client: Client) -> None:
    github.state.secrets["acme/web"]["KEY"] = "p.w"
    message = a_message(github, client, "true")
    assert message["variables"]["KEY"] == {"value": "p.w", "isSecret": True}
    assert message["mask"] == [{"type": "regex", "value": r"p\.w"}]


def test_results_of_needed_jobs_the_matrix_and_inputs_are_contexts(github: GitHubEmulator, client: Client) -> None:
    def message(_needs: Mapping[str, JobResult]) -> Mapping[str, object]:
        on = {"workflow_dispatch": {"inputs": {"level": {"default": "high"}, "bare": None}}}
        return {
            "workflow": {"name": "n", "on": on, "jobs": {"build": {"steps": []}}}, "job": "build",
            "event": "workflow_dispatch", "needs": {"a": {"result": "failure", "outputs": {"x": "y"}}},
            "matrix": {"v": [1, {"w": None}]},
        }  # fmt: skip

    github.state.add_run("acme/web", a_run(JobSpec(key="build", name="b", labels=GPU, message=message)))
    contexts = {name: unwrapped(value) for name, value in client.take()["contextData"].items()}
    assert contexts["needs"] == {"a": {"result": "failure", "outputs": {"x": "y"}}}
    assert contexts["matrix"] == {"v": [1, {"w": None}]}
    assert contexts["inputs"] == {"level": "high", "bare": ""}
    assert contexts["github"]["workflow"] == "n"


def test_a_jit_configuration_of_the_rest_api_is_the_same(github: GitHubEmulator, client: Client) -> None:
    github.access.add_pat("p")
    body = {"name": "r-7", "labels": ["gpu"], "runner_group_id": 1}
    url = f"{github.api_url}/orgs/acme/actions/runners/generate-jitconfig"
    made = client.http.post(url, json=body, headers={"Authorization": "Bearer p"}).json()
    assert Client(client.http, files_of(made["encoded_jit_config"])).sign_in().status_code == 200
