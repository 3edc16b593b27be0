"""Jobs from start to end: the bridge's command, worker processes with RunPod's SDK, and the runner stand-in."""

import asyncio
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bridge.commands.app import app
from bridge.core import self_test
from bridge.core.submissions import State
from bridge.emulator.github import Limits
from bridge.emulator.github.state import Job
from bridge.emulator.runner import VERSION
from bridge.ledger import Ledger
from tests.support import ROOT
from tests.support.background import until
from tests.support.emulators import API_KEY, PAT, Emulators, real_workers
from tests.support.github import a_github, a_run
from tests.support.nvml import FakeNvml
from tests.support.runners import a_job_of_steps


def queue(bridge: Emulators, *steps: str) -> Job:
    return bridge.github.state.add_run("acme/web", a_run(a_job_of_steps(*steps))).jobs["build"]


def ended(job: Job) -> bool:
    return job.status == "completed"


def finished(bridge: Emulators, job: Job) -> bool:
    return ended(job) and not bridge.runpod.state.workers


def states(bridge: Emulators) -> list[State]:
    ledger = Ledger.open(f"sqlite:///{bridge.ledger}")
    try:
        rows = asyncio.run(ledger.read(lambda transaction: transaction.submissions(since=0.0, names=())))
        return [submission.state for submission in rows]
    finally:
        ledger.close()


@pytest.mark.parametrize("mode", ["jit", "registration", "app", "pat"])
def test_a_queued_job_runs_and_no_secret_reaches_its_steps(tmp_path: Path, mode: str) -> None:
    with real_workers(tmp_path) as bridge:
        (tmp_path / "bridge.toml").write_text(f'[[route]]\nname = "gpu"\ncredentials = "{mode}"\n')
        job = queue(bridge, "env", "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'")
        document = bridge.dispatch("--config", str(tmp_path / "bridge.toml"))
        until(lambda: ended(job) and not bridge.runpod.state.workers)
        assert job.conclusion == "success", job.log
        assert job.executions == [document["submissions"][0]["runner"]]
        (request,) = bridge.runpod.state.requests.values()
        assert request.status == "COMPLETED"
        everything = job.log + bridge.runpod.scaler.logs() + json.dumps([request.output, request.error])
        assert "RUNPOD_ENDPOINT_ID=ep-1" in job.log
        assert [s for s in secrets_of(bridge, request.input) if s in everything] == []
        assert bridge.dispatch("--config", str(tmp_path / "bridge.toml"))["counts"]["submitted"] == 0
        assert states(bridge) == [State.FINISHED]
        assert bridge.github.state.runners == {}


def test_a_job_on_a_gpu_tells_how_it_used_it_in_its_log_and_in_explain(tmp_path: Path) -> None:
    (tmp_path / "nvidia").mkdir()
    library = FakeNvml(tmp_path / "nvidia")
    library.tell(used=7_100_000_000, rate=63)
    hook = ROOT / "runner_image" / "hooks" / "job_completed.sh"
    variables = {
        "RUNNER_BUILD_TYPE": "gpu",
        "LD_LIBRARY_PATH": str(library.folder),
        "ACTIONS_RUNNER_HOOK_JOB_COMPLETED": str(hook),
        "RUNPOD_DC_ID": "EU-RO-1",
    }
    with real_workers(tmp_path, variables=variables) as bridge:
        job = queue(bridge, "sleep 2")
        bridge.dispatch()
        until(lambda: ended(job) and not bridge.runpod.state.workers)
        bridge.dispatch()
        line = "GPU: NVIDIA L4, peak memory 7.1 of 24.0 GB, mean utilisation 63 %, peak 63 %"
        assert f"{line}\n" in job.log
        bare = dict.fromkeys((n for n in os.environ if n.startswith(("GITHUB_", "RUNPOD_", "BRIDGE_"))), "")
        environment = bare | bridge.environment | {"COLUMNS": "300"}
        told = CliRunner().invoke(app, ["explain", str(job.id)], env=environment, catch_exceptions=False)
        assert line in told.output
        told = CliRunner().invoke(app, ["explain", str(job.id), "--json"], env=environment, catch_exceptions=False)
        execution = json.loads(told.stdout)[0]["submissions"][0]["execution"]
        assert (execution["gpu_type"], execution["data_center"]) == ("NVIDIA L4", "EU-RO-1")
        assert execution["gpu_usage"]["peak_memory_mb"] == 7_100


def test_a_job_finds_what_an_earlier_one_of_its_repository_cached(tmp_path: Path) -> None:
    (tmp_path / "bridge.toml").write_text('[[route]]\nname = "gpu"\ncache = true\ncache_gb = 2\n')
    (tmp_path / "volume").mkdir()
    hooks = {
        f"ACTIONS_RUNNER_HOOK_JOB_{moment.upper()}": str(ROOT / "runner_image" / "hooks" / f"job_{moment}.sh")
        for moment in ("started", "completed")
    }
    variables = {**hooks, "RUNNER_CACHE_DIR": str(tmp_path / "volume" / "cache")}
    with real_workers(tmp_path, variables=variables) as bridge:
        bridge.variables["BRIDGE_CONFIG"] = str(tmp_path / "bridge.toml")
        for step in ('echo weights > "$HF_HOME/model"', 'test "$(cat "$HF_HOME/model")" = weights'):
            job = queue(bridge, step)
            bridge.dispatch()
            until(partial(finished, bridge, job))
            assert job.conclusion == "success", job.log
            assert "Cache: 0.0 of 2 GB are used\n" in job.log


def secrets_of(bridge: Emulators, given: dict[str, Any]) -> list[str]:
    """All secrets of the bridge, the endpoint and the request, and the tokens that GitHub issued."""
    handed = [given[key] for key in ("jit_config", "registration_token") if key in given]
    key = bridge.github.app.pem.splitlines()[1:4]
    return [API_KEY, PAT, "ghs_", *key, *handed, *bridge.github.state.registration_tokens]


def test_a_request_delivered_twice_runs_its_job_once(tmp_path: Path) -> None:
    with real_workers(tmp_path) as bridge:
        bridge.runpod.state.double_next = 1
        job = queue(bridge, "sleep 4")
        bridge.dispatch()
        (request,) = bridge.runpod.state.requests.values()
        until(lambda: ended(job) and len(request.workers) == 2 and not bridge.runpod.state.workers)
        assert (job.conclusion, len(job.executions)) == ("success", 1)
        bridge.dispatch()
        assert states(bridge) == [State.FINISHED], "GitHub's report outranks that of the second worker"
        assert len(bridge.runpod.state.requests) == 1


def test_cancelling_a_request_by_hand_ends_its_job_and_its_worker(tmp_path: Path) -> None:
    with real_workers(tmp_path) as bridge:
        job = queue(bridge, "sleep 619")
        bridge.dispatch()
        until(lambda: job.status == "in_progress")
        (request,) = bridge.runpod.state.requests.values()
        bridge.runpod.state.cancel("ep-1", request.id)
        until(lambda: ended(job) and not bridge.runpod.state.workers)
        assert job.conclusion == "failure"
        assert bridge.dispatch()["counts"]["submitted"] == 0


def test_a_job_whose_worker_dies_fails_and_does_not_run_again(tmp_path: Path) -> None:
    """GitHub does not requeue it (facts/github.md); a person may rerun it."""
    state = a_github(limits=Limits(pickup=5.0, heartbeat=3.0, renewal=3.0))
    with real_workers(tmp_path, state=state, redeliver=False) as bridge:
        job = queue(bridge, f"mkdir {tmp_path}/began; sleep 620")
        bridge.dispatch()
        until(lambda: job.status == "in_progress" and (tmp_path / "began").exists())
        for worker in list(bridge.runpod.state.workers):
            bridge.runpod.scaler.kill(worker)

        def failed() -> bool:
            bridge.github.state.tick()
            return ended(job)

        until(failed)
        assert (job.conclusion, len(job.executions)) == ("failure", 1)
        assert bridge.dispatch()["counts"]["submitted"] == 0
        until(lambda: bridge.dispatch() and not bridge.github.state.runners)
        after = queue(bridge, "true")
        bridge.dispatch()
        until(lambda: ended(after))
        assert after.conclusion == "success"


def test_a_runner_whose_job_was_cancelled_is_withdrawn_and_its_worker_stops(tmp_path: Path) -> None:
    (tmp_path / "bridge.toml").write_text('[[route]]\nname = "gpu"\nidle_timeout = 5\n')
    with real_workers(tmp_path) as bridge:
        bridge.variables["BRIDGE_CONFIG"] = str(tmp_path / "bridge.toml")
        job = queue(bridge, "true")
        bridge.dispatch()
        bridge.github.state.cancel_job(job)
        until(lambda: [r for r in bridge.github.state.runners.values() if r.session])
        withdrawn: list[str] = []

        def withdraws() -> bool:
            withdrawn.extend(w["detail"] for w in bridge.dispatch()["withdrawals"])
            return bool(withdrawn)

        until(withdraws)
        assert withdrawn == ["the runner got no job within its idle_timeout"]
        until(lambda: not bridge.runpod.state.workers)
        (request,) = bridge.runpod.state.requests.values()
        assert (request.status, bridge.github.state.runners) == ("CANCELLED", {})


def test_a_self_test_through_the_endpoint_runs_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from runpod.endpoint import Endpoint

    with real_workers(tmp_path) as bridge:
        queued = queue(bridge, "true")
        monkeypatch.setattr("runpod.endpoint_url_base", bridge.runpod.base_url)
        endpoint = Endpoint("ep-1", api_key=API_KEY)
        policy = {"executionTimeout": 120_000, "ttl": 600_000}
        job = endpoint.run({"input": {"self_test": True}, "policy": policy})
        until(lambda: job.status() == "COMPLETED" and not bridge.runpod.state.workers)
        output = job.output()
        report = self_test.parse(output)
        assert report is not None, output
        (request,) = bridge.runpod.state.requests.values()
        assert request.workers == [report.worker]
        assert report.runner_version == VERSION
        assert {name for name in ("runner", "github", "sdk", "disk") if not report.checks[name].ok} == set()
        assert report.process_seconds is not None
        assert [s for s in secrets_of(bridge, {}) if s in json.dumps(output) + bridge.runpod.scaler.logs()] == []
        assert (bridge.github.state.runners, queued.status) == ({}, "queued")
