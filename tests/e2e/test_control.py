"""What an operator orders: routes are paused, requests are cancelled, and lists show both."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.github.state import Job
from tests.e2e.test_explain import run
from tests.support import ROOT
from tests.support.emulators import Emulators, emulators
from tests.support.github import a_github, a_run, a_spec

LONG = "train-" + "x" * 40


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Emulators]:
    with emulators(tmp_path, state=a_github()) as served:
        yield served


def queue(made: Emulators, *keys: str) -> list[Job]:
    return list(made.github.state.add_run("acme/web", a_run(*(a_spec(key) for key in keys))).jobs.values())


def rows(made: Emulators, *arguments: str) -> list[dict[str, Any]]:
    done = run(made, *arguments, "--json")
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = json.loads(done.output)
    return found


def runner_of(made: Emulators) -> str:
    (row,) = rows(made, "submissions", "--state", "submitted")
    return str(row["runner"])


def status(made: Emulators) -> list[str]:
    return [request.status for request in made.runpod.state.requests.values()]


# --- pause and resume ---


def test_a_paused_route_gets_no_request_until_it_is_resumed_and_everyone_can_see_why(made: Emulators) -> None:
    first, second = queue(made, "a")[0], None
    made.dispatch()
    paused = run(made, "pause", "default", "--reason", "new\nimage")
    assert (paused.exit_code, paused.output) == (0, "route default: paused; `bridge resume default` ends the pause\n")
    second = queue(made, "b")[0]
    document = made.dispatch()
    assert (len(document["submissions"]), status(made)) == (0, ["IN_QUEUE"])
    why = {row["id"]: row["why"] for row in rows(made, "jobs")}
    assert why[first.id].startswith("already requested")
    assert re.fullmatch(r"route default is paused by \S+: new image; it was paused 0 min ago", why[second.id])
    assert [row["kind"] for row in rows(made, "jobs", "--route", "default")] == ["requested", "paused"]
    assert "is paused by" in run(made, "explain", str(second.id)).output.splitlines()[0]
    (route,) = rows(made, "routes")
    assert (route["state"], route["open"], route["queued"], route["paused"]["reason"]) == ("paused", 1, 2, "new image")
    again = run(made, "pause", "default")
    assert again.exit_code == 1
    assert again.stderr.startswith("bridge: route default is already paused by ")

    assert run(made, "resume", "default").exit_code == 0
    assert len(made.dispatch()["submissions"]) == 1
    story = run(made, "explain", str(second.id)).output
    assert re.search(r"held back \S+ s: route default is paused by \S+: new", story)
    assert run(made, "resume", "default").stderr == (
        "bridge: route 'default' is not paused; `bridge routes` lists the routes\n"
    )


def test_a_wrong_route_or_no_ledger_is_one_line_and_status_1(made: Emulators) -> None:
    assert run(made, "pause", "default").stderr.startswith("bridge: there is no ledger yet")
    assert run(made, "resume", "default").stderr.startswith("bridge: there is no ledger yet")
    assert run(made, "cancel", "runpod-1-1").stderr.startswith("bridge: there is no ledger yet")
    made.dispatch()
    wrong = run(made, "pause", "gpu\x1b[2J")
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (1, 1)
    assert wrong.stderr == "bridge: the configuration has no route 'gpu\\x1b[2J'; its routes: default\n"


def test_a_paused_route_that_is_configured_no_more_is_still_listed_and_can_be_resumed(made: Emulators) -> None:
    made.dispatch()
    assert run(made, "pause", "default").exit_code == 0
    toml = made.home / "bridge.toml"
    toml.write_text('[[route]]\nname = "other"\nlabels = ["gpu"]\nendpoint = "ep-1"\n')
    made.variables["BRIDGE_CONFIG"] = str(toml)
    found = {row["route"]: row["why"] for row in rows(made, "routes")}
    assert found["other"] is None
    assert found["default"].startswith("it is not in the configuration; route default is paused by ")
    assert run(made, "resume", "default").exit_code == 0
    assert [row["route"] for row in rows(made, "routes")] == ["other"]


# --- cancel ---


def test_a_request_without_a_job_is_cancelled_and_its_job_gets_another(made: Emulators) -> None:
    (job,) = queue(made, "a")
    made.dispatch()
    runner = runner_of(made)
    done = run(made, "cancel", runner)
    assert (done.exit_code, done.stdout) == (0, f"runner {runner}: cancelled\n")
    assert status(made) == ["CANCELLED"]
    assert not made.github.state.runners
    (row,) = rows(made, "submissions")
    assert row["state"] == "cancelled"
    assert row["why"].startswith("cancelled by ")
    again = run(made, "cancel", runner)
    assert again.stderr == f"bridge: runner {runner} has ended as cancelled; there is nothing to cancel\n"
    made.dispatch()
    assert runner_of(made) == f"runpod-{job.id}-2"


def test_a_runner_that_has_got_a_job_is_kept(made: Emulators) -> None:
    (job,) = queue(made, "a")
    made.dispatch()
    runner = runner_of(made)
    next(each for each in made.github.state.runners.values() if each.name == runner).job = job
    done = run(made, "cancel", runner)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == (
        f"bridge: runner {runner} has got a job: GitHub keeps it, and nothing was cancelled; cancel the job in GitHub"
    )
    assert status(made) == ["IN_QUEUE"]
    assert run(made, "cancel", runner).stderr == f"bridge: runner {runner} runs a job; cancel the job in GitHub\n"


def test_an_unknown_runner_is_one_line_and_status_1(made: Emulators) -> None:
    made.dispatch()
    done = run(made, "cancel", "runpod-7-1\x1b")
    assert (done.exit_code, done.stderr.count("\n"), "\x1b" in done.stderr) == (1, 1, False)
    assert done.stderr.startswith("bridge: the ledger has no runner 'runpod-7-1\\x1b'")


# --- lists ---


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("command", [["jobs"], ["submissions"], ["routes"], ["endpoints", "list"]])
def test_lists_fit_the_terminal_and_break_no_word_and_no_id(made: Emulators, width: int, command: list[str]) -> None:
    made.variables["BRIDGE_MAX_WORKERS"] = "1"
    made.variables["COLUMNS"] = str(width)
    jobs = queue(made, "a", LONG, "typo")
    made.dispatch()
    bare = dict.fromkeys((n for n in os.environ if n.startswith(("GITHUB_", "RUNPOD_", "BRIDGE_"))), "")
    done = subprocess.run(
        [sys.executable, "-m", "bridge", *command],
        cwd=ROOT,
        env=bare | made.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= width, done.stdout
    assert len(lines) > 1
    if command == ["jobs"]:
        assert all(str(job.id) in done.stdout for job in jobs)
        assert "route default has reached its max_workers of 1" in " ".join(done.stdout.split())
    if command == ["submissions"]:
        assert runner_of(made) in done.stdout
    if command == ["endpoints", "list"]:
        assert "ep-1" in done.stdout


def test_endpoints_are_listed_with_what_the_last_pass_read(made: Emulators) -> None:
    queue(made, "a")
    made.runpod.state.endpoints["ep-1"].capacity = 0
    for _ in range(2):
        made.dispatch()
    (row,) = rows(made, "endpoints", "list")
    assert (row["endpoint"], row["state"], row["requests"], row["queue"]) == ("ep-1", "open", 1, 1)
    assert (row["workers"], row["routes"]) == ("throttled 1", ["default"])


def test_a_watched_list_is_printed_when_it_changes_and_ctrl_c_ends_it_with_0(made: Emulators) -> None:
    queue(made, "a")
    made.dispatch()
    watching = subprocess.Popen(
        [sys.executable, "-m", "bridge", "routes", "--watch", "--json"],
        cwd=ROOT,
        env=made.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())[0]["state"] == "open"
        time.sleep(3)  # a reading without a change
        assert run(made, "pause", "default").exit_code == 0
        assert json.loads(watching.stdout.readline())[0]["state"] == "paused"
        watching.send_signal(signal.SIGINT)
        rest, errors = watching.communicate(timeout=20)
    finally:
        watching.kill()
        watching.wait()
    assert (watching.returncode, rest, errors) == (0, "", "")


def test_a_cancellation_that_runpod_does_not_answer_is_finished_by_the_next_pass(made: Emulators) -> None:
    queue(made, "a")
    made.dispatch()
    runner = runner_of(made)
    made.runpod.faults.add(Fault(method="POST", path="/cancel/", kind=FaultKind.ERROR, times=1))
    done = run(made, "cancel", runner)
    assert (done.exit_code, done.stdout) == (1, "")
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"bridge: runner {runner}: GitHub deleted it, but RunPod has not confirmed; the next pass")
    assert "POST /ep-1/cancel" in said
    assert [row["state"] for row in rows(made, "submissions")] == ["withdrawn"]
    assert run(made, "cancel", runner).exit_code == 0
    assert status(made) == ["CANCELLED"]


@pytest.mark.parametrize("kind", [FaultKind.ERROR, FaultKind.DROP])
def test_if_github_does_not_answer_nothing_is_cancelled(made: Emulators, kind: FaultKind) -> None:
    queue(made, "a")
    made.dispatch()
    made.github.faults.add(Fault(method="DELETE", path="/actions/runners/", kind=kind, times=9))
    done = run(made, "cancel", runner_of(made))
    assert done.exit_code == 1
    assert "nothing was cancelled, because GitHub does not confirm" in done.stderr.splitlines()[-1]
    assert status(made) == ["IN_QUEUE"]


def test_a_runner_that_github_does_not_know_is_kept(made: Emulators) -> None:
    """It may have run a job: the registration of an ephemeral runner is gone then."""
    queue(made, "a")
    made.dispatch()
    made.github.state.runners.clear()
    done = run(made, "cancel", runner_of(made))
    assert "nothing was cancelled, because GitHub does not confirm" in done.stderr.splitlines()[-1]
    assert status(made) == ["IN_QUEUE"]


def test_on_a_terminal_a_watched_list_is_shown_in_place(made: Emulators) -> None:
    queue(made, "a")
    made.dispatch()
    main, side = pty.openpty()
    watching = subprocess.Popen(
        [sys.executable, "-m", "bridge", "jobs", "--watch"],
        cwd=ROOT,
        env=made.environment | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
        stdin=side,
        stdout=side,
        stderr=side,
    )
    os.close(side)
    shown = b""
    try:
        while shown.count(b"already requested") < 2:  # shown again after 2 s
            shown += os.read(main, 65536)
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 0
    finally:
        watching.kill()
        watching.wait()
        os.close(main)
    assert b"\x1b[1A" in shown, "the cursor went up to the place of the first list"
    assert b"Traceback" not in shown
