"""Which variables of the worker steps get, and how secrets are masked."""

import base64
import json

import pytest

from runner_image.environment import runner_environment
from runner_image.masking import MASK, Masker

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIabcdefghij\nKLMNOPQRSTUVW\n-----END RSA PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    "name",
    [
        *("GITHUB_PAT", "GITHUB_APP_PRIVATE_KEY", "GITHUB_APP_ID", "GITHUB_TOKEN", "GITHUB_ORG"),
        *("RUNPOD_AI_API_KEY", "RUNPOD_API_KEY", "RUNPOD_WEBHOOK_GET_JOB", "RUNPOD_WEBHOOK_PING", "RUNPOD_SECRET_x"),
        *("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "ACTIONS_RUNNER_INPUT_TOKEN", "ACTIONS_RUNNER_INPUT_JITCONFIG"),
        *("NVIDIA_API_KEY", "NV_API_KEY", "CUDA_TOKEN", "NCCL_SECRET", "DOTNET_PASSWORD", "LC_token", "NV_KEY_FILE"),
        *("LD_PRELOAD", "PYTHONPATH", "BASH_ENV", "PATH2"),
    ],
)
def test_other_variables_do_not_reach_steps(name: str) -> None:
    assert name not in runner_environment({name: "secret"}, "{}")


@pytest.mark.parametrize(
    "name",
    [
        *("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "http_proxy", "HTTPS_PROXY", "SSL_CERT_FILE"),
        *("NVIDIA_VISIBLE_DEVICES", "CUDA_HOME", "LD_LIBRARY_PATH", "RUNPOD_POD_ID", "RUNPOD_ENDPOINT_ID"),
        *("RUNNER_ALLOW_RUNASROOT", "RUNNER_TRACE_CONTEXT", "ACTIONS_RUNNER_HOOK_JOB_STARTED", "ImageOS"),
    ],
)
def test_variables_that_jobs_rely_on_reach_steps(name: str) -> None:
    assert runner_environment({name: "value"}, "{}")[name] == "value"


def test_every_form_of_a_secret_is_masked() -> None:
    inner = base64.b64encode(b'{"credential": "hunter2hunter2"}').decode()
    jit = base64.b64encode(json.dumps({".credentials": inner}).encode()).decode()
    masker = Masker(["AABBCCDDEE", PEM, jit, None, ""])
    encoded = base64.b64encode(b"AABBCCDDEE").decode()
    for text in ("AABBCCDDEE", PEM, "KLMNOPQRSTUVW", jit, inner, encoded, "ghs_123.abc-DEF_x", "github_pat_11AA_x"):
        assert masker.mask(f"before {text} after") == f"before {MASK} after"
    assert masker.mask("\x1b[31mghs_123abc\x1b[0m") == f"\x1b[31m{MASK}\x1b[0m"


@pytest.mark.parametrize(
    "given",
    [
        base64.b64encode(PEM.encode()).decode(),
        base64.encodebytes(PEM.encode()).decode(),
        PEM.replace("\n", "\\n"),
        PEM.replace("\n", "\r\n"),
        PEM.replace("\n", "\u00a0\n"),
    ],
)
def test_the_lines_of_a_key_are_masked_in_every_format_of_the_key(given: str) -> None:
    assert Masker([given]).mask("before KLMNOPQRSTUVW after") == f"before {MASK} after"


def test_a_secret_is_masked_despite_whitespace_around_it() -> None:
    assert Masker(["AABBCCDDEE\u00a0\n"]).mask("token AABBCCDDEE") == f"token {MASK}"


@pytest.mark.parametrize("odd", ["\ud800abcdef", "\udcff/actions", base64.b64encode(b"[" * 100_000).decode()])
def test_a_secret_can_be_any_string(odd: str) -> None:
    assert Masker([odd]).mask(f"before {odd} after") == f"before {MASK} after"


def test_every_string_in_a_json_value_is_masked() -> None:
    value = {"job": 'say "hi" to', "labels": ["a", 'say "hi" to'], "seconds": {"job": 1.5}, "exit_code": None}
    masked = {"job": MASK, "labels": ["a", MASK], "seconds": {"job": 1.5}, "exit_code": None}
    assert Masker(['say "hi" to']).masked(value) == masked


def test_a_longer_secret_is_masked_before_a_secret_inside_it() -> None:
    assert Masker(["secret", "secret-and-more"]).mask("secret-and-more") == MASK


def test_other_text_is_not_changed() -> None:
    assert Masker(["s3cr3t!"]).mask("Running job: build") == "Running job: build"
