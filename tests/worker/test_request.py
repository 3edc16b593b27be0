"""How a request's input is parsed, and the error for each kind of invalid input."""

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


ODD_SIZES: tuple[object, ...] = (0, -1, True, "50", float("nan"), float("inf"), 10**400, [], {})


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
def test_the_mode_follows_from_the_input_and_the_environment(
    given: dict[str, Any], environment: dict[str, str], mode: Credentials, secret: str | None
) -> None:
    request = parse(given, environment)
    assert (request.mode, request.secret) == (mode, secret)
    assert secret is None or secret not in repr(request)


def test_missing_keys_have_the_documented_defaults() -> None:
    request = parsed({"github_pat": "ghp_x", "github_org": "acme"})
    assert (request.name, request.labels) == ("serverless-runpod-runner", ("runpod", "serverless-runpod-runner"))
    assert (request.url, request.target, request.group) == (URL, "orgs/acme", None)
    assert (request.job_timeout, request.idle_timeout, request.not_after) == (21600, 300, None)
    assert parsed({"jit_config": JIT}, RUNPOD_POD_ID="pod-7").labels == ("runpod", "pod-7")


@pytest.mark.parametrize(("given", "size"), [({}, None), ({"cache_gb": None}, None), ({"cache_gb": 50}, 50.0)])
def test_only_a_request_with_a_size_has_a_cache(given: dict[str, Any], size: float | None) -> None:
    assert parsed({"jit_config": JIT, **given}).cache_gb == size


@pytest.mark.parametrize(("given", "limit"), [({}, None), ({"not_after": None}, None), ({"not_after": 0}, 0.0)])
def test_only_a_request_without_not_after_may_start_at_any_time(given: dict[str, Any], limit: float | None) -> None:
    assert parsed({"jit_config": JIT, **given}).not_after == limit


def test_a_name_with_a_comma_needs_runner_labels() -> None:
    assert parsed({"jit_config": JIT, "runner_name": "a,b", "runner_labels": ["gpu"]}).name == "a,b"


def test_all_other_keys_are_for_the_job() -> None:
    own = {"dataset": "m'n\"ist\n", "nested": {"a": [1, None]}}
    assert json.loads(parsed({"jit_config": JIT, "mode": "jit", **own}).job_input) == own


@pytest.mark.parametrize("blanks", ["{} ", "\u00a0{}\u00a0", "{}\r\n"])
def test_whitespace_around_a_credential_is_stripped(blanks: str) -> None:
    pat = blanks.format("ghp_x")
    assert parsed({"github_pat": pat, "github_org": "acme"}).secret == "ghp_x"
    assert parsed({"github_org": "acme"}, GITHUB_PAT=pat).secret == "ghp_x"
    assert parsed({"jit_config": blanks.format(JIT)}).secret == JIT


def test_an_invalid_credential_of_the_endpoint_is_a_configuration_error() -> None:
    with pytest.raises(Failure, match=r"GITHUB_PAT: contains characters that are in no GitHub credential") as refused:
        parsed({"github_org": "acme"}, GITHUB_PAT="ghp_\u00e4")
    assert refused.value.reason is Reason.CONFIGURATION_FAILED


def test_a_jobs_input_is_limited_to_the_kernels_limit_for_a_variable() -> None:
    room = 128 * 1024 - len('JOB_INPUT={"data": ""}') - 1
    fits = parsed({"jit_config": JIT, "data": "x" * room})
    subprocess.run(["true"], env={"JOB_INPUT": fits.job_input}, check=True)
    with pytest.raises(Failure, match="input: has 131062 bytes; JOB_INPUT has room for 131061"):
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
        ({"mode": "jit"}, "jit_config: missing, or not a string"),
        ({"mode": ["jit"]}, "mode: must be one of jit, registration, app, pat"),
        ({"jit_config": "%%%"}, "jit_config: is not a JSON object in base64"),
        ({"jit_config": "aGVsbG8="}, "jit_config: is not a JSON object in base64"),
        ({"jit_config": jit({"../../x": "e30="})}, "jit_config: may contain only the files .credentials, "),
        (
            {"jit_config": jit({".runner": "e30=", "/etc/x": "e30="})},
            "jit_config: may contain only the files .credentials, ",
        ),
        (
            {"jit_config": jit({".runner": "e30=", ".env": "e30="})},
            "jit_config: may contain only the files .credentials, ",
        ),
        ({"jit_config": jit({".Runner": "e30="})}, "jit_config: may contain only the files .credentials, "),
        ({"jit_config": jit({".runner": {"a": 1}})}, "jit_config: may contain only the files .credentials, "),
        ({"jit_config": jit({".runner": "{}"})}, "jit_config: may contain only the files .credentials, "),
        ({"jit_config": 7}, "jit_config: missing, or not a string"),
        ({"jit_config": "[" * 100_000}, "jit_config: is not a JSON object in base64"),
        ({"jit_config": "e30=" * 50_000}, "jit_config: has 200000 bytes; "),
        ({"jit_config": JIT, "nested": nested(100_000)}, "input: is nested too deeply"),
        ({"registration_token": "A\0B", "runner_url": URL}, "registration_token: contains characters that"),
        ({"registration_token": "\ud800AB", "runner_url": URL}, "registration_token: contains characters that"),
        ({"registration_token": "A B", "runner_url": URL}, "registration_token: contains characters that"),
        ({"registration_token": " ", "runner_url": URL}, "registration_token: missing, or not a string"),
        ({"github_pat": "ghp_\u00e4", "github_org": "acme"}, "github_pat: contains characters that"),
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
        ({"registration_token": "A", "github_org": "a b"}, "github_org: must be only the name of an organisation"),
        ({"registration_token": "A", "github_org": "acme/web"}, "github_org: must be only the name of an organisation"),
        ({"jit_config": JIT, "runner_name": "x" * 65}, "runner_name: has 65 characters; the limit is 64"),
        ({"jit_config": JIT, "runner_name": "a\nb"}, "runner_name: must be a string of one line"),
        ({"jit_config": JIT, "runner_name": "a,b"}, "runner_name: must not contain commas, because it is also a label"),
        ({"jit_config": JIT, "runner_name": "--replace"}, "runner_name: must not start with -"),
        ({"jit_config": JIT, "runner_group": "--replace"}, "runner_group: must not start with -"),
        ({"jit_config": JIT, "runner_labels": ["--replace"]}, "runner_labels: no label may start with -"),
        ({"jit_config": JIT, "runner_labels": "gpu"}, "runner_labels: must be a list of 1 to 100 labels"),
        ({"jit_config": JIT, "runner_labels": []}, "runner_labels: must be a list of 1 to 100 labels"),
        ({"jit_config": JIT, "runner_labels": ["a,b"]}, "runner_labels: each label must be a string of one line"),
        ({"jit_config": JIT, "runner_labels": ["x" * 300]}, "runner_labels: a label has 300 characters; the limit is"),
        ({"jit_config": JIT, "job_timeout": "6h"}, "job_timeout: must be a number of seconds"),
        ({"jit_config": JIT, "job_timeout": 10**400}, "job_timeout: must be a number of seconds"),
        ({"jit_config": JIT, "job_timeout": -1}, "job_timeout: must be a number of seconds"),
        ({"jit_config": JIT, "idle_timeout": float("nan")}, "idle_timeout: must be a number of seconds"),
        ({"jit_config": JIT, "not_after": True}, "not_after: must be a number of seconds"),
        *(({"jit_config": JIT, "cache_gb": odd}, "cache_gb: must be a number of GB, above 0") for odd in ODD_SIZES),
    ],
)
def test_invalid_input_is_refused_with_one_line(given: object, line: str) -> None:
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
def test_a_runner_does_not_register_at_a_host_that_only_the_request_names(
    given: dict[str, Any], environment: dict[str, str]
) -> None:
    evil = {"runner_url": "https://evil.example/acme", **given}
    with pytest.raises(Failure, match=r"evil\.example is not this endpoint's GitHub host") as refused:
        parse(evil, environment)
    assert refused.value.reason is Reason.BAD_INPUT
    allowed = environment | {"GITHUB_API_URL": "https://evil.example/api/v3"}
    assert parse(evil, allowed).target == "orgs/acme"


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"GITHUB_ORG": "acme/web"}, "GITHUB_ORG: must be only the name of an organisation"),
        ({"GITHUB_ORG": "acme", "GITHUB_API_URL": "https://[bad"}, "GITHUB_API_URL: must be a URL such as"),
        ({"GITHUB_ORG": "acme", "GITHUB_API_URL": "ghes.example"}, "GITHUB_API_URL: must be a URL such as"),
    ],
)
def test_an_error_in_the_endpoints_variables_names_the_variable(environment: dict[str, str], line: str) -> None:
    with pytest.raises(Failure, match=line) as refused:
        parse({"github_pat": "ghp_x"}, environment)
    assert refused.value.reason is Reason.CONFIGURATION_FAILED
