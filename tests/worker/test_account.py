"""The user that the runner runs as, and when a worker with a GitHub key refuses to run jobs."""

import pwd

import pytest

from bridge.core.worker import Credentials, Reason
from runner_image.account import refuse_exposed_keys, runner_account
from runner_image.failure import Failure

IMAGE = {"RUNNER_USER": "runner"}


ROOT = 0


def test_in_the_image_the_runner_has_its_own_account() -> None:
    account = runner_account({"RUNNER_USER": "nobody"}, ROOT)
    assert account is not None
    assert (account.uid, account.gid) == pwd.getpwnam("nobody")[2:4]
    assert (account.variables["USER"], account.variables["HOME"]) == ("nobody", str(account.home))


@pytest.mark.parametrize(
    "environment", [{}, {"RUNNER_USER": ""}, {"RUNNER_USER": "nobody", "RUNNER_ALLOW_RUNASROOT": "1"}]
)
def test_outside_the_image_or_on_request_it_runs_as_the_workers_user(environment: dict[str, str]) -> None:
    assert runner_account(environment, ROOT) is None


def test_a_worker_that_is_not_root_runs_it_as_its_own_user() -> None:
    assert runner_account({"RUNNER_USER": "nobody"}, 1000) is None


@pytest.mark.parametrize("name", ["no-such-user", "root"])
def test_a_missing_user_and_root_are_refused(name: str) -> None:
    with pytest.raises(Failure, match="RUNNER_USER: ") as refused:
        runner_account({"RUNNER_USER": name}, ROOT)
    assert refused.value.reason is Reason.CONFIGURATION_FAILED


@pytest.mark.parametrize(
    ("mode", "environment", "sudo", "key"),
    [
        (Credentials.APP, {"GITHUB_APP_PRIVATE_KEY": "PEM"}, True, "GITHUB_APP_PRIVATE_KEY"),
        (Credentials.PAT, {"GITHUB_PAT": "ghp_x"}, True, "GITHUB_PAT"),
        (Credentials.PAT, {}, True, "github_pat"),
        (Credentials.JIT, {"GITHUB_PAT": "ghp_x"}, True, "GITHUB_PAT"),
        (Credentials.PAT, {"RUNNER_ALLOW_RUNASROOT": "1"}, False, "github_pat"),
    ],
)
def test_a_key_that_any_job_could_read_is_refused(
    mode: Credentials, environment: dict[str, str], sudo: bool, key: str
) -> None:
    with pytest.raises(Failure) as refused:
        refuse_exposed_keys(mode, {**IMAGE, **environment}, ROOT, sudo=sudo)
    assert refused.value.reason is Reason.CONFIGURATION_FAILED
    assert refused.value.detail.startswith(f"{key}: any job could read it")
    assert "ghp_x" not in refused.value.detail
    refuse_exposed_keys(mode, {**IMAGE, **environment, "RUNNER_ALLOW_EXPOSED_KEYS": "1"}, ROOT, sudo=sudo)
    refuse_exposed_keys(mode, environment, ROOT, sudo=sudo)


@pytest.mark.parametrize("mode", Credentials)
def test_without_sudo_every_mode_is_accepted(mode: Credentials) -> None:
    keys = {"GITHUB_PAT": "ghp_x", "GITHUB_APP_PRIVATE_KEY": "PEM"}
    refuse_exposed_keys(mode, {**IMAGE, **keys}, ROOT, sudo=False)


@pytest.mark.parametrize("mode", [Credentials.JIT, Credentials.REGISTRATION])
def test_with_sudo_a_worker_without_a_key_is_accepted(mode: Credentials) -> None:
    refuse_exposed_keys(mode, IMAGE, ROOT, sudo=True)
