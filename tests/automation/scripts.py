"""Runs the scripts of .github as a workflow does: in a process with outputs, against an HTTP server with one answer."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support import ROOT

SCRIPTS = ROOT / ".github" / "scripts"


def recorded(name: str) -> Any:
    """A recorded answer, decoded; each call returns a new copy."""
    return json.loads((ROOT / "tests" / "automation" / "recorded" / name).read_text())


@dataclass(frozen=True, kw_only=True)
class Ran:
    status: int
    out: str
    err: str
    outputs: str


def run(script: str, *arguments: object, outputs: Path, **environment: str) -> Ran:
    """Run a script as a step does, without this process's environment."""
    outputs.touch()
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script), *map(str, arguments)],
        env={"PATH": os.environ["PATH"], "GITHUB_OUTPUT": str(outputs), **environment},
        cwd=outputs.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ran(status=done.returncode, out=done.stdout, err=done.stderr, outputs=outputs.read_text())


@dataclass
class OneAnswerServer:
    """A local server that always gives the same answer, and stores the path and headers of each request."""

    body: bytes
    status: int = 200
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                service.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                self.send_response(service.status)
                self.send_header("Content-Length", str(len(service.body)))
                self.end_headers()
                self.wfile.write(service.body)

            def log_message(self, *_: Any) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def changed_lines(before: str, after: str) -> list[tuple[str, str]]:
    """Every line that differs, before and after. Added or removed lines are an error."""
    pairs = zip(before.splitlines(keepends=True), after.splitlines(keepends=True), strict=True)
    return [(old, new) for old, new in pairs if old != new]
