"""A worker whose clock is off starts what the bridge still waits for, and nothing else."""

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
    """GitHub's web site, whose clock is `ahead` s of the worker's."""

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
    return asyncio.run(is_late(parse(request, {"GITHUB_API_URL": url.removesuffix("/acme")})))


@pytest.mark.parametrize(
    ("ahead", "left", "expected"),
    [
        (-600.0, 300.0, False),  # this worker's clock says that it is 5 min too late
        (600.0, -300.0, True),  # and here that it has 5 min left
        (0.0, 60.0, False),
        (0.0, -60.0, True),
    ],
)
def test_github_tells_the_time_where_clocks_may_disagree(
    github: GitHub, ahead: float, left: float, expected: bool
) -> None:
    github.ahead = ahead
    assert late(github.url, time.time() + ahead + left) is expected


def test_nobody_is_asked_where_no_clock_can_be_that_wrong() -> None:
    nowhere = "http://127.0.0.1:9/acme"
    assert not late(nowhere, time.time() + 3600)
    assert late(nowhere, time.time() - 3600)
    assert not late(nowhere, None)


def test_a_just_in_time_runner_is_started_in_doubt_for_its_registration_tells() -> None:
    jit = {"jit_config": "e30=", "registration_token": None}
    assert not late("https://github.example/acme", time.time() - 300, **jit)
    assert late("https://github.example/acme", time.time() - 3600, **jit)


def test_without_an_answer_the_workers_own_clock_counts() -> None:
    nowhere = "http://127.0.0.1:9/acme"
    assert late(nowhere, time.time() - 60)
    assert not late(nowhere, time.time() + 60)
