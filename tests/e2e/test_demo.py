"""`bridge demo` and `bridge emulate`, as a new user runs them."""

import asyncio
import contextlib
import functools
import json
import os
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from githubkit import webhooks
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typer.testing import CliRunner

from bridge.commands.app import app
from bridge.commands.demo_engine import run_demo
from bridge.commands.demo_routes import tables
from bridge.commands.emulation import Queue, Unsupported, pushed, tolerant
from bridge.emulator.cloud import github_state
from bridge.emulator.github import GitHubState
from bridge.emulator.serving import serving
from tests.support import ROOT
from tests.support.background import served, until
from tests.support.runners import commit_all

HOSTILE = "feature/$(touch${IFS}owned)-`id`;'\"&"

WORKFLOW = r"""
name: odd "ones"
on: [push]
jobs:
  first:
    name: ${{ matrix.os }} <b>$(touch owned)</b>
    strategy: {matrix: {os: [a, b], include: [{os: c, extra: "1"}]}}
    runs-on: [self-hosted, RunPod, GPU]
    outputs: {branch: "${{ steps.x.outputs.branch }}"}
    steps:
      - uses: actions/checkout@v4
      - id: x
        env: {REF: "${{ github.ref_name }}"}
        run: echo "branch=$REF" >> "$GITHUB_OUTPUT"; test -f data.txt; test ! -e owned
  second:
    needs: first
    runs-on: runpod
    env: {BRANCH: "${{ needs.first.outputs.branch }}"}
    steps:
      - run: test "$BRANCH" = "$(cat branch.txt)"
      - uses: actions/checkout@v4
      - run: test "$BRANCH" = "$(cat branch.txt)"
  third: {needs: second, if: failure(), runs-on: runpod, steps: [run: test ! -e owned]}
  contained: {runs-on: runpod, container: ubuntu, steps: [run: echo]}
  theirs: {runs-on: [self-hosted, windows], steps: [run: echo]}
  after-theirs: {needs: theirs, runs-on: runpod, steps: [run: echo]}
  not-today: {if: "false", runs-on: runpod, steps: [run: echo]}
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with hostile names, a matrix with an include, a job on failure, and jobs that cannot run here."""
    path = tmp_path / "their repo"
    (path / ".github" / "workflows").mkdir(parents=True)
    (path / ".github" / "workflows" / "odd.yaml").write_text(WORKFLOW)
    (path / "data.txt").write_text("x")
    (path / "branch.txt").write_text(f"{HOSTILE}\n")
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for step in (
        ("init", "-q", "-b", "main"),
        ("add", "."),
        (*who, "commit", "-qm", "x"),
        ("checkout", "-qb", HOSTILE),
    ):
        subprocess.run(["git", "-C", path, *step], check=True)
    return path


def environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home)}


def demo(home: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "demo", "--json", *arguments],
        cwd=ROOT, env=environment(home), capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [path.name for path in home.iterdir() if path.name.startswith("bridge-")] == [], "nothing is left behind"
    document: dict[str, Any] = json.loads(done.stdout)
    assert {job["executions"] for job in document["jobs"] if job["route"]} == {1}
    assert document["counts"]["requests"] == document["counts"]["matched_jobs"]
    return document


def conclusions(document: Mapping[str, Any]) -> dict[str, str | None]:
    return {job["name"]: job["conclusion"] for job in document["jobs"]}


def test_the_sample_shows_a_matrix_a_need_a_failure_and_an_ignored_job(tmp_path: Path) -> None:
    document = demo(tmp_path)
    assert conclusions(document) == {
        "train (1)": "success", "train (2)": "success", "measure": "success", "report": "success",
        "fails-on-purpose": "failure", "hosted": None,
    }  # fmt: skip
    (hosted,) = (job for job in document["jobs"] if job["name"] == "hosted")
    assert (hosted["route"], hosted["request_id"], hosted["runner_name"]) == (None, None, None)
    assert hosted["ignored"] == 'no route has any of the labels "ubuntu-latest"'
    for job in document["jobs"]:
        times = [job[key] for key in ("queued_at", "submitted_at", "started_at", "completed_at")]
        assert job is hosted or times == sorted(times)
    (failed,) = [job for job in document["jobs"] if job["name"] == "fails-on-purpose"]
    assert failed["steps"] == [{"name": "Run exit 1", "conclusion": "failed"}]
    assert "exit 1" in failed["log"]


@pytest.mark.parametrize("reruns", [0, 1])
def test_a_killed_worker_costs_its_job_unless_the_route_re_runs_it(tmp_path: Path, reruns: int) -> None:
    """The job of the killed worker fails. A re-run also runs `report`, which needs the jobs of the matrix."""
    options = ["--kill-worker", "--rerun-lost-jobs", str(reruns), "--json"]
    done = CliRunner().invoke(app, ["demo", *options])
    assert done.exit_code == 0, done.output
    jobs = json.loads(done.stdout)["jobs"]
    first, second = ([job for job in jobs if job["attempt"] == attempt] for attempt in (1, 2))
    lost = [job["name"] for job in first if job["conclusion"] == "failure" and job["name"] != "fails-on-purpose"]
    assert len(lost) == 1
    ended = {job["name"]: job["conclusion"] for job in second}
    assert ended.get(lost[0]) == ("success" if reruns else None)


def test_workflows_with_odd_names_run(tmp_path: Path, repository: Path) -> None:
    document = demo(tmp_path, "--repo", str(repository))
    first = "<b>$(touch owned)</b>"
    assert conclusions(document) == {
        f"a {first}": "success", f"b {first}": "success", f"c {first}": "success",
        "second": "failure",  # its first step runs before the checkout
        "third": "success", "theirs": None, "not-today": "skipped",
    }  # fmt: skip
    assert document["unsupported"] == [
        {"name": "contained", "reason": "it runs in a container", "labels": ["runpod"], "route": "default"},
        {
            "name": "after-theirs",
            "reason": "it needs 'theirs', which did not run here",
            "labels": ["runpod"],
            "route": "default",
        },
    ]
    assert document["counts"]["matched_jobs"] == 5
    assert list(tmp_path.rglob("owned")) == []


def committed(root: Path, **files: str) -> Path:
    """A repository with these workflows."""
    folder = root / ".github" / "workflows"
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / f"{name}.yml").write_text(text)
    commit_all(root)
    return root


def test_a_repository_that_the_demo_cannot_run_ends_with_the_table_the_reasons_and_status_2(tmp_path: Path) -> None:
    job = '{name: "a\\e[31m[b]", runs-on: [self-hosted, a100], container: debian, steps: [{run: x}]}'
    repo = committed(tmp_path / "repo", ci=f"on: push\njobs: {{a: {job}}}", broken="on: [")
    done = CliRunner().invoke(app, ["demo", "--repo", str(repo), "--route", "large=gpu,a100"])
    assert done.exit_code == 2
    assert re.search(r"a \[31m\[b\] +│ large +│ - +│ - +│ - +│ unsupported", done.stdout)
    assert "unsupported: a [31m[b]: it runs in a container\n" in done.stdout
    assert "unsupported: .github/workflows/broken.yml: line 1" in done.stdout
    assert "no job that the demo can run\n" in done.stdout


def test_the_routes_of_a_demo_can_be_given_and_called_workflows_run(tmp_path: Path) -> None:
    home, config = tmp_path / "home", tmp_path / "bridge.toml"
    home.mkdir()
    config.write_text('[[route]]\nname = "large"\nlabels = ["a100"]\nendpoint = "abc123"\nrepositories = ["o/r"]\n')
    outputs = "outputs: {v: {value: '${{ jobs.t.outputs.v }}'}}"
    inner = "{runs-on: '${{ inputs.l }}', outputs: {v: '${{ steps.s.outputs.v }}'}, steps: [*S]}".replace(
        "*S", "{id: s, run: echo v=7 >> $GITHUB_OUTPUT}"
    )
    repo = committed(
        tmp_path / "repo",
        ci="""
            on: push
            jobs:
              a: {uses: ./.github/workflows/x.yml, with: {l: a100}}
              b: {needs: a, runs-on: a100, steps: [{run: "test ${{ needs.a.outputs.v }} = 7"}]}
        """,
        x=f"on: {{workflow_call: {{inputs: {{l: {{type: string}}}}, {outputs}}}}}\njobs: {{t: {inner}}}",
    )
    document = demo(home, "--repo", str(repo), "--config", str(config))
    assert conclusions(document) == {"a / t": "success", "b": "success"}
    assert {job["route"] for job in document["jobs"]} == {"large"}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--route", "large"], "--route: must be NAME=label,label, such as large=gpu,a100"),
        (["--route", "a b=gpu"], "--route: name: "),
        (["--label", ""], "--label: labels"),
        (["--label", "linux"], "route default: labels: needs at least one label other than"),
        (["--route", "a=gpu", "--route", "a=cpu"], "route.name: a is used twice"),
        (["--label", "x", "--config", "bridge.toml"], "--config: cannot be used with --label or --route"),
    ],
)
@pytest.mark.parametrize("command", ["demo", "emulate"])
def test_a_wrong_route_is_refused_in_one_line(command: str, options: list[str], error: str) -> None:
    done = CliRunner().invoke(app, [command, *options])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"bridge: {error}")
    assert done.stderr.count("\n") == 1


def test_a_problem_in_the_bridges_last_pass_is_printed_and_does_not_fail_the_demo(
    capsys: pytest.CaptureFixture[str],
) -> None:
    one_pass = json.dumps({"jobs": [], "problems": ["it stood in the way"]})
    failing_bridge = ("sh", "-c", 'echo "$0"; exit 1', one_pass)

    async def nothing(_state: GitHubState) -> None:
        """Queue nothing."""

    assert (
        asyncio.run(run_demo(nothing, tables((), (), None), workers=1, limit=20, as_json=False, command=failing_bridge))
        == 0
    )
    out, err = capsys.readouterr()
    assert err == "bridge: it stood in the way\n"
    assert "0 calls to GitHub" in out
    assert out.startswith("no job that the demo can run\n")


def bridge_of(demo: "subprocess.Popen[str]") -> psutil.Process | None:
    """The bridge process of a demo."""
    for child in psutil.Process(demo.pid).children():
        try:
            if "bridge.dispatch" in child.cmdline():
                return child
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return None


def submissions(home: Path, *states: str) -> int:
    """The number of submissions in these states in the demo's ledger; 0 before there is a ledger."""
    for path in home.glob("bridge-emulated-*/ledger.sqlite3"):
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger:
            try:
                found = [state for (state,) in ledger.execute("select state from submissions")]
            except sqlite3.OperationalError:  # the ledger is being created
                return 0
        return sum(state in states for state in found)
    return 0


def kill_bridge_of(demo: "subprocess.Popen[str]", home: Path, *, once: str) -> int | None:
    """Kill the bridge once a submission has that state and none is being submitted: then it waits for no lease."""
    bridge = bridge_of(demo)
    if bridge is None or not submissions(home, once):
        return None
    bridge.suspend()
    if submissions(home, "claimed", "minted", "submitting"):
        bridge.resume()
        return None
    bridge.kill()
    return bridge.pid


def test_a_bridge_that_is_killed_twice_loses_no_job_and_runs_no_job_twice(tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(once: str) -> bool:
        gone = kill_bridge_of(process, tmp_path, once=once)
        killed.extend([gone] if gone else [])
        return gone is not None

    with subprocess.Popen(
        [sys.executable, "-m", "bridge", "demo", "--jobs", "4", "--json"],
        cwd=ROOT, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            for once in ("submitted", "finished"):
                until(functools.partial(kill, once))
                until(lambda: (bridge := bridge_of(process)) and bridge.pid not in killed)
            out, err = process.communicate(timeout=180)
        finally:
            process.send_signal(signal.SIGINT)  # does nothing once it has ended
    assert process.returncode == 0, err
    document = json.loads(out)
    assert len(killed) == 2
    assert [(job["conclusion"], job["executions"]) for job in document["jobs"]] == [("success", 1)] * 4
    assert document["counts"]["requests"] >= 4


def test_a_demo_that_gets_several_signals_leaves_nothing_behind(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "bridge", "demo", "--jobs", "1", "--json"],
        cwd=ROOT, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        until(lambda: bridge_of(process) and len(children(process)) >= 2)  # the bridge, and a worker
        started = children(process)
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not any(child.is_running() for child in started)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("bridge-")] == []


def children(demo: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(demo.pid).children(recursive=True)


def test_a_folder_that_is_not_a_repository_is_refused_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bridge", "demo", "--repo", tmp_path],
        cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("bridge: ")
    assert done.stderr.count("\n") == 1


@contextmanager
def emulated(home: Path, *arguments: str) -> Iterator[dict[str, str]]:
    """Serve the emulators in a process of their own; yields the variables that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", "emulate", *arguments],
        cwd=ROOT, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    exports: dict[str, str] = {}
    try:
        while "BRIDGE_DATABASE_URL" not in exports:
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            name, _, value = line.removeprefix("export ").partition("=")
            (exports[name],) = shlex.split(value)
        yield environment(home) | exports
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert [path.name for path in home.iterdir() if path.name.startswith("bridge-")] == [], "nothing is left behind"


def dispatch(variables: Mapping[str, str], *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "bridge.dispatch", "--json", *arguments],
        cwd=ROOT, env=dict(variables), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_the_unchanged_command_submits_each_emulated_job_once(tmp_path: Path) -> None:
    with emulated(tmp_path, "--cold-start", "60") as variables:
        ledger = Path(variables["BRIDGE_DATABASE_URL"].removeprefix("sqlite:///"))
        planned = dispatch(variables, "--dry-run")
        assert (planned["counts"]["claims"], planned["counts"]["submitted"]) == (3, 0)
        assert dispatch(variables)["counts"]["submitted"] == 3
        assert dispatch(variables)["counts"]["submitted"] == 0
        for path in ledger.parent.glob(f"{ledger.name}*"):
            path.unlink()
        assert dispatch(variables)["counts"]["submitted"] == 0


def test_the_emulated_app_may_re_run_the_jobs_of_a_route_that_asks_for_it(tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text('[[route]]\nname = "gpu"\nlabels = ["runpod", "gpu"]\nrerun_lost_jobs = 1\n')
    doctor = [sys.executable, "-m", "bridge", "doctor", "--json"]
    with emulated(tmp_path, "--config", str(config), "--cold-start", "60") as variables:
        assert "rerun_lost_jobs = 1\n" in Path(variables["BRIDGE_CONFIG"]).read_text()
        assert dispatch(variables)["problems"] == []
        done = subprocess.run(
            doctor, cwd=ROOT, env=variables, capture_output=True, text=True, check=False, timeout=60
        )  # fmt: skip
        (found,) = [each for each in json.loads(done.stdout)["checks"] if each.get("subject") == "actions"]
        assert (found["status"], found["evidence"]) == ("ok", "granted write")


def test_events_are_sent_to_the_given_url(tmp_path: Path) -> None:
    got: list[tuple[str, bytes]] = []

    async def take(request: Request) -> Response:
        got.append((request.headers["x-hub-signature-256"], await request.body()))
        return Response()

    receiver = Starlette(routes=[Route("/webhook", take, methods=["POST"])])
    with served(lambda: serving(receiver)) as url:
        arguments = ("--webhook", f"{url}/webhook", "--auto-push", "0.5", "--cold-start", "60")
        with emulated(tmp_path, *arguments) as variables:
            until(lambda: got)
            signature, body = got[0]
            assert webhooks.verify(variables["GITHUB_WEBHOOK_SECRET"], body, signature)
            event = webhooks.parse("workflow_job", body)
            assert event.action == "queued"
            assert json.loads(body)["organization"]["login"] == variables["GITHUB_ORG"]
            assert variables["BRIDGE_PUBLIC_URL"] == url
            assert len(variables["BRIDGE_CALLBACK_KEY"]) >= 32


@pytest.mark.parametrize("address", ["localhost:8080", "http://127.0.0.1:99999/x", "http:///x"])
def test_an_invalid_webhook_url_is_refused(address: str) -> None:
    done = CliRunner().invoke(app, ["emulate", "--webhook", address])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--webhook" in done.stderr


def test_a_port_that_is_in_use_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = CliRunner().invoke(app, ["emulate", "--github-port", str(port)])
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.fullmatch(rf"bridge: .*127\.0\.0\.1:{port}.*\n", done.stderr)


def test_jobs_that_cannot_run_here_are_printed_once_for_all_pushes(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow = repository / ".github" / "workflows" / "odd.yaml"
    workflow.write_text(workflow.read_text() + "  last: {needs: contained, runs-on: runpod, steps: [run: echo]}\n")
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", "-C", repository, *who, "commit", "-qam", "x"], check=True)
    state = github_state()
    unsupported = Unsupported(state)
    for _ in range(2):
        queued(state, pushed(repository, "push"))
        unsupported.report()
    assert capsys.readouterr().err.splitlines() == [
        "unsupported: contained: it runs in a container",
        "unsupported: last: it needs 'contained', which cannot run here",
    ]


def queued(state: GitHubState, queue: Queue) -> None:
    async def main() -> None:
        await queue(state)

    asyncio.run(main())


def test_a_repository_without_a_matching_workflow_is_reported_and_an_invalid_one_stops_nothing(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = github_state()
    queued(state, pushed(repository, "schedule"))
    assert capsys.readouterr().err == f"bridge: {repository} has no workflow that schedule triggers\n"
    (repository / ".github" / "workflows" / "odd.yaml").write_text("on: [")
    subprocess.run(
        ["git", "-C", repository, "-c", "user.name=t", "-c", "user.email=t@e.org", "commit", "-qam", "x"], check=True
    )
    queued(state, tolerant(pushed(repository, "push")))
    Unsupported(state).report()
    assert re.fullmatch(r"unsupported: .*odd\.yaml: line 1: .*\n", capsys.readouterr().err)
    (run,) = state.runs.values()
    assert (run.status, run.conclusion, run.jobs) == ("completed", "failure", {}), "as on GitHub"


def test_new_runs_are_pushed_at_the_given_interval(tmp_path: Path) -> None:
    with emulated(tmp_path, "--auto-push", "0.5", "--cold-start", "60") as variables:
        until(lambda: dispatch(variables, "--dry-run")["counts"]["queued_jobs"] >= 10)


def test_a_second_pass_over_200_unchanged_repositories_gets_only_304s(tmp_path: Path) -> None:
    with emulated(tmp_path, "--synthetic", "200,5", "--cold-start", "600") as variables:
        process = subprocess.Popen(
            [sys.executable, "-m", "bridge.dispatch", "--json", "--watch", "1"],
            cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            passes = [json.loads(process.stdout.readline()) for _ in range(3)]
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
    calls = passes[2]["github_calls"]
    assert passes[0]["counts"]["submitted"] == 3
    assert calls["not_modified"] == calls["total"] <= 410
