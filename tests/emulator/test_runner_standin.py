"""The runner stand-in has the command line, output, exit codes, files and signals of the real runner."""

import json
import os
import re
import signal
import stat
from pathlib import Path

import pytest

from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.runner import install
from tests.support.background import until
from tests.support.runners import TIME, Installed

FILES = (".runner", ".credentials", ".credentials_rsaparams")


def assert_lines(text: str, *patterns: str) -> None:
    """Assert that the text has lines that match, in this order."""
    assert re.search(r"\n(.*\n)*?".join(f"^{pattern}$" for pattern in patterns), text, re.MULTILINE), text


def is_configured(standin: Installed) -> bool:
    return any((standin.root / name).exists() for name in FILES)


# --- config.sh ---


@pytest.mark.parametrize("program", ["config.sh", "bin/Runner.Listener"])
def test_version_prints_only_the_version(standin: Installed, program: str) -> None:
    done = standin.run(program, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, "2.338.0\n", "")


def test_another_version_can_be_installed(standin: Installed, tmp_path: Path) -> None:
    install(tmp_path / "old", version="2.300.0")
    old = Installed(tmp_path / "old", standin.github, standin.home)
    assert old.run("config.sh", "--version").stdout == "2.300.0\n"


def test_configuring_registers_the_runner_and_writes_its_files(standin: Installed) -> None:
    done = standin.configure("--ephemeral", "--disableupdate", "--labels", "runpod,GPU,runpod", "--work", "w")
    assert done.returncode == 0, done.stderr
    assert_lines(done.stdout, "√ Connected to GitHub", "√ Runner successfully added", r"√ Settings Saved\.")
    runner = standin.runner()
    assert (runner.name, runner.ephemeral, runner.target) == ("r-1", True, "orgs/acme")
    assert runner.labels[:2] == ("self-hosted", "Linux")
    assert runner.labels[3:] == ("runpod", "GPU")
    assert json.loads((standin.root / ".runner").read_text())["workFolder"] == "w"
    assert all((standin.root / name).is_file() for name in FILES)
    assert stat.S_IMODE((standin.root / ".credentials_rsaparams").stat().st_mode) == 0o600


def test_default_labels_can_be_left_out(standin: Installed) -> None:
    assert standin.configure("--no-default-labels", "--labels", "a,b").returncode == 0
    assert standin.runner().labels == ("a", "b")


@pytest.mark.parametrize("labels", [(), ("--labels", "x" * 257)])
def test_no_labels_and_overlong_ones_are_refused(standin: Installed, labels: tuple[str, ...]) -> None:
    done = standin.configure("--no-default-labels", *labels)
    assert (done.returncode, standin.github.state.runners) == (1, {})
    assert "labels" in done.stderr


def test_every_argument_may_come_from_the_environment(standin: Installed) -> None:
    token, _ = standin.github.state.registration_token("orgs/acme")
    given = {"URL": f"{standin.github.url}/acme", "TOKEN": token, "NAME": "r-2", "EPHEMERAL": "true", "REPLACE": "yes"}
    done = standin.run("config.sh", **{f"ACTIONS_RUNNER_INPUT_{name}": value for name, value in given.items()})
    assert done.returncode == 0, done.stderr
    assert (standin.runner().name, standin.runner().ephemeral) == ("r-2", True)


def test_unknown_arguments_only_cause_a_warning(standin: Installed) -> None:
    done = standin.configure("--frobnicate")
    assert done.returncode == 0
    assert "Unrecognized command-line input arguments" in done.stderr
    assert "frobnicate" in done.stderr


def test_an_existing_name_is_refused_without_replace(standin: Installed) -> None:
    first = standin.github.state.add_runner("orgs/acme", "r-1", ("x",))
    done = standin.configure()
    assert (done.returncode, done.stderr) == (1, "A runner exists with the same name r-1.\n")
    assert standin.configure("--replace").returncode == 0
    assert standin.runner().id != first.id


def test_a_configured_runner_cannot_be_configured_again(standin: Installed) -> None:
    standin.configure()
    done = standin.configure(name="r-2")
    assert done.returncode == 1
    assert "already configured" in done.stderr
    assert standin.runner().name == "r-1"


def test_an_invalid_or_missing_token_exits_with_1(standin: Installed) -> None:
    assert standin.configure(ACTIONS_RUNNER_INPUT_TOKEN="wrong").returncode == 1
    done = standin.configure(ACTIONS_RUNNER_INPUT_TOKEN="")
    assert "Invalid configuration provided for token" in done.stderr
    assert not is_configured(standin)


def test_an_html_answer_to_the_registration_exits_with_1(standin: Installed) -> None:
    standin.github.faults.add(
        Fault(method="POST", path="runners/register", kind=FaultKind.ERROR, status=200, body="<html>")
    )
    assert standin.configure().returncode == 1
    assert not is_configured(standin)


def test_only_config_sh_refuses_root(standin: Installed, tmp_path: Path) -> None:
    (tmp_path / "id").write_text("#!/bin/sh\necho 0\n")
    (tmp_path / "id").chmod(0o755)
    as_root = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "RUNNER_ALLOW_RUNASROOT": ""}
    assert standin.run("config.sh", "--version", **as_root).stdout.startswith("Must not run")
    assert standin.run("bin/Runner.Listener", "--version", **as_root).stdout == "2.338.0\n"


# --- the Listener ---


def test_a_runner_that_is_not_configured_exits_with_1(standin: Installed) -> None:
    done = standin.listen()
    assert (done.returncode, done.stderr) == (1, "Runner is not configured.\n")


def test_an_invalid_jit_configuration_exits_with_1(standin: Installed) -> None:
    assert standin.listen("--jitconfig", "%%%").returncode == 1
    assert not is_configured(standin)


@pytest.mark.parametrize(("asked", "code"), [("1", 7), ("", 1)])
def test_a_deprecated_version_has_its_own_exit_code_only_on_request(standin: Installed, asked: str, code: int) -> None:
    _, jit = standin.mint()
    standin.github.state.oldest_version = (9, 0, 0)
    done = standin.listen(ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE=asked, **jit)
    assert done.returncode == code
    assert done.stderr == ("An error occurred: Runner version v2.338.0 is deprecated and cannot receive messages.\n")


def test_a_registration_deleted_before_the_session_exits_with_1(standin: Installed) -> None:
    runner, jit = standin.mint()
    standin.github.state.delete_runner("orgs/acme", runner.id)
    done = standin.listen(**jit)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "Failed to create a session. The runner registration has been deleted from the server"
    )


def test_a_registration_deleted_while_listening_exits_with_0_and_deletes_the_files(standin: Installed) -> None:
    runner, jit = standin.mint()
    with standin.listening(**jit) as process:
        until(lambda: runner.session)
        standin.github.state.delete_runner("orgs/acme", runner.id)
        output, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert errors == "The runner no longer exists on the server. Cleaning up local configuration.\n"
    assert_lines(output, "√ Connected to GitHub", r"Current runner version: '2\.338\.0'", f"{TIME}: Listening for Jobs")
    assert "completed with result" not in output
    assert not is_configured(standin)


def test_a_lasting_session_conflict_exits_with_5(standin: Installed) -> None:
    runner, jit = standin.mint()
    standin.github.state.open_session(runner, "2.338.0")
    done = standin.listen(**jit)
    assert done.returncode == 5
    assert done.stderr.splitlines()[0] == "A session for this runner already exists."
    assert "Listening for Jobs" not in done.stdout


def test_the_runner_listens_when_a_session_conflict_has_ended(standin: Installed) -> None:
    runner, jit = standin.mint()
    standin.github.state.open_session(runner, "2.338.0")
    with standin.listening(RUNNER_STANDIN_WAIT_FACTOR="0.01", **jit) as process:
        until(lambda: "Runner connect error" in standin.diagnostics("Runner"))
        standin.github.state.close_session(runner)
        until(lambda: runner.session)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    assert_lines(output, f"{TIME}: Runner reconnected\\.", f"{TIME}: Listening for Jobs")


def test_an_outage_before_the_session_and_its_end_are_printed_once(standin: Installed) -> None:
    runner, jit = standin.mint()
    standin.github.faults.add(
        Fault(method="POST", path="session", kind=FaultKind.ERROR, times=2, status=503, body="<html>")
    )
    standin.github.faults.add(Fault(method="POST", path="session", kind=FaultKind.DROP))
    with standin.listening(**jit) as process:
        until(lambda: runner.session)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
    assert len(re.findall(rf"^{TIME}: Runner reconnected\.$", output, re.MULTILINE)) == 1
    assert re.fullmatch(rf"{TIME}: Runner connect error: .* Retrying until reconnected\.\n", errors)


def test_sigint_ends_an_idle_runner_and_its_session_but_not_its_registration(standin: Installed) -> None:
    runner, jit = standin.mint()
    with standin.listening(**jit) as process:
        until(lambda: runner.session)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, errors, runner.session) == (0, "", None)
    assert output.splitlines()[-1] == "Exiting..."
    assert standin.runner() is runner
    assert is_configured(standin)


def test_sigterm_ends_an_idle_runner(standin: Installed) -> None:
    runner, jit = standin.mint()
    with standin.listening(**jit) as process:
        until(lambda: runner.session)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)
    assert (process.returncode, runner.session) == (0, None)
    assert "Exiting..." not in output


def test_sessions_are_logged(standin: Installed) -> None:
    runner, jit = standin.mint()
    with standin.listening(ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT="1", **jit) as process:
        until(lambda: runner.session)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    assert_lines(output, rf"\[RUNNER {TIME} INFO \w+\] .*")
    assert "Session created." in standin.diagnostics("Runner")
