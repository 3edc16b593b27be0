"""A worker whose clock is wrong starts only requests that the bridge still waits for."""

import asyncio
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from runner_image.lateness import is_late
from runner_image.request import parse


class GitHub(ThreadingHTTPServer):
    """GitHub's web site; its clock is `ahead` s ahead of the worker's."""

    ahead = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/acme"


class _Answers(BaseHTTPRequestHandler):
    server: GitHub

    def do_HEAD(self) -> None:
        self.send_response_only(404)
        self.send_header("Date", formatdate(time.time() + self.server.ahead, usegmt=True))
        self.end_headers()


@pytest.fixture
def github() -> Iterator[GitHub]:
    with GitHub(("127.0.0.1", 0), _Answers) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def late(url: str, not_after: float | None, **given: Any) -> bool:
    request = {"registration_token": "t", "runner_url": url, "runner_name": "r", "not_after": not_after, **given}
    parsed = parse(request, {"GITHUB_API_URL": url.removesuffix("/acme")})
    return asyncio.run(is_late(parsed, time.time()))


@pytest.mark.parametrize(
    ("ahead", "left", "expected"),
    [
        (-600.0, 300.0, False),  # by the worker's clock it is 5 min too late
        (600.0, -300.0, True),  # by the worker's clock it has 5 min left
        (0.0, 60.0, False),
        (0.0, -60.0, True),
    ],
)
def test_github_is_asked_for_the_time_if_the_workers_clock_may_be_wrong(
    github: GitHub, ahead: float, left: float, expected: bool
) -> None:
    github.ahead = ahead
    assert late(github.url, time.time() + ahead + left) is expected


def test_the_workers_clock_decides_if_it_cannot_be_that_wrong() -> None:
    nowhere = "http://127.0.0.1:9/acme"
    assert not late(nowhere, time.time() + 3600)
    assert late(nowhere, time.time() - 3600)
    assert not late(nowhere, None)


def test_a_just_in_time_runner_is_started_in_doubt() -> None:
    jit = {"jit_config": "e30=", "registration_token": None}
    assert not late("https://github.example/acme", time.time() - 300, **jit)
    assert late("https://github.example/acme", time.time() - 3600, **jit)


def test_the_workers_clock_decides_if_github_does_not_answer() -> None:
    nowhere = "http://127.0.0.1:9/acme"
    assert late(nowhere, time.time() - 60)
    assert not late(nowhere, time.time() + 60)
