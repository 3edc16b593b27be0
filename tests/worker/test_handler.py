"""The worker's handler, with the emulated GitHub and the runner stand-in: every way a request can end."""

import asyncio
import base64
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.github import GitHubEmulator
from bridge.emulator.github.state import Job
from runner_image import handler, session
from runner_image.limits import LIMITS, Limits
from runner_image.process import adopt_orphans
from tests.support.background import until, until_async
from tests.support.runners import Installed

PAT = "ghp_thepersonaltoken"
LABELS = ["self-hosted", "linux", "x64", "runpod", "gpu"]
STAMP = "2026-09-16 15:14:46Z"
LISTENING = f"echo '{STAMP}: Listening for Jobs'"
LOST = f"echo '{STAMP}: Runner connect error: Connection refused (127.0.0.1:1). Retrying until reconnected.'"
RUNNING = f"echo '{STAMP}: Running job: {{0}}'"
ENDED = f"echo '{STAMP}: Job {{0}} completed with result: Succeeded'"


@dataclass(kw_only=True)
class Worker:
    """A worker's directory, and the handler in this process."""

    standin: Installed
    patch: pytest.MonkeyPatch
    limits: Limits = LIMITS
    exits: list[int] = field(default_factory=list)

    @property
    def github(self) -> GitHubEmulator:
        return self.standin.github

    def limit(self, **limits: Any) -> None:
        """Change some limits."""
        self.limits = replace(self.limits, **limits)

    async def answer(self, given: dict[str, Any]) -> dict[str, Any]:
        """The handler's answer to a request with this input; `exits` gets the code with which it would exit."""
        request = {"id": "req-1", "input": given}
        return await handler.handle(request, limits=self.limits, leave=self.exits.append)

    def handle(self, meanwhile: Callable[[], None] = lambda: None, /, **given: Any) -> dict[str, Any]:
        """The answer to a request with this input. `meanwhile` runs in a thread at the same time."""

        async def run() -> dict[str, Any]:
            beside = threading.Thread(target=meanwhile)
            beside.start()
            try:
                return await self.answer(given)
            finally:
                beside.join()

        return asyncio.run(run())

    def jit(self, **given: Any) -> dict[str, Any]:
        """An input with a freshly minted configuration of the runner `r-1`."""
        _, variables = self.standin.mint(labels=LABELS)
        return {"jit_config": variables["ACTIONS_RUNNER_INPUT_JITCONFIG"], "runner_name": "r-1", **given}

    def tokens(self, mode: str, **given: Any) -> dict[str, Any]:
        """An input of a mode that registers its own runner."""
        common = {"mode": mode, "runner_url": f"{self.github.url}/acme", "runner_labels": ["runpod", "gpu"], **given}
        if mode == "registration":
            return {"registration_token": self.github.state.registration_token("orgs/acme")[0], **common}
        return common

    def replace_listener(self, script: str) -> None:
        """Replace the Listener by a shell script."""
        self.standin.replace_listener(script)
        self.limit(interrupt=0.3)  # a shell waits for its command before it handles a signal

    def configures_slowly(self) -> None:
        """Make config.sh hang after it has registered the runner."""
        path = self.standin.root / "config.sh"
        path.write_text('#!/bin/sh\n./bin/Runner.Listener configure "$@"\nsleep 60\n')


@pytest.fixture
def worker(standin: Installed, monkeypatch: pytest.MonkeyPatch) -> Worker:
    for name in [n for n in os.environ if n.startswith(("GITHUB_", "RUNPOD_", "RUNNER_"))]:
        monkeypatch.delenv(name)
    standin.github.access.add_pat(PAT)
    app = standin.github.app
    variables = {
        "RUNNER_DIR": str(standin.root),
        "HOME": str(standin.home),
        "RUNNER_ALLOW_RUNASROOT": "1",
        "GITHUB_API_URL": standin.github.api_url,
        "GITHUB_PAT": PAT,
        "GITHUB_APP_CLIENT_ID": app.client_id,
        "GITHUB_APP_PRIVATE_KEY": app.pem,
        "RUNPOD_AI_API_KEY": "rpa_theworkerskey",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (standin.root / ".env").write_text("RUNNER_STANDIN_WAIT_FACTOR=0.001\n")
    return Worker(standin=standin, patch=monkeypatch)


def running(job: Job) -> None:
    until(lambda: job.status == "in_progress")


def processes_in(folder: Path) -> list[psutil.Process]:
    """The processes whose working directory is in a folder."""
    found = []
    for each in psutil.process_iter():
        try:
            if Path(each.cwd()).is_relative_to(folder):
                found.append(each)
        except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
            continue
    return found


def after_step(worker: Worker) -> list[dict[str, str]]:
    """Steps that run after a failure, or always."""
    folder = worker.standin.home
    return [{"if": f"${{{{ {when}() }}}}", "run": f"touch {folder}/{when}"} for when in ("failure", "always")]


def ran_after_step(worker: Worker) -> list[str]:
    return [when for when in ("failure", "always") if (worker.standin.home / when).exists()]


# --- requests that run a job ---


def test_a_jit_request_runs_one_job_and_reports_it(worker: Worker) -> None:
    job = worker.standin.queue('test "$JOB_INPUT" = \'{"dataset": "mnist"}\'')
    answer = worker.handle(**worker.jit(dataset="mnist", job_timeout=60, idle_timeout=60))
    assert job.conclusion == "success"
    seconds = answer.pop("seconds")
    assert seconds.keys() == {"configure", "connect", "listen", "job", "leave", "cleanup"}
    assert {type(phase) for phase in seconds} == {str}, "as in the log"
    assert answer == {
        "outcome": "completed", "job": "build", "result": "Succeeded", "runner_name": "r-1",
        "runner_version": "2.338.0", "exit_code": 0,
    }  # fmt: skip
    assert worker.github.state.runners == {}


@pytest.mark.parametrize("mode", ["registration", "app", "pat"])
def test_a_request_in_a_token_mode_registers_its_runner_and_runs_one_job(worker: Worker, mode: str) -> None:
    job = worker.standin.queue("true")
    answer = worker.handle(**worker.tokens(mode, runner_name="r-7"))
    assert (answer["outcome"], answer["result"]) == ("completed", "Succeeded")
    assert (job.executions, worker.github.state.runners) == (["r-7"], {})


def test_a_runner_takes_one_job_and_no_update(worker: Worker) -> None:
    worker.replace_listener(f'echo "$@" >> {worker.standin.home}/asked')
    worker.handle(**worker.tokens("registration"))
    configure, run = (worker.standin.home / "asked").read_text().splitlines()
    assert configure.startswith("configure --unattended --ephemeral --disableupdate --url ")
    assert run == "run --once"


def test_a_request_without_the_bridge_needs_only_an_organisation(worker: Worker) -> None:
    worker.patch.delenv("GITHUB_APP_PRIVATE_KEY")
    worker.patch.setenv("RUNPOD_POD_ID", "pod-1")
    answers: list[dict[str, Any]] = []

    def delete_when_listening() -> None:
        until(lambda: [r for r in worker.github.state.runners.values() if r.session])
        runner = worker.standin.runner()
        answers.append({"name": runner.name, "labels": set(runner.labels)})
        worker.github.state.delete_runner(runner.target, runner.id)

    answer = worker.handle(delete_when_listening, github_org="acme")
    assert answers == [{"name": "pod-1", "labels": {"self-hosted", "Linux", "X64", "runpod", "pod-1"}}]
    assert answer["outcome"] == "registration_lost"


def test_a_failed_job_is_a_completed_request(worker: Worker) -> None:
    worker.standin.queue("exit 3")
    answer = worker.handle(**worker.jit())
    assert (answer["outcome"], answer["result"]) == ("completed", "Failed")
    assert "error" not in answer


def test_a_job_leaves_nothing_in_the_runners_folder(worker: Worker) -> None:
    before = {path.name for path in worker.standin.root.iterdir()}
    worker.standin.queue("echo left > there; echo more >> ../..//here")
    worker.handle(**worker.jit())
    assert {path.name for path in worker.standin.root.iterdir()} == before


def test_files_of_an_earlier_job_are_removed_before_the_next(worker: Worker) -> None:
    (worker.standin.root / "_work").mkdir()
    (worker.standin.root / "_work" / "planted").write_text("x")
    (worker.standin.root / ".runner").write_text("{}")
    job = worker.standin.queue(f"test ! -e {worker.standin.root}/_work/planted")
    worker.handle(**worker.tokens("pat", runner_name="r-7"))
    assert job.conclusion == "success"


# --- what the log and the steps contain ---


@pytest.mark.parametrize("mode", ["jit", "registration", "app", "pat"])
def test_no_token_and_no_key_reaches_a_step_a_command_line_or_the_log(
    worker: Worker, mode: str, capfd: pytest.CaptureFixture[str]
) -> None:
    given = worker.jit() if mode == "jit" else worker.tokens(mode)
    job = worker.standin.queue("env; cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'; echo seen")
    answer = worker.handle(**given)
    log = capfd.readouterr()
    secrets = [
        *(PAT, "rpa_theworkerskey", "ghs_"),
        *worker.github.app.pem.splitlines()[1:3],
        *(given[key] for key in ("jit_config", "registration_token") if key in given),
        *worker.github.state.registration_tokens,
    ]
    assert answer["result"] == "Succeeded"
    assert "seen" in job.log
    assert "GITHUB_PAT=" not in job.log
    for secret in secrets:
        for text in (job.log, log.out, log.err, json.dumps(answer)):
            assert secret not in text


def test_a_secret_in_the_runners_output_is_masked_in_log_and_answer(
    worker: Worker, capfd: pytest.CaptureFixture[str]
) -> None:
    name = "deploy rpa_theworkerskey"
    worker.replace_listener(f"echo 'key: rpa_theworkerskey'; {RUNNING.format(name)}; {ENDED.format(name)}")
    answer = worker.handle(**worker.jit())
    assert answer["job"] == "deploy ***"
    log = capfd.readouterr().out
    assert "key: ***" in log.splitlines()
    assert "rpa_theworkerskey" not in log


def test_a_secret_in_the_reason_of_a_failure_is_masked_in_log_and_answer(
    worker: Worker, capfd: pytest.CaptureFixture[str]
) -> None:
    worker.replace_listener("echo 'cannot use rpa_theworkerskey'; exit 9")
    answer = worker.handle(**worker.tokens("registration"))
    assert answer["error"] == "configuration_failed: config.sh exited with code 9: cannot use ***"
    assert "rpa_theworkerskey" not in capfd.readouterr().out


def test_a_secret_in_an_unexpected_error_is_masked_in_log_and_answer(
    worker: Worker, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("it's 'quote\"umläut'")

    worker.patch.setenv("RUNPOD_API_KEY", 'quote"umläut')
    worker.patch.setattr(session, "forget_job", fail)
    assert worker.handle(**worker.jit())["error"] == "crashed: RuntimeError: it's '***'"
    (failed,) = [json.loads(line) for line in capfd.readouterr().out.splitlines() if '"failed"' in line]
    assert failed["detail"] == "RuntimeError: it's '***'"


def test_input_that_cannot_be_decoded_is_refused_with_one_line(worker: Worker) -> None:
    error = worker.handle(jit_config=base64.b64encode(b"[" * 50_000).decode())["error"]
    assert error.startswith("bad_input: jit_config: is not a JSON object in base64")
    error = worker.handle(registration_token="\ud800abcdef", runner_url=f"{worker.github.url}/acme")["error"]
    assert error.startswith("bad_input: registration_token: ")


def test_each_event_is_one_json_line_between_the_runners_own_lines(
    worker: Worker, capfd: pytest.CaptureFixture[str]
) -> None:
    worker.standin.queue("true", name='a "job" with\ttabs')
    worker.handle(**worker.jit())
    lines = capfd.readouterr().out.splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    said = ["request taken", "configured", "listener started", "listening", "job started", "job ended", "done"]
    assert [e["event"] for e in events] == said
    assert {(e["request"], e["runner"]) for e in events} == {("req-1", "r-1")}
    assert any(line.endswith("Listening for Jobs") for line in lines)


# --- requests that run no job ---


def test_a_second_delivery_after_the_job_starts_nothing(worker: Worker) -> None:
    given = worker.jit()
    worker.standin.queue("true")
    assert worker.handle(**given)["outcome"] == "completed"
    later = worker.standin.queue("true")
    answer = worker.handle(**given)
    assert answer["error"].startswith("registration_lost: ")
    assert later.status == "queued"


def test_a_second_delivery_during_the_job_does_not_disturb_it(worker: Worker, tmp_path: Path) -> None:
    runner, variables = worker.standin.mint()
    job = worker.standin.queue("sleep 3")
    worker.github.state.open_session(runner, "2.338.0")
    answer = worker.handle(lambda: None, jit_config=variables["ACTIONS_RUNNER_INPUT_JITCONFIG"], runner_name="r-1")
    assert answer["error"].startswith("session_conflict: ")
    assert job.executions == []


def test_a_name_that_is_already_registered_is_reported(worker: Worker) -> None:
    worker.standin.mint(name="r-7")
    answer = worker.handle(**worker.tokens("pat", runner_name="r-7"))
    assert answer["error"].startswith("name_taken: ")
    assert len(worker.github.state.runners) == 1, "the existing registration stays"


def test_a_refused_registration_token_is_reported(worker: Worker) -> None:
    answer = worker.handle(**worker.tokens("registration", registration_token="AWRONG"))
    assert answer["error"].startswith("credential_expired: ")


@pytest.mark.parametrize("mode", ["app", "pat"])
def test_credentials_that_github_refuses_are_a_configuration_error(worker: Worker, mode: str) -> None:
    fault = Fault(method="POST", path="registration-token", kind=FaultKind.ERROR, status=403, times=9)
    worker.github.faults.add(fault)
    answer = worker.handle(**worker.tokens(mode))
    assert answer["error"].startswith("configuration_failed: ")
    assert "403" in answer["error"]


def test_an_installation_id_that_is_not_a_number_is_a_configuration_error(worker: Worker) -> None:
    worker.patch.setenv("GITHUB_APP_INSTALLATION_ID", "abc")
    answer = worker.handle(**worker.tokens("app"))
    assert answer["error"].startswith("configuration_failed: GITHUB_APP_INSTALLATION_ID: must be a number")


def test_a_deprecated_version_is_recognised_by_the_exit_code(worker: Worker) -> None:
    worker.replace_listener('[ "$ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE" = 1 ] && exit 7; exit 1')
    assert worker.handle(**worker.jit())["error"].startswith("version_deprecated: ")


def test_a_version_that_github_no_longer_accepts_is_reported(worker: Worker) -> None:
    worker.github.state.oldest_version = (3, 0, 0)
    assert worker.handle(**worker.jit())["error"].startswith("version_deprecated: ")


def test_a_registration_deleted_while_it_listens_ends_the_request_at_once(worker: Worker) -> None:
    given = worker.jit(idle_timeout=600)

    def delete() -> None:
        until(lambda: worker.standin.runner().session)
        worker.github.state.delete_runner("orgs/acme", worker.standin.runner().id)

    assert worker.handle(delete, **given)["error"].startswith("registration_lost: ")


@pytest.mark.parametrize("mode", ["jit", "registration", "app", "pat"])
def test_a_runner_without_a_job_exits(worker: Worker, mode: str) -> None:
    """In the modes app and pat the worker deletes the registration; in the others the bridge does."""
    worker.limit(idle_grace=1.0)
    given = worker.jit() if mode == "jit" else worker.tokens(mode)
    answer = worker.handle(**given, idle_timeout=1)
    assert (answer["outcome"], answer["job"]) == ("no_job", None)
    assert len(worker.github.state.runners) == (0 if mode in ("app", "pat") else 1)
    assert processes_in(worker.standin.root) == []


@pytest.mark.parametrize("mode", ["app", "pat"])
def test_a_runner_that_github_gives_a_job_at_its_idle_limit_runs_it(worker: Worker, mode: str) -> None:
    """GitHub refuses to delete the registration, so the runner has a job that it has not reported yet."""
    worker.limit(idle_grace=1.0)
    state, jobs = worker.github.state, list[Job]()
    delete = state.delete_runner

    def given_a_job_first(target: str, runner_id: int) -> None:
        jobs.append(worker.standin.queue("true"))
        delete(target, runner_id)

    worker.patch.setattr(state, "delete_runner", given_a_job_first)
    answer = worker.handle(**worker.tokens(mode), idle_timeout=1)
    assert (answer["outcome"], answer["result"]) == ("completed", "Succeeded")
    assert [job.conclusion for job in jobs] == ["success"]


@pytest.mark.parametrize(("status", "outcome"), [(422, "crashed"), (500, "no_job"), (403, "no_job")])
def test_a_runner_that_github_does_not_delete_is_kept_for_a_while(worker: Worker, status: int, outcome: str) -> None:
    worker.limit(idle_grace=0.5, deletion_retry=0.2, kept_busy=1.5, kept_unknown=1.5)
    worker.github.faults.add(
        Fault(method="DELETE", path="actions/runners/", kind=FaultKind.ERROR, status=status, times=99)
    )
    answer = worker.handle(**worker.tokens("pat"), idle_timeout=1)
    assert answer["outcome"] == outcome
    assert answer["seconds"]["listen"] >= 1.5


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ("", "no_job"),
        (RUNNING.format("b"), "stopped"),
        (f"{RUNNING.format('b')}; echo '{STAMP}: Job b completed with result: Canceled'", "completed"),
    ],
)
def test_a_job_that_arrives_while_an_idle_runner_is_interrupted_is_reported(
    worker: Worker, said: str, outcome: str
) -> None:
    worker.limit(idle_grace=0.5)
    leave = f"leave() {{ echo Exiting...; {said or ':'}; exit 0; }}\ntrap leave INT"
    worker.replace_listener(f"{leave}\n{LISTENING}\nwhile :; do sleep 0.1; done")
    worker.limit(interrupt=20.0)
    answer = worker.handle(**worker.jit(idle_timeout=0))
    assert answer["outcome"] == outcome
    assert answer["seconds"]["listen"] > 0


# --- GitHub cannot be reached ---


def test_a_runner_that_never_reaches_github_is_reported_in_time(worker: Worker) -> None:
    worker.limit(connect=2.0)
    worker.github.faults.add(Fault(method="POST", path="session", kind=FaultKind.ERROR, status=502, times=9999))
    answer = worker.handle(**worker.jit(idle_timeout=600))
    assert answer["error"].startswith(
        "github_unreachable: the runner did not reach GitHub: Runner connect error: Response status code"
    )
    assert "listen" not in answer["seconds"]
    assert processes_in(worker.standin.root) == []


def test_a_runner_without_any_output_has_not_reached_github(worker: Worker) -> None:
    worker.limit(connect=0.5)
    worker.replace_listener("exec sleep 60")
    assert worker.handle(**worker.jit())["error"] == "github_unreachable: the runner did not reach GitHub"


def test_a_worker_that_never_reaches_github_ends_within_a_minute() -> None:
    assert LIMITS.connect + LIMITS.deletion < 60


@pytest.mark.parametrize("back", [True, False])
def test_a_runner_that_loses_its_connection_has_time_to_reconnect(worker: Worker, back: bool) -> None:
    worker.limit(reconnect=1.0)
    again = f"sleep 0.3; echo '{STAMP}: Runner reconnected.'; sleep 1.5; {RUNNING.format('b')}; {ENDED.format('b')}"
    worker.replace_listener(f"{LISTENING}; {LOST}; {again if back else 'exec sleep 60'}")
    answer = worker.handle(**worker.jit(idle_timeout=600))
    assert answer["outcome"] == ("completed" if back else "github_unreachable")
    if not back:
        assert answer["error"].startswith(
            "github_unreachable: the runner lost its connection to GitHub: Runner connect"
        )


def test_a_session_conflict_may_end_by_itself(worker: Worker) -> None:
    """The runner retries for 240 s, because the session of a runner that died ends by itself."""
    worker.limit(connect=0.5)
    conflict = f"echo A session for this runner already exists.; {LOST}"
    worker.replace_listener(f"{conflict}; sleep 1; {LISTENING}; {RUNNING.format('b')}; {ENDED.format('b')}")
    assert worker.handle(**worker.jit())["outcome"] == "completed"


@pytest.mark.parametrize("mode", ["app", "pat", "registration"])
def test_a_worker_that_cannot_reach_github_to_register_its_runner_reports_it(worker: Worker, mode: str) -> None:
    path = "register$" if mode == "registration" else "registration-token"
    worker.github.faults.add(Fault(method="POST", path=path, kind=FaultKind.DROP, times=99))
    answer = worker.handle(**worker.tokens(mode))
    assert answer["error"].startswith("github_unreachable: ")


def test_a_job_that_arrives_after_idle_timeout_still_runs(worker: Worker) -> None:
    worker.limit(idle_grace=30.0)
    worker.replace_listener(f"sleep 0.5; {RUNNING.format('b')}; {ENDED.format('b')}")
    assert worker.handle(**worker.jit(idle_timeout=0))["outcome"] == "completed"


@pytest.mark.parametrize("not_after", [0, 1_700_000_000])
def test_a_request_that_is_too_late_starts_nothing(worker: Worker, not_after: float) -> None:
    worker.replace_listener(f"touch {worker.standin.home}/started")
    answer = worker.handle(**worker.jit(not_after=not_after))
    assert (answer["outcome"], "error" in answer) == ("expired", False)
    assert not (worker.standin.home / "started").exists()


def test_bad_input_starts_nothing_and_names_the_field(worker: Worker) -> None:
    worker.replace_listener(f"touch {worker.standin.home}/started")
    answer = worker.handle(jit_config="%%%")
    assert answer["error"].startswith("bad_input: jit_config: ")
    assert not (worker.standin.home / "started").exists()


def test_the_log_identifies_a_refused_request_if_it_can(worker: Worker, capfd: pytest.CaptureFixture[str]) -> None:
    for given in ({"submission": "s-1", "runner_name": "r-1"}, {"submission": 7, "runner_name": ["r"]}):
        worker.handle(jit_config="%%%", **given)
    named, unnamed = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert (named["request"], named["submission"], named["runner"]) == ("req-1", "s-1", "r-1")
    assert unnamed.keys() == {"at", "event", "request", "reason", "detail"}


def test_a_url_of_another_host_starts_nothing(worker: Worker) -> None:
    worker.replace_listener(f"touch {worker.standin.home}/started")
    answer = worker.handle(**worker.tokens("registration", runner_url="https://evil.example/acme"))
    assert answer["error"].startswith("bad_input: runner_url: evil.example is not this endpoint's GitHub host")
    assert not (worker.standin.home / "started").exists()


def test_a_missing_runner_is_a_configuration_error(worker: Worker) -> None:
    worker.patch.setenv("RUNNER_DIR", str(worker.standin.root / "nowhere"))
    answer = worker.handle(**worker.jit())
    assert answer["error"].startswith("configuration_failed: ")
    assert "RUNNER_DIR" in answer["error"]


@pytest.mark.parametrize("code", [2, 3, 4])
def test_a_listener_that_fails_before_a_job_is_restarted_a_few_times(worker: Worker, code: int) -> None:
    worker.limit(restart_wait=0.01)
    worker.replace_listener(f"echo x >> {worker.standin.home}/starts; exit {code}")
    answer = worker.handle(**worker.jit())
    assert answer["error"] == f"crashed: the runner exited with code {code}"
    assert (worker.standin.home / "starts").read_text() == "x\n" * 4


def test_a_restarted_listener_gets_no_extra_time_to_wait_for_a_job(worker: Worker) -> None:
    worker.limit(restart_wait=0.01, idle_grace=1.0)
    worker.replace_listener(f"{LISTENING}; sleep 0.6; exit 2")
    assert worker.handle(**worker.jit(idle_timeout=0))["outcome"] == "no_job"


def test_a_listener_that_fails_during_a_job_is_not_restarted(worker: Worker) -> None:
    worker.replace_listener(f"echo x >> {worker.standin.home}/starts; {RUNNING.format('build')}; exit 2")
    answer = worker.handle(**worker.jit())
    assert answer["error"].startswith("crashed: ")
    assert (worker.standin.home / "starts").read_text() == "x\n"


# --- jobs that are stopped ---


def test_a_job_over_its_limit_is_stopped_with_all_its_processes(worker: Worker) -> None:
    job = worker.standin.queue("(setsid sleep 613 &) ; sleep 614", *after_step(worker))
    answer = worker.handle(**worker.jit(job_timeout=2))
    assert answer["error"] == "timed_out: the job ran for longer than 2 s"
    assert answer["seconds"]["job"] >= 2
    assert job.conclusion == "failure"
    assert ran_after_step(worker) == []
    assert processes_in(worker.standin.root) == []


def test_a_job_that_ignores_the_interrupt_is_killed_with_its_group(worker: Worker) -> None:
    adopt_orphans()  # as the worker does: its steps have their own process groups
    worker.limit(interrupt=0.3, group_interrupt=0.3)
    worker.standin.queue("trap '' INT; while :; do sleep 1; done")
    assert worker.handle(**worker.jit(job_timeout=1))["error"].startswith("timed_out: ")
    assert processes_in(worker.standin.root) == []


def test_a_runner_that_ignores_signals_is_killed(worker: Worker) -> None:
    worker.limit(group_interrupt=0.5)
    worker.replace_listener(f"trap '' INT TERM; {RUNNING.format('build')}; while :; do sleep 1; done")
    answer = worker.handle(**worker.jit(job_timeout=0.2))
    assert answer["error"].startswith("timed_out: ")
    assert processes_in(worker.standin.root) == []


def test_a_job_counts_as_completed_even_if_its_runner_does_not_exit(worker: Worker) -> None:
    worker.limit(exit=0.2, group_interrupt=0.2)
    worker.replace_listener(f"{RUNNING.format('b')}; {ENDED.format('b')}; sleep 60")
    answer = worker.handle(**worker.jit())
    assert (answer["outcome"], answer["result"]) == ("completed", "Succeeded")


def test_a_runner_may_take_its_time_to_exit_after_its_job(worker: Worker) -> None:
    worker.replace_listener(f"{RUNNING.format('b')}; {ENDED.format('b')}; sleep 1; exit 0")
    answer = worker.handle(**worker.jit(job_timeout=0.3))
    assert (answer["outcome"], answer["exit_code"]) == ("completed", 0)


def test_sigterm_stops_the_job_and_the_request_is_answered(worker: Worker) -> None:
    job = worker.standin.queue("sleep 615", *after_step(worker))

    def terminate() -> None:
        running(job)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    answer = worker.handle(terminate, **worker.jit())
    assert answer["error"].startswith("stopped: ")
    assert worker.exits == [], "the answer is sent first"
    assert job.conclusion == "failure"
    assert ran_after_step(worker) == [], "a step with `if: failure()` would report a failure, although there was none"
    assert processes_in(worker.standin.root) == []
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("mode", ["app", "pat"])
def test_sigterm_during_registration_leaves_no_registration(worker: Worker, mode: str) -> None:
    worker.configures_slowly()

    def terminate() -> None:
        until((worker.standin.root / ".credentials_rsaparams").exists)
        os.kill(os.getpid(), signal.SIGTERM)

    assert worker.handle(terminate, **worker.tokens(mode))["error"].startswith("stopped: ")
    assert worker.github.state.runners == {}


def test_a_configuration_that_takes_too_long_leaves_no_registration(worker: Worker) -> None:
    worker.limit(configure=1.0)
    worker.configures_slowly()
    answer = worker.handle(**worker.tokens("pat"))
    assert answer["error"] == "github_unreachable: config.sh did not finish within 1 s"
    assert worker.github.state.runners == {}


def test_after_sigterm_the_process_exits_when_the_sdk_has_had_time_to_answer(worker: Worker) -> None:
    worker.limit(answer=0.2)
    started = worker.standin.home / "started"
    worker.replace_listener(f"touch {started}; exec sleep 60")

    async def terminated() -> None:
        answering = asyncio.ensure_future(worker.answer(worker.jit()))
        await until_async(started.exists)
        os.kill(os.getpid(), signal.SIGTERM)
        await answering
        assert worker.exits == []
        await until_async(lambda: worker.exits)

    asyncio.run(terminated())
    assert worker.exits == [128 + signal.SIGTERM]


def test_a_job_that_ended_before_sigterm_is_reported_as_completed(worker: Worker) -> None:
    worker.replace_listener(
        f"{RUNNING.format('b')}; {ENDED.format('b')}; touch {worker.standin.home}/ended; exec sleep 60"
    )

    def terminate() -> None:
        until((worker.standin.home / "ended").exists)
        os.kill(os.getpid(), signal.SIGTERM)

    answer = worker.handle(terminate, **worker.jit())
    assert (answer["outcome"], answer["result"]) == ("completed", "Succeeded")


def test_a_cancelled_request_stops_the_job_and_the_process(worker: Worker) -> None:
    """The SDK stops a request by cancelling its task. It sends no answer, so the process must exit."""
    job = worker.standin.queue("sleep 616")

    async def stopped() -> None:
        task = asyncio.ensure_future(worker.answer(worker.jit()))
        await asyncio.to_thread(running, job)
        task.cancel()
        await task

    with pytest.raises(SystemExit) as left:
        asyncio.run(stopped())
    assert left.value.code == 0
    assert job.conclusion == "failure"
    assert processes_in(worker.standin.root) == []


def test_a_job_cancelled_at_github_is_a_completed_request(worker: Worker) -> None:
    job = worker.standin.queue("sleep 617")

    def cancel() -> None:
        running(job)
        worker.github.state.cancel_job(job)

    answer = worker.handle(cancel, **worker.jit())
    assert (answer["outcome"], answer["result"]) == ("completed", "Canceled")


def test_a_worker_tells_how_long_it_took_to_start_except_in_a_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[dict[str, Any]] = [{"outcome": "no_job"}, {"outcome": "self_test", "self_test": {}}]

    async def answered(_request: Any, **_given: Any) -> dict[str, Any]:
        return answers.pop(0)

    monkeypatch.setattr(handler, "handle", answered)
    told, tested = (asyncio.run(handler.handle_and_tell({"id": "1"})) for _ in range(2))
    age = time.time() - psutil.Process().create_time()
    assert 0 < told.pop("boot_seconds") <= age
    assert told == {"outcome": "no_job"}
    assert tested == {"outcome": "self_test", "self_test": {}}
