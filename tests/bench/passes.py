"""A pass over many repositories: the first one, and one in which nothing has changed."""

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def passes(*, repositories: int, jobs: int) -> Iterator[dict[str, Any]]:
    """Measure the first pass of a process, which reads everything, and a later one in which nothing has changed."""
    with tempfile.TemporaryDirectory() as home, _emulated(Path(home), f"{repositories},{jobs}") as variables:
        command = [sys.executable, "-m", "bridge.dispatch", "--json", "--watch", "1"]
        with Path(home, "bridge.log").open("wb") as log:
            process = subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, stderr=log)
            assert process.stdout is not None
            documents = [json.loads(process.stdout.readline()) for _ in range(3)]
            process.send_signal(signal.SIGTERM)
            process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        given = {"repositories": repositories, "jobs": jobs, "peak_rss_mb": round(usage.ru_maxrss / 1024, 1)}
        yield {"bench": "pass", "kind": "first", **given, **_figures(documents[0])}
        yield {"bench": "pass", "kind": "idle", **given, **_figures(documents[2])}


def _figures(document: dict[str, Any]) -> dict[str, Any]:
    return {
        "submitted": document["counts"]["submitted"],
        "problems": len(document["problems"]),
        "github_requests": document["github_calls"]["total"],
        "github_304": document["github_calls"]["not_modified"],
        "runpod_requests": sum(document["runpod_calls"].values()),
        "seconds": document["seconds"],
    }


@contextmanager
def _emulated(home: Path, synthetic: str) -> Iterator[dict[str, str]]:
    base = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home)}
    command = [sys.executable, "-m", "bridge", "emulate", "--synthetic", synthetic, "--cold-start", "86400"]
    process = subprocess.Popen(command, env=base, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    exports = {"BRIDGE_MAX_WORKERS": "100000"}
    try:
        while "BRIDGE_DATABASE_URL" not in exports:
            name, _, value = process.stdout.readline().removeprefix("export ").partition("=")
            (exports[name],) = shlex.split(value)
        yield base | exports
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
