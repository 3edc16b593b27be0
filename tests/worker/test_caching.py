"""The cache of a job from the request on: the handler prepares the volume, and the hooks do the rest."""

import json
import os
from pathlib import Path

import pytest

from runner_image import caching
from tests.support import ROOT
from tests.worker.workers import Worker

HOOKS = ROOT / "runner_image" / "hooks"


@pytest.fixture
def volume(tmp_path: Path, worker: Worker) -> Path:
    """A network volume that no job has used yet."""
    volume = tmp_path / "volume"
    volume.mkdir()
    worker.patch.setenv("RUNNER_CACHE_DIR", str(volume / "cache"))
    for moment in ("started", "completed"):
        name = f"ACTIONS_RUNNER_HOOK_JOB_{moment.upper()}"
        worker.patch.setenv(name, str(HOOKS / f"job_{moment}.sh"))
    return volume


def unprepared(output: str) -> list[str]:
    events = [json.loads(line) for line in output.splitlines() if line.startswith('{"at": ')]
    return [event["detail"] for event in events if event["event"] == "cache not prepared"]


def test_a_second_job_finds_what_the_first_one_cached(worker: Worker, volume: Path) -> None:
    first = worker.standin.queue('mkdir "$HF_HOME/hub" && echo weights > "$HF_HOME/hub/model"')
    assert worker.handle(**worker.jit(cache_gb=1))["result"] == "Succeeded", first.log
    second = worker.standin.queue('test "$(cat "$HF_HOME/hub/model")" = weights')
    assert worker.handle(**worker.jit(cache_gb=1))["result"] == "Succeeded", second.log
    assert f"Cache: {volume}/cache/acme/web\n" in second.log
    assert "Cache: 0.0 of 1 GB are used\n" in second.log
    assert list((volume / "cache/acme/web/.jobs").iterdir()) == []


def test_a_request_without_a_cache_does_not_touch_the_volume(worker: Worker, volume: Path) -> None:
    job = worker.standin.queue('test -z "${HF_HOME:-}"')
    assert worker.handle(**worker.jit())["result"] == "Succeeded", job.log
    assert list(volume.iterdir()) == []


def test_an_endpoint_without_a_volume_runs_the_job(
    worker: Worker, volume: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volume.rmdir()
    job = worker.standin.queue('test -z "${HF_HOME:-}"')
    assert worker.handle(**worker.jit(cache_gb=1))["result"] == "Succeeded", job.log
    assert f"Warning: this job has no cache: this endpoint has no network volume at {volume}\n" in job.log
    (detail,) = unprepared(capsys.readouterr().out)
    assert "No such file or directory" in detail


def test_a_volume_that_hangs_does_not_keep_the_runner_from_starting(
    worker: Worker, volume: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text("import time; time.sleep(60)")
    worker.patch.setattr(caching, "PROGRAM", slow)
    worker.limit(cache=0.5)
    worker.standin.queue("true")
    assert worker.handle(**worker.jit(cache_gb=1))["result"] == "Succeeded"
    assert unprepared(capsys.readouterr().out) == ["the network volume did not answer within 0.5 s"]


@pytest.mark.parametrize("kind", ["link", "file", "folder"])
def test_the_folder_of_all_caches_is_prepared_without_following_a_link(
    worker: Worker, volume: Path, tmp_path: Path, kind: str
) -> None:
    """A job could have put a link there, and the handler is root."""
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o700)
    root = volume / "cache"
    if kind == "link":
        root.symlink_to(precious)
    elif kind == "file":
        root.touch()
    else:
        root.mkdir(mode=0o700)
    worker.standin.queue("true")
    worker.handle(**worker.jit(cache_gb=1))
    assert root.is_dir()
    assert not root.is_symlink()
    assert root.stat().st_mode & 0o777 == 0o755
    assert precious.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_the_folder_of_all_caches_belongs_to_the_user_of_the_jobs(volume: Path) -> None:
    from runner_image.caches.program import prepare

    prepare(volume / "cache", 1001, 1002)
    found = (volume / "cache").stat()
    assert (found.st_uid, found.st_gid) == (1001, 1002)


def test_a_lease_is_longer_than_the_job(worker: Worker, volume: Path) -> None:
    worker.standin.queue(f"(cat {volume}/cache/acme/web/.jobs/r-1; echo; date +%s) > {worker.standin.home}/lease")
    worker.handle(**worker.jit(cache_gb=1, job_timeout=100))
    end, now = map(int, (worker.standin.home / "lease").read_text().split())
    assert 100 + caching.LEASE_MARGIN - 60 < end - now <= 100 + caching.LEASE_MARGIN + 1
