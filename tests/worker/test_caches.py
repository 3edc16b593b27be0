"""The cache of a job, as the hooks give it: shared by the jobs of a repository, bounded, and never worth a job."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runner_image.caches import folder, program
from runner_image.caches.origin import folder_of, is_private
from tests.support import ROOT
from tests.support.background import until

HOOKS = ROOT / "runner_image" / "hooks"
PUSH: dict[str, Any] = {"ref": "refs/heads/main", "repository": {"full_name": "acme/web"}}


def pull_request(head: object = "acme/web", **more: Any) -> dict[str, Any]:
    """The event of a pull request; its head is in this repository, None for a deleted one."""
    repo = {"full_name": head} if isinstance(head, str) else head
    return {"pull_request": {"head": {"repo": repo}}, "repository": {"full_name": "acme/web"}, **more}


class Job:
    """A job on a worker with a network volume, whose hooks run as processes."""

    def __init__(self, volume: Path, folder: Path, name: str = "runpod-1-1", **given: str) -> None:
        self.folder, self.volume = folder, volume
        self.temp = folder / "temp"
        self.temp.mkdir(parents=True, exist_ok=True)
        self.event(PUSH)
        self.variables = {
            "PATH": "/usr/bin:/bin",
            "RUNNER_CACHE_DIR": str(volume / "cache"),
            "RUNNER_CACHE_GB": "1",
            "RUNNER_CACHE_LEASE": "600",
            "GITHUB_REPOSITORY": "acme/web",
            "GITHUB_EVENT_NAME": "push",
            "GITHUB_EVENT_PATH": str(folder / "event.json"),
            "GITHUB_ENV": str(folder / "env"),
            "RUNNER_TEMP": str(self.temp),
            "RUNNER_NAME": name,
            "AGENT_TOOLSDIRECTORY": "/opt/hostedtoolcache",
            **given,
        }

    def event(self, event: object) -> None:
        (self.folder / "event.json").write_text(event if isinstance(event, str) else json.dumps(event))

    def hook(self, moment: str) -> str:
        """What a hook prints; it must not fail."""
        command = ["bash", "-e", str(HOOKS / f"job_{moment}.sh")]
        done = subprocess.run(
            command, cwd=self.folder, env=self.variables, capture_output=True, text=True, check=True, timeout=60
        )
        assert done.stderr == ""
        return done.stdout

    def start(self) -> str:
        """The line about the cache that the started hook prints."""
        (line,) = [line for line in self.hook("started").splitlines() if "ache" in line]
        return line

    def complete(self) -> str:
        """What the completed hook prints."""
        return self.hook("completed").strip()

    @property
    def env(self) -> dict[str, str]:
        """The variables that the job got."""
        path = Path(self.variables["GITHUB_ENV"])
        return dict(line.split("=", 1) for line in path.read_text().splitlines()) if path.exists() else {}

    def cached(self, name: str, size: int = 10, variable: str = "HF_HOME", used: float | None = None) -> Path:
        """Write a file into a folder of the cache; `used` seconds ago."""
        path = Path(self.env[variable], name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
        if used is not None:
            os.utime(path, (time.time() - used, time.time() - used))
        return path


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "volume" / "cache").mkdir(parents=True)
    return tmp_path / "volume"


@pytest.fixture
def a_job(volume: Path, tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Makes jobs on one volume, each on a worker of its own."""
    jobs: list[Job] = []

    def make(**given: str) -> Job:
        number = len(jobs) + 1
        jobs.append(Job(volume, tmp_path / f"worker-{number}", f"runpod-{number}-1", **given))
        return jobs[-1]

    yield make
    subprocess.run(["rm", "-rf", volume], check=True)  # pytest cannot remove folders that are nested too deeply


# --- what a job gets ---


def test_a_second_job_finds_what_the_first_one_cached(a_job: Callable[..., Job], volume: Path) -> None:
    first, second = a_job(), a_job()
    assert first.start() == f"Cache: {volume}/cache/acme/web"
    first.cached("hub/models--acme--m/blobs/1")
    assert first.complete() == "Cache: 0.0 of 1 GB are used"
    second.start()
    assert second.env["HF_HOME"] == f"{volume}/cache/acme/web/huggingface"
    assert Path(second.env["HF_HOME"], "hub/models--acme--m/blobs/1").read_bytes() == b"x" * 10


def test_a_job_gets_a_folder_for_each_tool(a_job: Callable[..., Job], volume: Path) -> None:
    job = a_job()
    job.start()
    cache = volume / "cache/acme/web"
    assert job.env == {
        "HF_HOME": str(cache / "huggingface"),
        "HF_TOKEN_PATH": str(job.temp / "huggingface/token"),
        "TORCH_HOME": str(cache / "torch"),
        "PIP_CACHE_DIR": str(cache / "pip"),
        "UV_CACHE_DIR": str(cache / "uv"),
        "XDG_CACHE_HOME": str(cache / "xdg"),
        "AGENT_TOOLSDIRECTORY": str(cache / "tools"),
        "RUNNER_TOOL_CACHE": str(cache / "tools"),
    }
    assert all(Path(job.env[name]).is_dir() for name in job.env if name != "HF_TOKEN_PATH")


def test_repositories_have_caches_of_their_own_whatever_their_case(a_job: Callable[..., Job], volume: Path) -> None:
    for name in ("acme/web", "Acme/Web", "acme/api", "octo_corp/a.b-c_d"):
        job = a_job(GITHUB_REPOSITORY=name)
        job.event({**PUSH, "repository": {"full_name": name}})
        assert job.start() == f"Cache: {volume}/cache/{name.lower()}"


def test_a_job_of_a_route_without_a_cache_gets_none(a_job: Callable[..., Job], volume: Path) -> None:
    job = a_job(RUNNER_CACHE_GB="")
    assert "ache" not in job.hook("started")
    assert (job.env, job.complete(), list((volume / "cache").iterdir())) == ({}, "", [])


def test_a_login_is_not_left_in_the_cache(a_job: Callable[..., Job], volume: Path) -> None:
    job = a_job()
    job.start()
    for name in ("token", "stored_tokens"):
        job.cached(name)
    job.complete()
    assert sorted(path.name for path in (volume / "cache/acme/web/huggingface").iterdir()) == []


def test_a_folder_in_place_of_a_login_does_not_stop_the_removal_of_old_files(a_job: Callable[..., Job]) -> None:
    job = a_job(RUNNER_CACHE_GB=GB)
    job.start()
    old = job.cached("hub/m/f", 2000)
    (Path(job.env["HF_HOME"]) / "token/nested").mkdir(parents=True)
    assert job.complete().startswith("Cache: ")
    assert not (Path(job.env["HF_HOME"]) / "token").exists()
    assert not old.exists()


# --- forks ---


@pytest.mark.parametrize(
    ("name", "event", "private"),
    [
        ("push", PUSH, False),
        ("schedule", {}, False),
        ("workflow_dispatch", {"inputs": {}}, False),
        ("merge_group", {"merge_group": {}}, False),
        ("pull_request", pull_request("acme/web"), False),
        ("pull_request", pull_request("Acme/WEB"), False),
        ("pull_request", pull_request("mallory/web"), True),
        ("pull_request_target", pull_request("mallory/web"), True),
        ("pull_request_review", pull_request("mallory/web"), True),
        ("pull_request", pull_request(None), True),
        ("pull_request", pull_request({"fork": False}), True),
        ("pull_request", pull_request({"full_name": ["acme/web"]}), True),
        ("pull_request", {"pull_request": {}}, True),
        ("pull_request", {"pull_request": None}, True),
        ("pull_request", {}, True),
        ("pull_request_target", {}, True),
        ("workflow_run", {"workflow_run": {"head_repository": {"full_name": "acme/web"}}}, False),
        ("workflow_run", {"workflow_run": {"head_repository": {"full_name": "mallory/web"}}}, True),
        ("workflow_run", {"workflow_run": {"head_repository": None}}, True),
        ("workflow_run", {}, True),
        ("issue_comment", {"issue": {"number": 1}}, False),
        ("issue_comment", {"issue": {"number": 1, "pull_request": {"url": "x"}}}, True),
        ("push", None, True),
        ("push", [], True),
        ("push", "text", True),
    ],
)
def test_a_job_whose_code_may_come_from_a_fork_is_kept_apart(name: str, event: object, *, private: bool) -> None:
    assert is_private("acme/web", name, event) == private


@pytest.mark.parametrize("event", [pull_request("mallory/web"), "{", "", "[" * 100_000, "null"])
def test_a_fork_gets_an_empty_cache_that_is_removed(a_job: Callable[..., Job], volume: Path, event: object) -> None:
    ours, forks = a_job(), a_job(GITHUB_EVENT_NAME="pull_request")
    ours.start()
    ours.cached("hub/models--acme--secret/blobs/1")
    forks.event(event)
    assert forks.start() == "Cache: private and empty, because this job's code may come from a fork"
    assert list(Path(forks.env["HF_HOME"]).iterdir()) == []
    assert not any(value.startswith(str(volume)) for value in forks.env.values())
    forks.cached("hub/poisoned")
    assert forks.complete() == ""
    assert not (forks.temp / "private-cache").exists()
    assert not list(volume.rglob("poisoned"))


def test_a_private_cache_is_empty_although_an_earlier_job_left_one(a_job: Callable[..., Job]) -> None:
    job = a_job(GITHUB_EVENT_NAME="pull_request")
    job.event(pull_request("mallory/web"))
    (job.temp / "private-cache/huggingface").mkdir(parents=True)
    (job.temp / "private-cache/huggingface/left").touch()
    job.start()
    assert list(Path(job.env["HF_HOME"]).iterdir()) == []


def test_without_an_event_a_job_is_kept_apart(a_job: Callable[..., Job]) -> None:
    job = a_job()
    del job.variables["GITHUB_EVENT_PATH"]
    assert "private and empty" in job.start()


# --- the limit ---


GB = "0.000001"
"""1,000 bytes."""


def test_what_was_not_used_for_the_longest_time_is_removed(a_job: Callable[..., Job]) -> None:
    job = a_job(RUNNER_CACHE_GB=GB)
    job.start()
    old = job.cached("hub/models--a--old/blobs/1", 600, used=300)
    new = job.cached("hub/models--a--new/blobs/1", 600, used=100)
    middle = job.cached("hub/checkpoints/m.pt", 300, "TORCH_HOME", used=200)
    assert job.complete() == "Cache: 0.0 of 1e-06 GB are used, after 0.0 GB were removed"
    assert (old.exists(), middle.exists(), new.exists()) == (False, True, True)


def test_a_file_that_was_read_lately_is_not_the_oldest(a_job: Callable[..., Job]) -> None:
    job = a_job(RUNNER_CACHE_GB=GB)
    job.start()
    read, written = job.cached("a/read", 600, used=300), job.cached("b/written", 600, used=200)
    os.utime(read, (time.time(), time.time() - 300))
    job.complete()
    assert (read.exists(), written.exists()) == (True, False)


@pytest.mark.parametrize(
    ("variable", "one", "other"),
    [
        ("HF_HOME", "hub/models--a--m/blobs/1", "hub/models--a--m/snapshots/s/config.json"),
        ("TORCH_HOME", "hub/a_repository/model.py", "hub/a_repository/weights.pt"),
        ("UV_CACHE_DIR", "archive-v0/x/a.py", "wheels-v5/pypi/a/1.0.http"),
        ("PIP_CACHE_DIR", "http-v2/a/b/c", "http-v2/a/b/c.body"),
        ("XDG_CACHE_HOME", "tool/a", "tool/b/c"),
        ("RUNNER_TOOL_CACHE", "Python/3.12.1/x64/bin/python", "Python/3.12.1/x64.complete"),
    ],
)
def test_what_belongs_together_is_removed_together(
    a_job: Callable[..., Job], variable: str, one: str, other: str
) -> None:
    job = a_job(RUNNER_CACHE_GB="0.0000013")
    job.start()
    parts = [job.cached(one, 600, variable, used=300), job.cached(other, 600, variable, used=200)]
    kept = job.cached("kept", 600, "HF_HOME" if variable != "HF_HOME" else "XDG_CACHE_HOME", used=250)
    job.complete()
    assert [path.exists() for path in (*parts, kept)] == [True, True, False]


def test_nothing_is_removed_below_the_limit(a_job: Callable[..., Job]) -> None:
    job = a_job(RUNNER_CACHE_GB=GB)
    job.start()
    files = [job.cached(f"hub/m{n}/f", 500) for n in range(2)]
    job.complete()
    assert all(path.exists() for path in files), "exactly the limit"


def test_a_file_with_two_names_counts_once(a_job: Callable[..., Job]) -> None:
    job = a_job(RUNNER_CACHE_GB=GB)
    job.start()
    first = job.cached("hub/m/f", 900)
    Path(job.env["HF_HOME"], "hub/m/g").hardlink_to(first)
    job.complete()
    assert first.exists()


def test_nothing_is_removed_while_another_job_of_the_repository_runs(a_job: Callable[..., Job]) -> None:
    ending, running, last = a_job(RUNNER_CACHE_GB=GB), a_job(), a_job(RUNNER_CACHE_GB=GB)
    ending.start()
    old = ending.cached("hub/m/f", 2000)
    running.start()
    assert ending.complete() == "Cache: 0.0 of 1e-06 GB are used"
    assert old.exists()
    running.complete()
    last.start()
    last.complete()
    assert not old.exists()


def test_a_job_of_another_repository_does_not_keep_anything(a_job: Callable[..., Job]) -> None:
    ending, other = a_job(RUNNER_CACHE_GB=GB), a_job(GITHUB_REPOSITORY="acme/api")
    other.start()
    ending.start()
    old = ending.cached("hub/m/f", 2000)
    ending.complete()
    assert not old.exists()


def test_a_worker_that_was_killed_keeps_files_until_its_lease_ends(a_job: Callable[..., Job], volume: Path) -> None:
    killed, first, second = a_job(RUNNER_CACHE_LEASE="2"), a_job(RUNNER_CACHE_GB=GB), a_job(RUNNER_CACHE_GB=GB)
    killed.start()
    first.start()
    old = first.cached("hub/m/f", 2000)
    lease = volume / "cache/acme/web/.jobs/runpod-1-1"
    lease.write_text(f"{time.time() + 600:.0f}")
    first.complete()
    assert old.exists()
    lease.write_text(f"{time.time() - 1:.0f}")
    second.start()
    second.complete()
    assert not old.exists()
    assert list((volume / "cache/acme/web/.jobs").iterdir()) == []


@pytest.mark.parametrize("content", ["", "soon", "nan", "inf", "9" * 400])
def test_a_damaged_lease_ends(a_job: Callable[..., Job], volume: Path, content: str) -> None:
    job = a_job(RUNNER_CACHE_GB=GB)
    job.start()
    old = job.cached("hub/m/f", 2000)
    lease = volume / "cache/acme/web/.jobs/other"
    lease.write_text(content)
    os.utime(lease, (0, time.time() - folder.LONGEST_LEASE - 1))
    job.complete()
    assert not old.exists()
    assert not lease.exists()


def test_a_lease_of_the_future_keeps_nothing(a_job: Callable[..., Job], volume: Path) -> None:
    job = a_job(RUNNER_CACHE_GB=GB)
    job.start()
    old = job.cached("hub/m/f", 2000)
    lease, later = volume / "cache/acme/web/.jobs/other", time.time() + 2 * folder.CLOCK_ERROR
    lease.write_text(f"{later + 600:.0f}")
    os.utime(lease, (later, later))
    job.complete()
    assert not old.exists()
    assert not lease.exists()


# --- a removal that does not end ---


def programs(a_folder: Path, rm: str) -> str:
    """A PATH with another `rm`."""
    a_folder.mkdir()
    (a_folder / "rm").write_text(f"#!/bin/bash\n{rm}\n")
    (a_folder / "rm").chmod(0o755)
    return f"{a_folder}:/usr/bin:/bin"


def test_no_job_finds_half_of_a_part(a_job: Callable[..., Job], tmp_path: Path, volume: Path) -> None:
    job, last = a_job(RUNNER_CACHE_GB=GB), a_job(RUNNER_CACHE_GB=GB)
    job.start()
    one = job.cached("Python/3.12.1/x64/bin/python", 1500, "RUNNER_TOOL_CACHE")
    marker = job.cached("Python/3.12.1/x64.complete", 10, "RUNNER_TOOL_CACHE")
    job.variables["PATH"] = programs(tmp_path / "bin", 'find "${@: -1}" -name python -delete; exit 1')
    assert job.complete().endswith("entries cannot be removed")
    assert not one.parent.parent.exists()
    assert not marker.exists()
    left = volume / "cache/acme/web/.removed"
    assert [path.name for path in left.rglob("*.complete")] == ["x64.complete"]
    last.start()
    used = last.cached("hub/m/f", 995)
    last.complete()
    assert not left.exists()
    assert used.exists()


def test_a_removal_that_takes_too_long_gives_back_its_lock(
    a_job: Callable[..., Job], tmp_path: Path, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = a_job(RUNNER_CACHE_GB=GB)
    job.start()
    job.cached("hub/m/f", 2000)
    for name, value in {**job.variables, "PATH": programs(tmp_path / "bin", "sleep 60")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(program.LIMITS, "completed", 1.5)
    line = program.in_time("completed")
    assert line == "Warning: the limit of the cache was not enforced: the network volume did not answer within 2 s"
    assert list((volume / "cache/acme/web/.removed").iterdir()), "the removal had begun"
    assert not lock_of(volume).exists()


# --- a lock ---


def lock_of(volume: Path) -> Path:
    return volume / "cache/acme/web" / folder.LOCK


def test_a_job_waits_until_old_files_are_removed(a_job: Callable[..., Job], volume: Path) -> None:
    a_job().start()
    lock_of(volume).touch()
    starting = a_job()
    began = time.monotonic()
    process = subprocess.Popen(
        ["bash", "-e", str(HOOKS / "job_started.sh")], env=starting.variables, stdout=subprocess.PIPE, text=True
    )
    until((volume / "cache/acme/web/.jobs/runpod-2-1").exists)
    time.sleep(0.5)
    assert process.poll() is None
    lock_of(volume).unlink()
    output, _ = process.communicate(timeout=30)
    assert f"Cache: {volume}/cache/acme/web\n" in output
    assert time.monotonic() - began >= 0.5


def test_a_job_does_not_wait_forever(a_job: Callable[..., Job], volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = a_job()
    job.start()
    job.complete()
    lock_of(volume).touch()
    monkeypatch.chdir(volume / "cache/acme/web")
    with pytest.raises(folder.Unusable, match="another job has removed old files for 0 s"):
        folder.claim("x", time.time() + 600, 0.2)
    assert list(Path(".jobs").iterdir()) == []


def test_a_lock_of_a_job_that_was_killed_is_ignored(a_job: Callable[..., Job], volume: Path) -> None:
    job = a_job(RUNNER_CACHE_GB=GB)
    job.start()
    lock_of(volume).touch()
    job.complete()
    long_ago = time.time() - folder.LOCK_LIFETIME - 1
    for make in (Path.touch, Path.mkdir):
        make(lock_of(volume))
        os.utime(lock_of(volume), (long_ago, long_ago))
        assert job.start().startswith("Cache: /")
        old = job.cached("hub/m/f", 2000)
        job.complete()
        assert not old.exists()
        assert not lock_of(volume).exists()


def test_a_lock_of_the_future_is_ignored(a_job: Callable[..., Job], volume: Path) -> None:
    first, job = a_job(), a_job(RUNNER_CACHE_GB=GB)
    first.start()
    first.complete()
    later = time.time() + 2 * folder.LOCK_LIFETIME
    lock_of(volume).touch()
    os.utime(lock_of(volume), (later, later))
    assert job.start().startswith("Cache: /")
    old = job.cached("hub/m/f", 2000)
    job.complete()
    assert not old.exists()


def test_a_lock_that_is_nested_too_deeply_is_removed(a_job: Callable[..., Job], volume: Path) -> None:
    job = a_job(RUNNER_CACHE_GB=GB)
    job.start()
    old = job.cached("hub/m/f", 2000)
    lock_of(volume).mkdir()
    script = "import os\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')"
    subprocess.run([sys.executable, "-c", script], cwd=lock_of(volume), check=True)
    os.utime(lock_of(volume), (0, 0))
    job.complete()
    assert not old.exists()
    assert not lock_of(volume).exists()


# --- what hostile jobs leave ---


@pytest.mark.parametrize(
    "where", ["cache/acme", "cache/acme/web", "cache/acme/web/huggingface", "cache/acme/web/.jobs"]
)
@pytest.mark.parametrize("kind", ["link", "dangling link", "file", "pipe"])
def test_a_link_that_a_job_left_in_place_of_a_folder_is_not_followed(
    a_job: Callable[..., Job], volume: Path, tmp_path: Path, where: str, kind: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = volume / where
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "file":
        path.touch()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(elsewhere if kind == "link" else tmp_path / "nowhere")
    job = a_job()
    assert job.start() == f"Cache: {volume}/cache/acme/web"
    assert path.is_dir()
    assert not path.is_symlink()
    assert list(elsewhere.iterdir()) == []


def test_links_in_the_cache_are_not_followed_when_old_files_are_removed(
    a_job: Callable[..., Job], tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_bytes(b"x" * 5000)
    job = a_job(RUNNER_CACHE_GB=GB)
    job.start()
    home = Path(job.env["HF_HOME"])
    (home / "hub").mkdir()
    (home / "hub" / "models--link").symlink_to(precious)
    (home / "link").symlink_to(precious)
    job.cached("hub/models--big/f", 3000)
    job.complete()
    assert (precious / "file").exists()
    assert not (home / "hub" / "models--big").exists()


@pytest.mark.parametrize("name", ["-rf", "--", "a b", "a\nb", "a\tb", "\udcff", "*", ".hidden", "..."])
def test_files_with_odd_names_are_removed(a_job: Callable[..., Job], volume: Path, name: str) -> None:
    job = a_job(RUNNER_CACHE_GB=GB)
    job.start()
    kept = job.cached("kept/f", 400)
    cache = volume / "cache/acme/web"
    (cache / name).write_bytes(b"x" * 3000)
    os.utime(cache / name, (0, 0))
    job.complete()
    assert not os.path.lexists(cache / name)
    assert kept.exists()


def test_folders_that_are_nested_too_deeply_are_removed(a_job: Callable[..., Job], volume: Path) -> None:
    job = a_job(RUNNER_CACHE_GB=GB)
    job.start()
    script = "import os\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')\nopen('f', 'w').write('x' * 3000)"
    subprocess.run([sys.executable, "-c", script], cwd=volume / "cache/acme/web", check=True)
    job.complete()
    assert not (volume / "cache/acme/web/d").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_was_made_read_only_is_removed(a_job: Callable[..., Job]) -> None:
    job = a_job(RUNNER_CACHE_GB=GB)
    job.start()
    path = job.cached("hub/m/deep/f", 3000)
    path.parent.chmod(0o500)
    job.complete()
    assert not path.exists()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "acme",
        "acme/",
        "/web",
        "../etc",
        "acme/..",
        "acme/.",
        "a/b/c",
        "acme/we b",
        "acme/web\nX=1",
        "acme/\u00e9",
        "a" * 101 + "/b",
    ],
)
def test_a_name_that_is_no_repository_gets_no_cache(a_job: Callable[..., Job], volume: Path, name: str) -> None:
    assert folder_of(name) is None
    job = a_job(GITHUB_REPOSITORY=name)
    assert job.start().startswith("Warning: this job has no cache: GITHUB_REPOSITORY is ")
    assert job.env == {}
    assert list((volume / "cache").iterdir()) == []


def test_the_name_of_a_runner_cannot_leave_the_folder(a_job: Callable[..., Job], volume: Path) -> None:
    job = a_job(RUNNER_NAME="../../../x" * 50)
    job.start()
    (lease,) = (volume / "cache/acme/web/.jobs").iterdir()
    assert len(lease.name) == 100
    job.complete()
    assert not lease.exists()


# --- a volume that does not work ---


def test_without_a_volume_the_job_runs_without_a_cache(a_job: Callable[..., Job], tmp_path: Path) -> None:
    job = a_job(RUNNER_CACHE_DIR=str(tmp_path / "nowhere/cache"))
    expected = f"Warning: this job has no cache: this endpoint has no network volume at {tmp_path}/nowhere"
    assert job.start() == expected
    assert job.env == {}
    assert job.complete() == "", "one line is enough"


def test_a_volume_that_is_lost_during_the_job_costs_a_line(a_job: Callable[..., Job], volume: Path) -> None:
    job = a_job()
    job.start()
    volume.rename(volume.with_name("lost"))
    said = f"Warning: the limit of the cache was not enforced: this endpoint has no network volume at {volume}"
    assert job.complete() == said


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, call: str, code: int) -> Iterator[None]:
    """A call of the operating system that fails on the volume."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        yield


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("fsync", errno.ENOSPC),
        ("fsync", errno.EDQUOT),
        ("mkdir", errno.EROFS),
        ("open", errno.EIO),
        ("open", errno.ESTALE),
        ("fchdir", errno.EACCES),
    ],
)
def test_a_volume_that_is_full_read_only_or_damaged_costs_a_line(
    a_job: Callable[..., Job], volume: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    job = a_job()
    monkeypatch.chdir(volume)
    with failing(monkeypatch, call, code):
        line = program.work("started", job.variables)
    assert line == f"Warning: this job has no cache: {os.strerror(code)}"
    assert job.env == {}
    assert not list(volume.glob("cache/acme/web/.jobs/*"))


@pytest.mark.parametrize("missing", ["GITHUB_ENV", "RUNNER_CACHE_LEASE", "RUNNER_TEMP"])
def test_a_variable_that_is_missing_costs_a_line(a_job: Callable[..., Job], volume: Path, missing: str) -> None:
    job = a_job()
    del job.variables[missing]
    assert job.start() == f"Warning: this job has no cache: KeyError: '{missing}'"
    assert not list(volume.glob("cache/acme/web/.jobs/*"))


def test_a_volume_that_hangs_costs_a_line(
    a_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(program.LIMITS, "started", 0.5)
    slow = tmp_path / "slow.py"
    slow.write_text(f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)")
    monkeypatch.setattr(program, "__file__", str(slow))
    began = time.monotonic()
    line = program.in_time("started")
    assert line == "Warning: this job has no cache: the network volume did not answer within 0 s"
    assert time.monotonic() - began < 30


def test_a_program_that_crashes_costs_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit(3)")
    monkeypatch.setattr(program, "__file__", str(broken))
    assert program.in_time("completed") == (
        "Warning: the limit of the cache was not enforced: its program exited with code 3"
    )


# --- many jobs at once ---


WORK = """
import os, pathlib, random, time
home = pathlib.Path(os.environ["HF_HOME"]) / "hub"
seen = random.sample(range(12), 6)
for number in seen:
    model, content = home / f"models--{number}", bytes([number]) * 20_000
    try:
        assert (model / "blob").read_bytes() == content, "damaged"
    except FileNotFoundError:
        model.mkdir(parents=True, exist_ok=True)
        new = model / f"new-{os.getpid()}"
        new.write_bytes(content)
        new.rename(model / "blob")
time.sleep(float(os.environ["JOB_SECONDS"]))
for number in seen:
    assert (home / f"models--{number}" / "blob").read_bytes() == bytes([number]) * 20_000, "lost"
"""


def a_whole_job(job: Job) -> "subprocess.Popen[str]":
    """A process that runs a job from its first hook to its last."""
    script = f"""
bash -e {HOOKS}/job_started.sh && set -a && . "$GITHUB_ENV" && set +a
{sys.executable} -c '{WORK}' && bash -e {HOOKS}/job_completed.sh
"""
    return subprocess.Popen(
        ["bash", "-c", script],
        env=job.variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_many_jobs_at_once_leave_the_volume_intact(a_job: Callable[..., Job], volume: Path) -> None:
    jobs = [
        a_job(RUNNER_CACHE_GB="0.00004", GITHUB_REPOSITORY=f"acme/{name}", JOB_SECONDS=str(number % 4 * 2))
        for number, name in enumerate(["web"] * 16 + ["api"] * 4)
    ]
    running = [a_whole_job(job) for job in jobs]
    for process in running:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        assert "Warning" not in output
    for name in ("web", "api"):
        cache = volume / "cache/acme" / name
        assert list((cache / ".jobs").iterdir()) == []
        assert not (cache / ".evicting").exists()
        blobs = list(cache.glob("huggingface/hub/*/blob"))
        assert all(len(set(path.read_bytes())) == 1 and path.stat().st_size == 20_000 for path in blobs)
        last = a_job(RUNNER_CACHE_GB="0.00004", GITHUB_REPOSITORY=f"acme/{name}")
        last.start()
        last.complete()
        left = sum(path.stat().st_size for path in cache.glob("huggingface/hub/*/*"))
        assert 20_000 <= left <= 40_000
