"""The runner stand-in runs, reports and cancels real jobs, and removes everything that they leave."""

import os
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.github.state import Job, Runner
from bridge.emulator.workflows import runs_of
from tests.support.background import until
from tests.support.github import a_run
from tests.support.runners import TIME, Installed, a_job_of_steps, commit_all, git

CHECKOUT = {"uses": "actions/checkout@v4"}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A repository with one commit, including a file that its .gitignore names."""
    path = tmp_path / "web"
    path.mkdir()
    (path / "kept.txt").write_text("kept\n")
    (path / "ignored.txt").write_text("tracked all the same\n")
    (path / ".gitignore").write_text("ignored.txt\n")
    (path / ".env").write_text("LEAKED=from-the-repository\n")
    (path / ".actrc").write_text("--dryrun\n")
    commit_all(path)
    return path


def of_commit(standin: Installed, workspace: Path, *steps: object, **job: Any) -> Job:
    """Queue a job for the workspace's commit."""
    sha = git(workspace, "rev-parse", "HEAD").strip()
    run = standin.github.state.add_run("acme/web", replace(a_run(a_job_of_steps(*steps, **job)), sha=sha), workspace)
    return run.jobs["build"]


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def sleeper(folder: Path) -> tuple[str, Path]:
    """A step that leaves a process behind and runs for a minute, and the file with both process ids."""
    path = folder / "pids"
    # Bash waits without a foreground process: it would ignore an interrupt that arrives before such a process starts.
    return f"sleep 61 & printf '%s\\n' $! $$ > {path}; wait", path


def is_asleep(pids: Path) -> bool:
    """Whether a `sleeper` has written its process ids."""
    return pids.exists() and len(pids.read_text().split()) == 2


# --- one job ---


def test_a_job_runs_with_the_output_of_the_real_runner(standin: Installed) -> None:
    _, jit = standin.mint()
    job = standin.queue("echo hello from a step", name="build (a, b)")
    done = standin.listen(**jit)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        "\n√ Connected to GitHub\n\n"
        r"Current runner version: '2\.338\.0'"
        "\n"
        rf"{TIME}: Listening for Jobs"
        "\n"
        rf"{TIME}: Running job: build \(a, b\)"
        "\n"
        rf"{TIME}: Job build \(a, b\) completed with result: Succeeded"
        "\n√ Removed .credentials\n√ Removed .runner\n",
        done.stdout,
    )
    assert (job.conclusion, job.executions) == ("success", ["r-1"])
    assert "hello from a step" in job.log
    assert "hello from a step" in standin.diagnostics("Worker")


def test_an_ephemeral_registration_is_deleted_after_its_job_at_github_and_locally(standin: Installed) -> None:
    standin.configure("--ephemeral", "--labels", "runpod,gpu")
    job = standin.queue("true")
    assert standin.listen().returncode == 0
    assert (job.conclusion, standin.github.state.runners) == ("success", {})
    assert not (standin.root / ".runner").exists()
    assert standin.listen().stderr == "Runner is not configured.\n"


def test_once_keeps_a_persistent_registration_and_warns(standin: Installed) -> None:
    standin.configure("--labels", "runpod,gpu")
    jobs = [standin.queue("true"), standin.queue("true")]
    done = standin.listen("--once")
    assert done.returncode == 0
    assert "Warning: '--once' is going to be deprecated" in done.stdout
    assert [job.conclusion for job in jobs] == ["success", None]
    assert (standin.root / ".runner").exists()
    assert standin.runner().session is None


def test_a_persistent_runner_takes_one_job_after_the_other(standin: Installed) -> None:
    standin.configure("--labels", "runpod,gpu")
    jobs = [standin.queue("true"), standin.queue("false")]
    with standin.listening() as process:
        until(lambda: jobs[1].conclusion)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=20)
    assert [job.conclusion for job in jobs] == ["success", "failure"]
    assert output.count("completed with result") == 2


def test_a_failing_step_fails_and_ends_the_job(standin: Installed) -> None:
    _, jit = standin.mint()
    job = standin.queue("exit 3", "echo not reached")
    done = standin.listen(**jit)
    assert (done.returncode, job.conclusion) == (0, "failure")
    assert re.search(rf"^{TIME}: Job build completed with result: Failed$", done.stdout, re.MULTILINE)
    assert "echo not reached" not in job.log


def test_outputs_with_special_characters_reach_the_server(standin: Installed) -> None:
    _, jit = standin.mint()
    hostile = "a 'b' \"c\" ${{ github.sha }} $HOME `id` \\n é \N{ROCKET}"
    step = {"id": "s", "env": {"V": hostile.replace("${{", "${{ '${{' }}")}, "run": 'echo "v=$V" >> $GITHUB_OUTPUT'}
    job = standin.queue(step, outputs={"v": "${{ steps.s.outputs.v }}"})
    standin.listen(**jit)
    assert job.outputs == {"v": hostile}


def test_outputs_may_be_longer_than_a_variable(standin: Installed) -> None:
    _, jit = standin.mint()
    step = {"id": "s", "run": "echo v=$(head -c 200000 /dev/zero | tr '\\0' x) >> $GITHUB_OUTPUT"}
    job = standin.queue(step, outputs={"v": "${{ steps.s.outputs.v }}"})
    standin.listen(**jit)
    assert (job.conclusion, len(job.outputs["v"])) == ("success", 200_000)


def test_an_invalid_workflow_fails_and_its_log_has_the_reason(standin: Installed) -> None:
    _, jit = standin.mint()
    job = standin.queue({"run": "${{ nonsense( }}"})
    assert standin.listen(**jit).returncode == 0
    assert job.conclusion == "failure"
    assert "workflow is not valid" in job.log


def test_a_repositorys_workflow_runs_to_its_end(standin: Installed, tmp_path: Path) -> None:
    workspace = tmp_path / "web"
    (workspace / ".github" / "workflows").mkdir(parents=True)
    (workspace / "src").mkdir()
    (workspace / "src" / "file").write_text("content\n")
    (workspace / ".github" / "workflows" / "ci.yml").write_text(WORKFLOW)
    commit_all(workspace)
    (spec,) = runs_of(workspace)
    run = standin.github.state.add_run("acme/web", spec, workspace)
    standin.configure("--labels", "x")
    with standin.listening() as process:
        until(lambda: run.status == "completed")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert {key: result.conclusion for key, result in run.results().items()} == {
        "build/1": "success", "build/2": "success", "broken": "failure", "use": "success", "skipped": "skipped",
        "told": "success", "unknowable": "failure",
    }  # fmt: skip
    logs = {key: job.log for key, job in run.jobs.items()}
    assert '2 says it\'s "quoted" ${{ github.sha }}\n' in logs["use"]
    assert "broken was failure\n" in logs["told"]
    assert "Error in if-expression" in logs["unknowable"]


WORKFLOW = r"""
on: push
env: {GREETING: it's "quoted"}
defaults: {run: {working-directory: src}}
jobs:
  build:
    runs-on: [self-hosted, x]
    strategy: {matrix: {v: [1, 2]}}
    outputs: {said: "${{ steps.say.outputs.said }}"}
    steps:
      - uses: actions/checkout@v4
      - run: test "$(cat file)" = content
      - id: say
        env: {V: "${{ matrix.v }}"}
        run: echo "said=$V says $GREETING \$${{ '{{' }} github.sha }}" >> "$GITHUB_OUTPUT"
  broken: {runs-on: x, defaults: {run: {working-directory: .}}, steps: [run: exit 1]}
  use:
    runs-on: x
    needs: build
    steps:
      - {working-directory: ., env: {SAID: "${{ needs.build.outputs.said }}"}, run: echo "$SAID"}
  skipped: {runs-on: x, needs: [build, broken], steps: [run: echo]}
  told:
    runs-on: x
    needs: [broken, skipped]
    if: failure() && needs.skipped.result == 'skipped'
    steps:
      - {working-directory: ., run: "echo broken was ${{ needs.broken.result }}"}
  unknowable: {runs-on: x, needs: build, if: fromJSON(needs.build.outputs.said).x, steps: [run: echo]}
"""


# --- the environment of steps ---


def test_checkout_provides_all_tracked_files_of_the_commit(standin: Installed, workspace: Path) -> None:
    _, jit = standin.mint()
    job = of_commit(
        standin, workspace,
        "test -z \"$(ls -A)\"", CHECKOUT, "cat kept.txt ignored.txt; git rev-parse HEAD; git branch --show-current",
        "echo $GITHUB_SHA $GITHUB_REF $GITHUB_REPOSITORY ${{ github.sha }} $LEAKED.",
    )  # fmt: skip
    (workspace / "kept.txt").write_text("changed since\n")
    standin.listen(**jit)
    sha = git(workspace, "rev-parse", "HEAD").strip()
    assert job.conclusion == "success", job.log
    assert f"kept\ntracked all the same\n{sha}\nmain\n" in job.log
    assert f"{sha} refs/heads/main acme/web {sha} .\n" in job.log


def test_a_job_cannot_push_into_the_original_repository(standin: Installed, workspace: Path) -> None:
    _, jit = standin.mint()
    before = git(workspace, "for-each-ref")
    job = of_commit(standin, workspace, CHECKOUT, "! git push origin HEAD:refs/heads/pushed; git config -l")
    standin.listen(**jit)
    assert job.conclusion == "success", job.log
    assert git(workspace, "for-each-ref") == before
    assert str(workspace) not in job.log


def test_a_commit_that_does_not_exist_fails_the_job(standin: Installed, workspace: Path) -> None:
    _, jit = standin.mint()
    job = standin.queue(CHECKOUT, workspace=workspace)
    standin.listen(**jit)
    assert job.conclusion == "failure"


def test_steps_get_the_listeners_environment_without_secrets(standin: Installed, tmp_path: Path) -> None:
    standin.configure("--ephemeral", "--labels", "runpod,gpu")
    credential = standin.runner().client_id
    _, jit = standin.mint(name="other", labels=("x",))
    job = standin.queue("env -0 | sort -z | tr '\\0' '\\n'")
    (standin.root / ".env").write_text("FROM_FILE=a=b\n\nnonsense\n")
    given = {"JOB_INPUT": '{"a": "$b"}', "XDG_CACHE_HOME": str(tmp_path / "x"), "ACTIONS_RUNNER_INPUT_TOKEN": "t0p"}
    assert standin.listen(**given).returncode == 0
    lines = job.log.splitlines()
    for line in (
        'JOB_INPUT={"a": "$b"}', "FROM_FILE=a=b", f"HOME={standin.home}", f"XDG_CACHE_HOME={tmp_path / 'x'}",
        "GITHUB_ACTIONS=true", "RUNNER_NAME=r-1",
    ):  # fmt: skip
        assert line in lines
    for secret in ("ACTIONS_RUNNER_INPUT", "t0p", credential, *jit.values()):
        assert secret not in job.log


def test_secrets_are_given_to_the_job_and_masked_in_its_log(standin: Installed, tmp_path: Path) -> None:
    secret = "a 'b' \"c\" $HOME \\n é"
    standin.github.state.secrets["acme/web"]["KEY"] = secret
    _, jit = standin.mint()
    seen = tmp_path / "seen"
    job = standin.queue({"env": {"V": "${{ secrets.KEY }}"}, "run": f'printf %s "$V" > {seen}; echo "it is $V."'})
    standin.listen(**jit)
    assert job.conclusion == "success", job.log
    assert seen.read_text() == secret
    assert "it is ***." in job.log
    assert secret not in f"{job.log}{job.step_logs}"
    assert "'b'" not in standin.diagnostics("Worker")


def test_nothing_is_left_outside_the_runners_folder(standin: Installed, workspace: Path, tmp_path: Path) -> None:
    _, jit = standin.mint()
    before = set(tmp_path.iterdir())
    job = of_commit(standin, workspace, CHECKOUT, "touch $RUNNER_TEMP/x made-by-a-step")
    standin.listen(**jit)
    assert job.conclusion == "success"
    assert list(standin.home.iterdir()) == []
    assert set(tmp_path.iterdir()) == before
    assert list((standin.root / "_work" / "_temp").iterdir()) == []
    assert git(workspace, "status", "--porcelain") == ""


ACTION = """
name: greet
inputs: {who: {default: nobody}}
outputs: {said: {value: "${{ steps.say.outputs.said }}"}}
runs:
  using: composite
  steps:
    - {id: say, shell: bash, run: 'echo "said=hello $WHO" >> "$GITHUB_OUTPUT"', env: {WHO: "${{ inputs.who }}"}}
"""


def test_a_composite_action_of_the_repository_runs(standin: Installed, tmp_path: Path) -> None:
    path = tmp_path / "with-action"
    (path / "greet").mkdir(parents=True)
    (path / "greet" / "action.yml").write_text(ACTION)
    commit_all(path)
    _, jit = standin.mint()
    steps = (CHECKOUT, {"id": "g", "uses": "./greet", "with": {"who": "you"}})
    job = of_commit(standin, path, *steps, outputs={"v": "${{ steps.g.outputs.said }}"})
    standin.listen(**jit)
    assert (job.conclusion, job.outputs) == ("success", {"v": "hello you"}), job.log


# --- hooks ---


def hook(path: Path, body: str) -> str:
    path.write_text(f"#!/bin/bash\n{body}\n")
    return str(path)


def test_hooks_run_before_and_after_the_steps(standin: Installed, tmp_path: Path) -> None:
    _, jit = standin.mint()
    job = standin.queue("echo in between")
    standin.listen(
        ACTIONS_RUNNER_HOOK_JOB_STARTED=hook(tmp_path / "a.sh", "echo at first"),
        ACTIONS_RUNNER_HOOK_JOB_COMPLETED=hook(tmp_path / "b.sh", "echo at last"),
        **jit,
    )
    assert job.conclusion == "success"
    assert re.search("at first\n(.*\n)*in between\n(.*\n)*at last\n", job.log)


def test_a_hook_knows_its_job_and_can_set_variables_of_the_steps(standin: Installed, tmp_path: Path) -> None:
    _, jit = standin.mint()
    job = standin.queue('echo "step: $GIVEN"', env={"OWN": "of the workflow"})
    told = '$GITHUB_REPOSITORY $GITHUB_EVENT_NAME $RUNNER_NAME ${OWN:-nothing} $(cat "$GITHUB_EVENT_PATH")'
    body = f'echo GIVEN=by the hook >> "$GITHUB_ENV"\necho "hook: {told}"'
    standin.listen(ACTIONS_RUNNER_HOOK_JOB_STARTED=hook(tmp_path / "a.sh", body), **jit)
    assert 'hook: acme/web push r-1 nothing {"ref": "refs/heads/main"' in job.log
    assert "step: by the hook\n" in job.log


@pytest.mark.parametrize("moment", ["STARTED", "COMPLETED"])
def test_a_failing_hook_fails_the_job(standin: Installed, tmp_path: Path, moment: str) -> None:
    _, jit = standin.mint()
    job = standin.queue("echo in between")
    done = standin.listen(**{f"ACTIONS_RUNNER_HOOK_JOB_{moment}": hook(tmp_path / "a.sh", "exit 4")}, **jit)
    assert (done.returncode, job.conclusion) == (0, "failure")
    assert ("in between\n" in job.log) == (moment == "COMPLETED")


# --- cancellations, signals and outages ---


def test_a_cancelled_job_is_stopped_with_all_its_processes(standin: Installed, tmp_path: Path) -> None:
    _, jit = standin.mint()
    step, pids = sleeper(tmp_path)
    job = standin.queue(step, {"if": "${{ cancelled() }}", "run": "echo cleared up"})
    with standin.listening(**jit) as process:
        until(lambda: is_asleep(pids))
        standin.github.state.cancel_job(job)
        output, _ = process.communicate(timeout=30)
    assert (process.returncode, job.conclusion) == (0, "cancelled")
    assert re.search(rf"^{TIME}: Job build completed with result: Canceled$", output, re.MULTILINE)
    assert "cleared up" in job.log
    until(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))


def test_a_job_that_exceeds_its_timeout_is_cancelled(standin: Installed) -> None:
    _, jit = standin.mint()
    spec = replace(a_job_of_steps("sleep 64"), timeout=0.01)
    (job,) = standin.github.state.add_run("acme/web", a_run(spec)).jobs.values()
    done = standin.listen(**jit)
    assert (done.returncode, job.conclusion) == (0, "cancelled")
    assert "completed with result: Canceled" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_job_and_reports_it(standin: Installed, tmp_path: Path, number: int) -> None:
    _, jit = standin.mint()
    step, pids = sleeper(tmp_path)
    job = standin.queue(step)
    with standin.listening(**jit) as process:
        until(lambda: is_asleep(pids))
        process.send_signal(number)
        output, _ = process.communicate(timeout=30)
    assert (process.returncode, job.conclusion) == (0, "failure"), "GitHub's conclusion differs from the line"
    assert ("Exiting..." in output) == (number == signal.SIGINT)
    assert "completed with result: Canceled" in output
    until(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))


@pytest.mark.parametrize("whom", ["the Listener", "its group"])
def test_only_a_signal_to_the_group_makes_the_step_fail_and_other_steps_run(
    standin: Installed, tmp_path: Path, whom: str
) -> None:
    """As with the official runner: an interrupt of only the Listener cancels the step and starts no step or hook."""
    _, jit = standin.mint()
    step, pids = sleeper(tmp_path)
    steps = [{"if": f"${{{{ {when} }}}}", "run": f"touch {tmp_path}/{when[:6]}"} for when in ("failure()", "always()")]
    standin.queue(step, *steps)
    completed = hook(tmp_path / "completed.sh", f"touch {tmp_path}/hooked")
    with standin.listening(ACTIONS_RUNNER_HOOK_JOB_COMPLETED=completed, **jit) as process:
        until(lambda: is_asleep(pids))
        (os.killpg if whom == "its group" else os.kill)(process.pid, signal.SIGINT)
        process.communicate(timeout=30)
    ran = {name for name in ("failur", "always", "hooked") if (tmp_path / name).exists()}
    assert ran == ({"failur", "always", "hooked"} if whom == "its group" else set())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_job_is_being_acquired_cancels_the_job(
    standin: Installed, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The signal arrives between the call that takes the job and the answer."""
    _, jit = standin.mint()
    state = standin.github.state
    with standin.listening(**jit) as process:
        acquire = state.acquire

        def acquired(runner: Runner, job_id: int) -> Job:
            process.send_signal(number)
            return acquire(runner, job_id)

        monkeypatch.setattr(state, "acquire", acquired)
        job = standin.queue("sleep 63")
        output, _ = process.communicate(timeout=30)
    assert (process.returncode, job.conclusion) == (0, "failure")
    assert "completed with result: Canceled" in output


def test_a_job_ends_when_its_listener_is_killed(standin: Installed, tmp_path: Path) -> None:
    _, jit = standin.mint()
    step, pids = sleeper(tmp_path)
    standin.queue(step)
    with standin.listening(**jit) as process:
        until(lambda: is_asleep(pids))
        process.kill()
        until(lambda: not any(alive(int(pid)) for pid in pids.read_text().split()))
        until(lambda: not list(standin.root.glob("_work/_temp/*")))
    assert standin.diagnostics("Worker"), "there was one"


def test_an_outage_while_listening_and_its_end_are_printed_once(standin: Installed) -> None:
    standin.github.faults.add(
        Fault(method="GET", path="message", kind=FaultKind.ERROR, times=8, status=502, body="<html>")
    )
    _, jit = standin.mint()
    job = standin.queue("true")
    done = standin.listen(**jit)
    assert job.conclusion == "success"
    assert len(re.findall(rf"^{TIME}: Runner reconnected\.$", done.stdout, re.MULTILINE)) == 1
    assert re.fullmatch(rf"{TIME}: Runner connect error: .* Retrying until reconnected\.\n", done.stderr)


@pytest.mark.parametrize("path", ["token", "acquirejob", "renewjob", "completejob"])
@pytest.mark.parametrize("kind", [FaultKind.ERROR, FaultKind.DROP, FaultKind.ACCEPT_THEN_ERROR])
def test_a_job_survives_failed_calls_and_lost_answers(standin: Installed, path: str, kind: FaultKind) -> None:
    standin.github.faults.add(Fault(method="POST", path=path, kind=kind, times=2))
    _, jit = standin.mint()
    job = standin.queue("true")
    assert standin.listen(**jit).returncode == 0
    assert (job.conclusion, job.executions) == ("success", ["r-1"])


def test_a_job_that_was_given_to_another_runner_is_not_run(standin: Installed) -> None:
    standin.github.faults.add(Fault(method="POST", path="acquirejob", kind=FaultKind.ERROR, status=409, times=1))
    _, jit = standin.mint()
    job = standin.queue("true")
    done = standin.listen(**jit)
    assert (job.conclusion, done.stdout.count("Running job")) == ("success", 1)


# --- what GitHub gets besides the result ---


def test_steps_their_logs_and_annotations_reach_github(standin: Installed) -> None:
    _, jit = standin.mint()
    job = standin.queue(
        {"id": "say", "name": "Say it", "run": "echo '::warning file=a.py,line=3::careful'; echo said"},
        {"run": "exit 1", "continue-on-error": True},
        {"if": "failure()", "run": "echo never"},
    )
    standin.listen(**jit)
    assert job.conclusion == "success"
    found = [(step["number"], step["name"], step["conclusion"]) for step in job.steps.values()]
    assert found == [(1, "Say it", "succeeded"), (2, "Run exit 1", "failed"), (3, "Run echo never", "skipped")]
    first = next(iter(job.steps))
    assert "said\n" in job.step_logs[f"log {first}"]
    assert job.annotations == [{"level": "warning", "message": "careful", "path": "a.py", "startLine": "3"}]


def test_the_first_step_of_a_job_that_fails_is_reported_as_failed(standin: Installed) -> None:
    _, jit = standin.mint()
    job = standin.queue("exit 1")
    standin.listen(**jit)
    assert [step["conclusion"] for step in job.steps.values()] == ["failed"]


@pytest.mark.parametrize("path", ["Receiver", "WorkflowStepsUpdate", "_blobs"])
def test_a_job_succeeds_without_the_results_service(standin: Installed, path: str) -> None:
    for method in ("POST", "PUT"):
        standin.github.faults.add(Fault(method=method, path=path, kind=FaultKind.ERROR, times=99, body="<html>"))
    _, jit = standin.mint()
    job = standin.queue("true")
    assert "completed with result: Succeeded" in standin.listen(**jit).stdout
    assert job.conclusion == "success"


def test_a_job_that_is_taken_back_before_it_runs_leaves_no_registration(standin: Installed) -> None:
    """As with the official runner: `Running job`, and no result."""
    standin.github.faults.add(Fault(method="POST", path="renewjob", kind=FaultKind.ERROR, status=404))
    _, jit = standin.mint()
    standin.queue("true")
    done = standin.listen(**jit)
    assert (done.returncode, "Running job" in done.stdout, "completed with" in done.stdout) == (0, True, False)
    assert not (standin.root / ".runner").exists()


def test_a_job_that_is_not_acknowledged_does_not_run(standin: Installed) -> None:
    kind = '{"errorKind": "AcknowledgeJobNotFound"}'
    standin.github.faults.add(Fault(method="POST", path="acknowledge", kind=FaultKind.ERROR, status=404, body=kind))
    _, jit = standin.mint()
    standin.queue("true")
    done = standin.listen(**jit)
    assert (done.returncode, "Running job" in done.stdout) == (0, False)
    assert not (standin.root / ".runner").exists()


def test_the_listener_reports_a_job_whose_worker_crashed(standin: Installed) -> None:
    (standin.root / "bin" / "Runner.Worker").write_text("#!/bin/sh\nexit 1\n")
    _, jit = standin.mint()
    job = standin.queue("true")
    done = standin.listen(**jit)
    assert (done.returncode, job.conclusion) == (0, "failure")
    assert "completed with result: Failed" in done.stdout
    assert job.annotations == [{"level": "failure", "message": "The worker exited with code 1."}]


def test_a_session_that_became_invalid_is_opened_again(standin: Installed) -> None:
    runner, jit = standin.mint()
    with standin.listening(**jit) as process:
        until(lambda: runner.session)
        standin.github.state.close_session(runner)
        until(lambda: runner.session)
        job = standin.queue("true")
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, job.conclusion, errors) == (0, "success", "")
    assert output.count("√ Connected to GitHub") == 2
