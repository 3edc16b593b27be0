"""A worker's self-test: what it finds, and that nothing which hangs, fails or lies can spoil the answer."""

import asyncio
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

import bridge
from bridge.core import self_test as reading
from bridge.core.worker import SelfTest, WorkerInput
from bridge.emulator.runner import VERSION
from runner_image import handler, probes
from runner_image.limits import LIMITS
from tests.support.background import until, until_async
from tests.support.runners import Installed
from tests.worker.test_program import tried

L4 = "echo 'NVIDIA L4, 23034, 550.54.15'"
ASKED: dict[str, Any] = {"self_test": True}


class Machine:
    """A worker's machine, with a folder of programs that precede the real ones."""

    def __init__(self, standin: Installed, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.standin, self.folder, self.patch = standin, folder, patch
        self.limits = replace(LIMITS, probe=20.0)
        folder.mkdir()

    def program(self, name: str, script: str) -> None:
        """Put a shell script in the place of a program."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def answer(self, **given: Any) -> dict[str, Any]:
        """The handler's answer to a request for a self-test."""
        request = {"id": "req-1", "input": {**ASKED, **given}}
        return asyncio.run(handler.handle(request, limits=self.limits))

    def facts(self) -> SelfTest:
        answered = self.answer()
        assert answered["outcome"] == "self_test", answered
        assert set(answered) == {"outcome", "self_test"}
        facts: SelfTest = answered["self_test"]
        return facts

    def failed(self, check: str) -> str:
        """Why a check failed."""
        found = self.facts()["checks"][check]
        assert found["ok"] is False
        return found["detail"]


@pytest.fixture
def machine(standin: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    for name in [n for n in os.environ if n.startswith(("GITHUB_", "RUNPOD_", "RUNNER_"))]:
        monkeypatch.delenv(name)
    folder = tmp_path / "programs"
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("RUNNER_DIR", str(standin.root))
    monkeypatch.setenv("GITHUB_API_URL", standin.github.api_url)
    return Machine(standin, folder, monkeypatch)


def test_a_gpu_worker_describes_itself(machine: Machine) -> None:
    machine.program("nvidia-smi", f"{L4}; {L4}")
    for name, value in {"RUNNER_BUILD_TYPE": "gpu", "RUNPOD_POD_ID": "pod-1", "RUNPOD_DC_ID": "EU-RO-1"}.items():
        machine.patch.setenv(name, value)
    facts = machine.facts()
    assert (facts["flavour"], facts["worker"], facts["data_center"]) == ("gpu", "pod-1", "EU-RO-1")
    assert facts["gpus"] == [{"name": "NVIDIA L4", "memory_mb": 24152, "driver": "550.54.15"}] * 2
    assert facts["worker_version"] == bridge.__version__
    assert facts["runner_version"] == VERSION
    assert facts["python_version"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["sdk_version"].startswith("1.")
    assert facts["memory_mb"] <= psutil.virtual_memory().total // 10**6
    assert facts["disk_free_mb"] > 0
    assert facts["process_seconds"] > 0
    working = {name for name, check in facts["checks"].items() if check == {"ok": True}}
    assert {"gpu", "runner", "sdk", "disk", "memory", "github"} <= working


def test_the_call_to_github_is_timed_step_by_step(machine: Machine) -> None:
    seconds = machine.facts()["github_seconds"]
    assert set(seconds) == {"dns", "connect", "answer", "total"}, "the emulator has no TLS"
    assert seconds["connect"] + seconds["answer"] <= seconds["total"] + 0.001


def test_the_bridge_reads_all_that_a_worker_says(machine: Machine) -> None:
    machine.program("nvidia-smi", L4)
    answered = machine.answer()
    report = reading.parse(json.loads(json.dumps(answered)))
    assert report is not None
    said = answered["self_test"]
    assert {name: check.ok for name, check in report.checks.items()} == {
        name: check["ok"] for name, check in said["checks"].items()
    }
    assert report.gpus[0].name == "NVIDIA L4"
    assert (report.memory_mb, report.runner_version) == (said["memory_mb"], VERSION)


def test_a_self_test_registers_no_runner_and_leaves_nothing_behind(machine: Machine) -> None:
    def tree() -> set[str]:
        return {str(path) for path in machine.standin.root.rglob("*") if "__pycache__" not in path.parts}

    machine.standin.replace_listener(f"mkdir -p {machine.standin.root}/_diag; echo {VERSION}; touch $0/../../_diag/x")
    before, children = tree(), psutil.Process().children()
    calls = len(machine.standin.github.state.runners)
    machine.facts()
    assert tree() == before
    assert psutil.Process().children() == children
    assert len(machine.standin.github.state.runners) == calls == 0


def test_a_cpu_worker_has_no_gpu_and_says_why(machine: Machine) -> None:
    machine.patch.setenv("PATH", str(machine.folder))
    facts = machine.facts()
    assert facts["gpus"] == []
    assert facts["checks"]["gpu"] == {
        "ok": False,
        "detail": "nvidia-smi cannot be started: No such file or directory",
    }


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        ("echo 'No devices were found'; exit 6", "nvidia-smi exited with code 6: No devices were found"),
        ("exit 9", "nvidia-smi exited with code 9: it printed nothing"),
        ("true", "nvidia-smi lists no GPU"),
        ("echo 'NVIDIA L4, [N/A], 550'", "nvidia-smi printed: NVIDIA L4, [N/A], 550"),
        ("printf 'a\\033[31m'", "nvidia-smi printed: a [31m"),
        ("yes", "nvidia-smi printed more than 65536 bytes"),
        (f"echo '{'x' * 999}'", f"nvidia-smi printed: {'x' * 999}"[:200]),
    ],
)
def test_a_driver_that_does_not_work_is_described_in_one_line(machine: Machine, script: str, detail: str) -> None:
    machine.program("nvidia-smi", script)
    assert machine.failed("gpu") == detail


def test_a_program_that_hangs_costs_its_own_answer_only(machine: Machine) -> None:
    pid = machine.folder / "pid"
    machine.program("nvidia-smi", f"trap '' INT TERM; sleep 617 & echo $! > {pid}; wait")
    machine.limits = replace(LIMITS, probe=3.0)
    facts = machine.facts()
    assert facts["checks"]["gpu"] == {"ok": False, "detail": "no answer within 3 s"}
    assert facts["checks"]["memory"] == {"ok": True}
    number = int(pid.read_text())
    until(lambda: not psutil.pid_exists(number) or psutil.Process(number).status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize(
    ("printed", "detail", "version"),
    [
        ('{"version": 12040, "failed": null}', None, "12.4"),
        ('{"version": 12040, "failed": "cuInit returned 100"}', "cuInit returned 100", "12.4"),
        ("oops", "libcuda printed: oops", None),
        ("[1]", "libcuda printed: [1]", None),
    ],
)
def test_cuda_is_initialised_in_a_process_of_its_own(
    machine: Machine, printed: str, detail: str | None, version: str | None
) -> None:
    program = machine.folder / "cuda.py"
    program.write_text(f"print({printed!r})")
    machine.patch.setattr(probes, "CUDA", program)
    facts = machine.facts()
    assert facts["checks"]["cuda"] == ({"ok": False, "detail": detail} if detail else {"ok": True})
    assert facts.get("cuda_version") == version


def test_without_a_driver_cuda_says_what_is_missing(machine: Machine) -> None:
    if Path("/usr/lib/x86_64-linux-gnu/libcuda.so.1").exists():
        pytest.skip("this machine has a driver")
    assert "libcuda.so.1: cannot open shared object file" in machine.failed("cuda")


@pytest.mark.parametrize(
    ("listener", "detail"),
    [
        ("exit 1", "Runner.Listener exited with code 1: it printed nothing"),
        ("echo Segmentation fault", "Runner.Listener --version printed no version: Segmentation fault"),
        ("echo 2.1.0", "the image has runner 2.400.0, but the installed one is 2.1.0"),
    ],
)
def test_a_broken_runner_is_described(machine: Machine, listener: str, detail: str) -> None:
    machine.patch.setenv("RUNNER_VERSION", "2.400.0")
    machine.standin.replace_listener(listener)
    assert machine.failed("runner") == detail


def test_a_missing_runner_is_described(machine: Machine) -> None:
    machine.patch.setenv("RUNNER_DIR", str(machine.folder / "none"))
    facts = machine.facts()
    assert facts["checks"]["runner"]["detail"] == "Runner.Listener cannot be started: No such file or directory"
    assert facts["checks"]["disk"]["detail"].endswith("No such file or directory")
    assert {"runner_version", "disk_free_mb"} & set(facts) == set()


@pytest.mark.parametrize("name", ["unshare", "chroot", "sudo"])
def test_what_the_machine_does_not_allow_is_described(machine: Machine, name: str) -> None:
    check = {"unshare": "user_namespaces"}.get(name, name)
    machine.program(name, "true")
    assert machine.facts()["checks"][check] == {"ok": True}
    machine.program(name, "echo 'Operation not permitted'; exit 1")
    assert machine.failed(check) == f"{name} exited with code 1: Operation not permitted"


def test_a_network_volume_is_measured(machine: Machine, tmp_path: Path) -> None:
    machine.patch.setattr(probes, "VOLUME", tmp_path)
    assert machine.facts()["volume_free_mb"] > 0
    machine.patch.setattr(probes, "VOLUME", tmp_path / "none")
    assert machine.failed("volume").endswith("No such file or directory")
    machine.program("df", "echo Avail; echo many")
    assert machine.failed("volume") == "df printed: many"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start programs as another user")
def test_the_account_of_jobs_is_tested(machine: Machine) -> None:
    machine.patch.setenv("RUNNER_USER", "nobody")
    machine.patch.setattr("runner_image.self_test.forget_job", lambda *_: None)  # it would kill nobody's processes
    machine.program("sudo", "id -un; exit 1")
    machine.standin.root.parent.chmod(0o755)
    facts = machine.facts()
    assert facts["checks"]["account"] == {"ok": True}
    assert facts["runner_account"] == "nobody"
    machine.patch.setenv("RUNNER_USER", "no-such-user")
    assert "the user no-such-user does not exist in this image" in machine.failed("account")


def test_a_clean_up_that_hangs_is_part_of_the_answer(machine: Machine, tmp_path: Path) -> None:
    """Nobody writes to the FIFO, so open() waits."""
    os.mkfifo(tmp_path / "fifo")
    machine.patch.setattr("runner_image.self_test.forget_job", lambda *_: (tmp_path / "fifo").read_bytes())
    machine.limits = replace(machine.limits, clean_up=0.3)
    assert machine.failed("clean_up") == "it took longer than 0.3 s"
    os.close(os.open(tmp_path / "fifo", os.O_RDWR | os.O_NONBLOCK))


def test_a_worker_without_an_account_for_jobs_says_so(machine: Machine) -> None:
    assert machine.failed("account").startswith("jobs run as the worker's own user (uid ")


class Api(http.server.ThreadingHTTPServer):
    """An API that sends what a test wants, in the place of GitHub's."""

    daemon_threads = True

    def __init__(self, status: int, kind: str, *, endless: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.kind, self.endless = status, kind, endless
        self.paths: list[tuple[str, str | None]] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        self.server.paths.append((self.path, self.headers.get("Authorization")))
        self.send_response(self.server.status)
        self.send_header("Content-Type", self.server.kind)
        self.end_headers()
        try:
            while self.server.endless:
                self.wfile.write(b"x" * 65536)
        except OSError:
            return

    def log_message(self, *_: object) -> None: ...


@contextmanager
def an_api(status: int = 200, kind: str = "application/json", *, endless: bool = False) -> Iterator[Api]:
    with Api(status, kind, endless=endless) as api:
        thread = threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield api
        api.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "endless"), [(200, False), (404, False), (429, False), (200, True)])
def test_any_json_of_github_counts_as_reachable(machine: Machine, status: int, endless: bool) -> None:
    """GHES answers 404 where rate limits are off, and github.com 429 to an address that called too often."""
    with an_api(status, "application/json; charset=utf-8", endless=endless) as api:
        machine.patch.setenv("GITHUB_API_URL", f"http://127.0.0.1:{api.server_port}/api/v3/")
        machine.patch.setenv("GITHUB_PAT", "ghp_thepersonaltoken")
        assert machine.facts()["checks"]["github"] == {"ok": True}
        assert api.paths == [("/api/v3/rate_limit", None)], "no credential is sent"


@pytest.mark.parametrize(
    ("status", "kind"), [(200, "text/html"), (502, "text/html"), (503, "application/json"), (302, "text/html")]
)
def test_a_proxys_page_is_no_answer_of_github(machine: Machine, status: int, kind: str) -> None:
    with an_api(status, kind) as api:
        machine.patch.setenv("GITHUB_API_URL", f"http://127.0.0.1:{api.server_port}")
        assert machine.failed("github") == f"GitHub's API answered {status} with {kind}; is a proxy in between?"


def test_a_github_that_refuses_or_does_not_answer_is_described(machine: Machine) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        machine.patch.setenv("GITHUB_API_URL", url)
        assert machine.failed("github").startswith("ConnectError: ")
        mute.listen()
        machine.limits = replace(LIMITS, probe=3.0)
        assert machine.failed("github") in ("no answer within 3 s", "ReadTimeout")


@pytest.mark.parametrize("url", ["", "nonsense", "http://", "ftp://127.0.0.1", "http://[", "http://a..b"])
def test_an_address_that_is_none_is_described(machine: Machine, url: str) -> None:
    machine.patch.setenv("GITHUB_API_URL", url or "http://127.0.0.1:1")
    assert machine.failed("github")


def test_secrets_are_masked_in_what_programs_print(machine: Machine) -> None:
    machine.patch.setenv("RUNPOD_AI_API_KEY", "rpa_theworkerskey")
    machine.program("nvidia-smi", "echo ghs_123abc rpa_theworkerskey; exit 1")
    assert machine.failed("gpu") == "nvidia-smi exited with code 1: *** ***"


def test_programs_do_not_get_the_workers_secrets(machine: Machine) -> None:
    machine.patch.setenv("GITHUB_PAT", "ghp_thepersonaltoken")
    machine.patch.setenv("LD_LIBRARY_PATH", "/opt/cuda")
    machine.program("nvidia-smi", f"env > {machine.folder}/env")
    machine.facts()
    names = {line.partition("=")[0] for line in (machine.folder / "env").read_text().splitlines()}
    assert names - {"PWD", "SHLVL", "_", "OLDPWD"} == {"PATH", "LANG", "LD_LIBRARY_PATH"}


@pytest.mark.parametrize("key", sorted(set(WorkerInput.__annotations__) - {"self_test"}))
def test_a_self_test_that_also_asks_for_a_job_is_refused(machine: Machine, key: str) -> None:
    answered = machine.answer(**{key: "x"})
    detail = f"bad_input: self_test: runs no job, so remove {key}; or remove self_test"
    assert answered == {"outcome": "bad_input", "error": detail}


def test_a_self_test_may_have_empty_and_unknown_keys(machine: Machine) -> None:
    assert machine.answer(mode=None, prompt="hello")["outcome"] == "self_test"


@pytest.mark.parametrize("odd", [1, "true", "false", [0], {"a": 1}])
def test_self_test_must_be_a_boolean(machine: Machine, odd: object) -> None:
    assert machine.answer(self_test=odd) == {
        "outcome": "bad_input",
        "error": "bad_input: self_test: must be true or false",
    }


@pytest.mark.parametrize("off", [False, None])
def test_a_request_without_a_self_test_is_for_a_job(machine: Machine, off: object) -> None:
    assert machine.answer(self_test=off)["error"].startswith("bad_input: jit_config: missing")


def test_a_stop_of_the_worker_ends_the_self_test(machine: Machine) -> None:
    pid = machine.folder / "pid"
    machine.program("nvidia-smi", f"echo $$ > {pid}; exec sleep 616")
    exits: list[int] = []

    async def stopped() -> dict[str, Any]:
        async def stop() -> None:
            await until_async(lambda: pid.exists() and pid.read_text().strip())
            os.kill(os.getpid(), signal.SIGTERM)

        stopping = asyncio.ensure_future(stop())
        answered = await handler.handle({"id": "r", "input": ASKED}, limits=machine.limits, leave=exits.append)
        await stopping
        return answered

    assert asyncio.run(stopped())["error"] == "stopped: RunPod stopped the worker (SIGTERM)"
    assert not psutil.pid_exists(int(pid.read_text()))


def test_the_handler_as_a_program_answers_without_any_credential(standin: Installed) -> None:
    done: subprocess.CompletedProcess[str] = tried(standin, ASKED)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith('{"at": ')]
    report = reading.parse(json.loads(line))
    assert report is not None
    assert (report.runner_version, report.checks["runner"].ok) == (VERSION, True)
