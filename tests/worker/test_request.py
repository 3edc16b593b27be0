"""What a request's input says, and which line refuses it when it cannot work."""

import base64
import json
import subprocess
from typing import Any

import pytest

from bridge.core.worker import Credentials, Reason
from runner_image.failure import Failure
from runner_image.request import RunnerRequest, parse

JIT = base64.b64encode(json.dumps({".runner": "e30=", ".credentials": "e30="}).encode()).decode()
URL = "https://github.com/acme"


def jit(files: object) -> str:
    """A JIT configuration of these files."""
    return base64.b64encode(json.dumps(files).encode()).decode()


def nested(depth: int) -> object:
    value: object = None
    for _ in range(depth):
        value = [value]
    return value


def parsed(given: object, **environment: str) -> RunnerRequest:
    return parse(given, environment)


@pytest.mark.parametrize(
    ("given", "environment", "mode", "secret"),
    [
        ({"jit_config": JIT}, {}, Credentials.JIT, JIT),
        ({"registration_token": "AAA", "runner_url": URL}, {}, Credentials.REGISTRATION, "AAA"),
        ({"github_pat": "ghp_x", "github_org": "acme"}, {}, Credentials.PAT, "ghp_x"),
        ({"github_org": "acme"}, {"GITHUB_PAT": "ghp_env"}, Credentials.PAT, "ghp_env"),
        ({}, {"GITHUB_PAT": "ghp_env", "GITHUB_ORG": "acme"}, Credentials.PAT, "ghp_env"),
        ({"runner_url": URL}, {"GITHUB_APP_PRIVATE_KEY": "PEM"}, Credentials.APP, None),
        (
            {"mode": "app", "runner_url": URL, "github_pat": "x"},
            {"GITHUB_APP_PRIVATE_KEY": "PEM"},
            Credentials.APP,
            None,
        ),
    ],
)
def test_the_mode_follows_from_what_is_given(
    given: dict[str, Any], environment: dict[str, str], mode: Credentials, secret: str | None
) -> None:
    request = parse(given, environment)
    assert (request.mode, request.secret) == (mode, secret)
    assert secret is None or secret not in repr(request)


def test_what_is_left_out_has_the_documented_default() -> None:
    request = parsed({"github_pat": "ghp_x", "github_org": "acme"})
    assert (request.name, request.labels) == ("serverless-runpod-runner", ("runpod", "serverless-runpod-runner"))
    assert (request.url, request.target, request.group) == (URL, "orgs/acme", None)
    assert (request.job_timeout, request.idle_timeout, request.not_after) == (21600, 300, None)
    assert parsed({"jit_config": JIT}, RUNPOD_POD_ID="pod-7").labels == ("runpod", "pod-7")


@pytest.mark.parametrize(("given", "limit"), [({}, None), ({"not_after": None}, None), ({"not_after": 0}, 0.0)])
def test_only_a_request_without_a_limit_may_start_at_any_time(given: dict[str, Any], limit: float | None) -> None:
    assert parsed({"jit_config": JIT, **given}).not_after == limit


def test_a_name_with_a_comma_needs_labels_of_its_own() -> None:
    assert parsed({"jit_config": JIT, "runner_name": "a,b", "runner_labels": ["gpu"]}).name == "a,b"


def test_every_other_key_is_the_jobs() -> None:
    own = {"dataset": "m'n\"ist\n", "nested": {"a": [1, None]}}
    assert json.loads(parsed({"jit_config": JIT, "mode": "jit", **own}).job_input) == own


@pytest.mark.parametrize("blanks", ["{} ", "\u00a0{}\u00a0", "{}\r\n"])
def test_blanks_around_a_credential_are_left_out(blanks: str) -> None:
    pat = blanks.format("ghp_x")
    assert parsed({"github_pat": pat, "github_org": "acme"}).secret == "ghp_x"
    assert parsed({"github_org": "acme"}, GITHUB_PAT=pat).secret == "ghp_x"
    assert parsed({"jit_config": blanks.format(JIT)}).secret == JIT


def test_a_credential_of_the_endpoint_that_cannot_be_one_is_a_matter_of_configuration() -> None:
    with pytest.raises(Failure, match=r"GITHUB_PAT: holds what no credential of GitHub's does") as refused:
        parsed({"github_org": "acme"}, GITHUB_PAT="ghp_\u00e4")
    assert refused.value.reason is Reason.CONFIGURATION_FAILED


def test_what_the_kernel_takes_as_one_variable_is_the_limit_of_a_jobs_input() -> None:
    room = 128 * 1024 - len('JOB_INPUT={"data": ""}') - 1
    fits = parsed({"jit_config": JIT, "data": "x" * room})
    subprocess.run(["true"], env={"JOB_INPUT": fits.job_input}, check=True)
    with pytest.raises(Failure, match="input: is 131062 bytes long; at most 131061 fit into JOB_INPUT"):
        parsed({"jit_config": JIT, "data": "x" * (room + 1)})


@pytest.mark.parametrize(
    ("url", "api_url", "target"),
    [
        ("https://github.com/acme", "", "orgs/acme"),
        ("https://github.com/acme/web/", "", "repos/acme/web"),
        ("https://GitHub.com/acme", "", "orgs/acme"),
        ("https://acme.ghe.com/acme", "https://api.acme.ghe.com", "orgs/acme"),
        ("https://ghes.example:8443/acme/web.js", "https://ghes.example:8443/api/v3", "repos/acme/web.js"),
        ("http://127.0.0.1:4000/acme", "http://127.0.0.1:4000/api/v3", "orgs/acme"),
    ],
)
def test_a_runner_registers_at_an_organisation_or_a_repository(url: str, api_url: str, target: str) -> None:
    assert parsed({"registration_token": "A", "runner_url": url}, GITHUB_API_URL=api_url).target == target


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("text", "input: must be a JSON object, not str"),
        ([1], "input: must be a JSON object, not list"),
        (None, "input: must be a JSON object, not NoneType"),
        ({}, "jit_config: missing; send it, registration_token or github_pat, or set GITHUB_PAT on the endpoint"),
        ({"mode": "magic"}, "mode: must be one of jit, registration, app, pat"),
        ({"mode": "jit"}, "jit_config: missing, or not a text"),
        ({"mode": ["jit"]}, "mode: must be one of jit, registration, app, pat"),
        ({"jit_config": "%%%"}, "jit_config: is not the base64 of a JSON object"),
        ({"jit_config": "aGVsbG8="}, "jit_config: is not the base64 of a JSON object"),
        ({"jit_config": jit({"../../x": "e30="})}, "jit_config: may hold only the files .credentials, "),
        (
            {"jit_config": jit({".runner": "e30=", "/etc/x": "e30="})},
            "jit_config: may hold only the files .credentials, ",
        ),
        (
            {"jit_config": jit({".runner": "e30=", ".env": "e30="})},
            "jit_config: may hold only the files .credentials, ",
        ),
        ({"jit_config": jit({".Runner": "e30="})}, "jit_config: may hold only the files .credentials, "),
        ({"jit_config": jit({".runner": {"a": 1}})}, "jit_config: may hold only the files .credentials, "),
        ({"jit_config": jit({".runner": "{}"})}, "jit_config: may hold only the files .credentials, "),
        ({"jit_config": 7}, "jit_config: missing, or not a text"),
        ({"jit_config": "[" * 100_000}, "jit_config: is not the base64 of a JSON object"),
        ({"jit_config": "e30=" * 50_000}, "jit_config: is 200000 bytes long; at most"),
        ({"jit_config": JIT, "nested": nested(100_000)}, "input: is nested too deeply"),
        ({"registration_token": "A\0B", "runner_url": URL}, "registration_token: holds what no credential"),
        ({"registration_token": "\ud800AB", "runner_url": URL}, "registration_token: holds what no credential"),
        ({"registration_token": "A B", "runner_url": URL}, "registration_token: holds what no credential"),
        ({"registration_token": " ", "runner_url": URL}, "registration_token: missing, or not a text"),
        ({"github_pat": "ghp_\u00e4", "github_org": "acme"}, "github_pat: holds what no credential"),
        ({"registration_token": "A"}, "runner_url: missing; send it, or github_org"),
        ({"registration_token": "A", "runner_url": "http://github.com/acme"}, "runner_url: must start with https://"),
        ({"registration_token": "A", "runner_url": "https://github.com"}, "runner_url: must be https://HOST/"),
        ({"registration_token": "A", "runner_url": "https://github.com/a/b/c"}, "runner_url: must be https://HOST/"),
        ({"registration_token": "A", "runner_url": "https://x@github.com/a"}, "runner_url: must be https://HOST/"),
        ({"registration_token": "A", "runner_url": "https://github.com/a/.."}, "runner_url: must be https://HOST/"),
        ({"registration_token": "A", "runner_url": "https://github.com/a?b"}, "runner_url: must be https://HOST/"),
        ({"registration_token": "A", "runner_url": "https://@github.com/a"}, "runner_url: must be https://HOST/"),
        ({"registration_token": "A", "runner_url": "https:///acme"}, "runner_url: must be https://HOST/"),
        ({"registration_token": "A", "runner_url": "https://[bad/acme"}, "runner_url: must be https://HOST/"),
        ({"registration_token": "A", "runner_url": "https://github.com:0/a"}, "runner_url: must be https://HOST/"),
        ({"registration_token": "A", "runner_url": "https://github.com:99999/a"}, "runner_url: must be https://HOST/"),
        ({"registration_token": "A", "runner_url": "http://127.0.0.1:1/a"}, "runner_url: 127.0.0.1:1 is not this"),
        ({"registration_token": "A", "github_org": "a b"}, "github_org: must be an organisation's name alone"),
        ({"registration_token": "A", "github_org": "acme/web"}, "github_org: must be an organisation's name alone"),
        ({"jit_config": JIT, "runner_name": "x" * 65}, "runner_name: is 65 characters long; at most 64"),
        ({"jit_config": JIT, "runner_name": "a\nb"}, "runner_name: must be a text of one line"),
        ({"jit_config": JIT, "runner_name": "a,b"}, "runner_name: is the runner's label too, and so without commas"),
        ({"jit_config": JIT, "runner_name": "--replace"}, "runner_name: must not start with -"),
        ({"jit_config": JIT, "runner_group": "--replace"}, "runner_group: must not start with -"),
        ({"jit_config": JIT, "runner_labels": ["--replace"]}, "runner_labels: none may start with -"),
        ({"jit_config": JIT, "runner_labels": "gpu"}, "runner_labels: must be a list of 1 to 100 labels"),
        ({"jit_config": JIT, "runner_labels": []}, "runner_labels: must be a list of 1 to 100 labels"),
        ({"jit_config": JIT, "runner_labels": ["a,b"]}, "runner_labels: each must be a text of one line"),
        ({"jit_config": JIT, "runner_labels": ["x" * 300]}, "runner_labels: one is 300 characters long; at most"),
        ({"jit_config": JIT, "job_timeout": "6h"}, "job_timeout: must be a number of seconds"),
        ({"jit_config": JIT, "job_timeout": 10**400}, "job_timeout: must be a number of seconds"),
        ({"jit_config": JIT, "job_timeout": -1}, "job_timeout: must be a number of seconds"),
        ({"jit_config": JIT, "idle_timeout": float("nan")}, "idle_timeout: must be a number of seconds"),
        ({"jit_config": JIT, "not_after": True}, "not_after: must be a number of seconds"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(given: object, line: str) -> None:
    with pytest.raises(Failure) as refused:
        parsed(given)
    assert refused.value.reason is Reason.BAD_INPUT
    assert refused.value.detail.startswith(line)


@pytest.mark.parametrize(
    ("given", "environment"),
    [
        ({}, {"GITHUB_PAT": "ghp_env"}),
        ({}, {"GITHUB_APP_PRIVATE_KEY": "PEM"}),
        ({"github_pat": "ghp_x"}, {}),
        ({"registration_token": "A"}, {}),
    ],
)
def test_a_runner_registers_at_no_host_that_only_a_request_names(
    given: dict[str, Any], environment: dict[str, str]
) -> None:
    evil = {"runner_url": "https://evil.example/acme", **given}
    with pytest.raises(Failure, match=r"evil\.example is not this endpoint's GitHub") as refused:
        parse(evil, environment)
    assert refused.value.reason is Reason.BAD_INPUT
    allowed = environment | {"GITHUB_API_URL": "https://evil.example/api/v3"}
    assert parse(evil, allowed).target == "orgs/acme"


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"GITHUB_ORG": "acme/web"}, "GITHUB_ORG: must be an organisation's name alone"),
        ({"GITHUB_ORG": "acme", "GITHUB_API_URL": "https://[bad"}, "GITHUB_API_URL: must be a URL such as"),
        ({"GITHUB_ORG": "acme", "GITHUB_API_URL": "ghes.example"}, "GITHUB_API_URL: must be a URL such as"),
    ],
)
def test_an_endpoint_that_is_set_up_wrongly_blames_its_own_variable(environment: dict[str, str], line: str) -> None:
    with pytest.raises(Failure, match=line) as refused:
        parse({"github_pat": "ghp_x"}, environment)
    assert refused.value.reason is Reason.CONFIGURATION_FAILED
