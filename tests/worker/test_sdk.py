"""The handler as a program with the real SDK, and a RunPod that refuses polls or does not answer."""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.support.background import until

SHORT_ANSWER = "from runner_image import handler, limits; handler.main(limits.Limits(answer=1.0))"


class RunPod(http.server.ThreadingHTTPServer):
    """Hands out one request, or refuses every poll; it never accepts an answer."""

    daemon_threads = True

    def __init__(self, given: Mapping[str, object] | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.given = given
        self.polls: list[float] = []
        self.over = threading.Event()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: RunPod

    def do_GET(self) -> None:
        if "/job-take/" not in self.path:
            self._answer(204)
            return
        self.server.polls.append(time.monotonic())
        given, self.server.given = self.server.given, None
        if given is None and len(self.server.polls) > 1:
            self._answer(500)
        else:
            self._answer(200 if given else 500, json.dumps(given).encode())

    def do_POST(self) -> None:
        self.server.over.wait(60)

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def worker(
    folder: Path, given: Mapping[str, object] | None = None
) -> Iterator[tuple["subprocess.Popen[bytes]", RunPod]]:
    """A worker with its RunPod; both are stopped afterwards."""
    (folder / "bin").mkdir(parents=True)
    listener = folder / "bin" / "Runner.Listener"
    listener.write_text("#!/bin/sh\nexec sleep 619\n")
    listener.chmod(0o755)
    runpod = RunPod(given)
    threading.Thread(target=runpod.serve_forever, kwargs={"poll_interval": 0.01}).start()
    base = f"http://127.0.0.1:{runpod.server_port}"
    process = subprocess.Popen(
        [sys.executable, "-c", SHORT_ANSWER],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={
            "PATH": os.environ["PATH"], "HOME": str(folder), "RUNNER_DIR": str(folder), "RUNNER_ALLOW_RUNASROOT": "1",
            "RUNPOD_POD_ID": "pod-1", "RUNPOD_AI_API_KEY": "key", "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
            "RUNPOD_SKIP_GPU_CHECK": "true", "RUNPOD_WEBHOOK_GET_JOB": f"{base}/job-take/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_PING": f"{base}/ping/$RUNPOD_POD_ID?gpu=none",
        },
    )  # fmt: skip
    started = psutil.Process(process.pid)
    below: list[psutil.Process] = []
    try:
        yield process, runpod
    finally:
        if process.poll() is None:
            below = started.children(recursive=True)
            process.kill()
        for each in below:
            each.kill()
        process.wait()
        runpod.over.set()
        runpod.shutdown()
        runpod.server_close()


def test_a_worker_whose_polls_are_refused_polls_slowly_after_a_few_attempts(tmp_path: Path) -> None:
    """The SDK alone would poll a thousand times a second."""
    with worker(tmp_path) as (_, runpod):
        until(lambda: len(runpod.polls) >= 8)
        pauses = [after - before for before, after in zip(runpod.polls, runpod.polls[1:], strict=False)]
        assert sum(pauses[:7]) > 0.1 + 0.2 + 0.4
        counted = len(runpod.polls)
        time.sleep(2)  # to measure a rate
        assert len(runpod.polls) - counted < 5


def test_a_worker_that_cannot_deliver_its_answer_leaves_no_process_behind(tmp_path: Path) -> None:
    """After SIGTERM it exits by itself, together with the SDK's ping process."""
    given = {"id": "req-1", "input": {"jit_config": "e30=", "runner_name": "r-1"}}
    with worker(tmp_path, given) as (process, _):
        started = psutil.Process(process.pid)
        until(lambda: len(started.children()) == 2)  # the ping process and the Listener
        children = started.children()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
        _, alive = psutil.wait_procs(children, timeout=5)
        for each in alive:
            each.kill()
        assert alive == []
