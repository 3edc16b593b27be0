"""The worker's handler with the official runner: every way a request can end that needs no replaced program."""

import asyncio
import os
import signal

import pytest

from bridge.emulator.faults import Fault, FaultKind
from tests.support.background import until
from tests.support.runners import Installed
from tests.worker.test_handler import PAT, Worker, after_step, processes_in, ran_after_step, running


def test_a_job_that_succeeds(worker: Worker) -> None:
    job = worker.standin.queue('test "$JOB_INPUT" = \'{"dataset": "mnist"}\'')
    answer = worker.handle(**worker.jit(dataset="mnist"))
    assert (answer["outcome"], answer["job"], answer["result"]) == ("completed", "build", "Succeeded")
    assert answer["exit_code"] == 0
    assert answer["runner_version"]
    assert job.conclusion == "success"
    assert worker.github.state.runners == {}


def test_a_job_that_fails(worker: Worker) -> None:
    job = worker.standin.queue("exit 3")
    answer = worker.handle(**worker.jit())
    assert (answer["outcome"], answer["result"], job.conclusion) == ("completed", "Failed", "failure")


def test_a_job_that_is_cancelled(worker: Worker) -> None:
    job = worker.standin.queue("sleep 617")

    def cancel() -> None:
        running(job)
        worker.github.state.cancel_job(job)

    answer = worker.handle(cancel, **worker.jit())
    assert (answer["outcome"], answer["result"], job.conclusion) == ("completed", "Canceled", "cancelled")


def test_a_step_that_exceeds_its_own_limit_fails(worker: Worker) -> None:
    job = worker.standin.queue({"run": "sleep 618", "timeout-minutes": 1})
    assert worker.handle(**worker.jit())["result"] == "Failed"
    assert job.conclusion == "failure"


def test_a_job_over_the_requests_limit_is_stopped_with_all_its_processes(worker: Worker) -> None:
    job = worker.standin.queue("(setsid sleep 613 &) ; sleep 614", *after_step(worker))
    answer = worker.handle(**worker.jit(job_timeout=2))
    assert answer["error"] == "timed_out: the job ran for longer than 2 s"
    assert job.conclusion == "failure"
    assert ran_after_step(worker) == []
    assert processes_in(worker.standin.root) == []


def test_no_secret_reaches_a_step_a_command_line_or_the_log(worker: Worker, capfd: pytest.CaptureFixture[str]) -> None:
    given = worker.jit()
    job = worker.standin.queue("env; cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'; echo seen")
    assert worker.handle(**given)["result"] == "Succeeded"
    said = job.log + capfd.readouterr().out
    assert "seen" in said
    key = worker.github.app.pem.splitlines()[1]
    assert [secret for secret in (PAT, "rpa_theworkerskey", "ghs_", key, given["jit_config"]) if secret in said] == []


def test_a_value_that_a_job_masks_is_not_in_its_log(worker: Worker) -> None:
    job = worker.standin.queue("echo '::add-mask::hunter2hunter2'", "echo said hunter2hunter2")
    worker.handle(**worker.jit())
    assert "said ***" in job.log
    assert "said hunter2" not in job.log


def test_the_hooks_run_before_and_after_the_job(worker: Worker) -> None:
    for name in ("STARTED", "COMPLETED"):
        hook = worker.standin.home / f"{name}.sh"
        hook.write_text(f"echo {name} >> {worker.standin.home}/said\n")
        worker.patch.setenv(f"ACTIONS_RUNNER_HOOK_JOB_{name}", str(hook))
    worker.standin.queue(f"echo JOB >> {worker.standin.home}/said")
    worker.handle(**worker.jit())
    assert (worker.standin.home / "said").read_text().split() == ["STARTED", "JOB", "COMPLETED"]


def test_two_jobs_in_one_folder_do_not_see_each_other(worker: Worker) -> None:
    before = {path.name for path in worker.standin.root.iterdir()}
    worker.standin.queue("echo left > there; echo planted=1 >> ../../../.env")
    worker.handle(**worker.jit())
    second = worker.standin.queue('test ! -e there && test -z "$planted"')
    assert worker.handle(**worker.jit())["result"] == "Succeeded"
    assert second.conclusion == "success"
    assert {path.name for path in worker.standin.root.iterdir()} == before


def test_sigterm_stops_the_job_and_the_request_is_answered(worker: Worker) -> None:
    job = worker.standin.queue("sleep 615", *after_step(worker))

    def terminate() -> None:
        running(job)
        os.kill(os.getpid(), signal.SIGTERM)

    assert worker.handle(terminate, **worker.jit())["error"].startswith("stopped: ")
    assert job.conclusion == "failure"
    assert ran_after_step(worker) == []
    assert processes_in(worker.standin.root) == []


def test_a_cancelled_request_stops_the_job_and_the_process(worker: Worker) -> None:
    job = worker.standin.queue("sleep 616")

    async def stopped() -> None:
        task = asyncio.ensure_future(worker.answer(worker.jit()))
        await asyncio.to_thread(running, job)
        task.cancel()
        await task

    with pytest.raises(SystemExit):
        asyncio.run(stopped())
    assert job.conclusion == "failure"
    assert processes_in(worker.standin.root) == []


def test_a_registration_deleted_while_the_runner_listens_ends_the_request(worker: Worker) -> None:
    given = worker.jit(idle_timeout=600)

    def delete() -> None:
        until(lambda: worker.standin.runner().session)
        worker.github.state.delete_runner("orgs/acme", worker.standin.runner().id)

    assert worker.handle(delete, **given)["error"].startswith("registration_lost: ")


def test_a_second_delivery_during_the_job_does_not_disturb_it(worker: Worker) -> None:
    worker.limit(connect=5.0)
    runner, variables = worker.standin.mint()
    worker.github.state.open_session(runner, "2.338.0")
    answer = worker.handle(jit_config=variables["ACTIONS_RUNNER_INPUT_JITCONFIG"], runner_name="r-1")
    assert answer["error"].startswith("session_conflict: ")


def test_a_version_that_github_no_longer_accepts_is_reported(worker: Worker) -> None:
    worker.github.state.oldest_version = (99, 0, 0)
    assert worker.handle(**worker.jit())["error"].startswith("version_deprecated: ")


def test_a_runner_that_never_reaches_github_is_reported_in_time(worker: Worker) -> None:
    worker.limit(connect=5.0)
    worker.github.faults.add(Fault(method="POST", path="session", kind=FaultKind.ERROR, status=502, times=9999))
    answer = worker.handle(**worker.jit(idle_timeout=600))
    assert answer["error"].startswith("github_unreachable: ")
    assert processes_in(worker.standin.root) == []


def test_a_runner_without_a_job_exits(worker: Worker) -> None:
    worker.limit(idle_grace=1.0)
    answer = worker.handle(**worker.jit(), idle_timeout=1)
    assert (answer["outcome"], answer["job"]) == ("no_job", None)


class TestOnPort80:
    """Modes in which config.sh registers the runner."""

    @pytest.fixture
    def standin(self, on_port_80: Installed) -> Installed:
        return on_port_80

    @pytest.mark.parametrize("mode", ["registration", "app", "pat"])
    def test_a_runner_that_registers_itself_runs_one_job(self, worker: Worker, mode: str) -> None:
        before = {path.name for path in worker.standin.root.iterdir()}
        job = worker.standin.queue("true")
        answer = worker.handle(**worker.tokens(mode, runner_name="r-7"))
        assert (answer["outcome"], answer["result"]) == ("completed", "Succeeded")
        assert (job.executions, worker.github.state.runners) == (["r-7"], {})
        assert {path.name for path in worker.standin.root.iterdir()} == before

    def test_a_name_that_is_registered_already_is_reported(self, worker: Worker) -> None:
        worker.standin.mint(name="r-7")
        assert worker.handle(**worker.tokens("pat", runner_name="r-7"))["error"].startswith("name_taken: ")

    def test_a_refused_registration_token_is_reported(self, worker: Worker) -> None:
        answer = worker.handle(**worker.tokens("registration", registration_token="AWRONG"))
        assert answer["error"].startswith("credential_expired: ")
