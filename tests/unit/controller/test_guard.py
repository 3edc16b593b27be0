"""What fails is paused by itself, and a scan that takes too long continues in the next pass."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import pytest

from bridge.controller.guard import SHORTEST_SCAN, GitHubGuard, RunPodGuard
from bridge.core.model import EndpointHealth, Request, RequestStatus, Runner, WorkflowJob
from bridge.errors import AuthError, BridgeError, Paced, Rejected, Unavailable
from tests.support.values import NOW, TIMING, a_job

GONE = Rejected("GitHub: GET /repos/acme/gone/actions/runs: 404", status=404)


class Service:
    """GitHub and RunPod: a call takes `seconds`, and some are refused."""

    def __init__(self) -> None:
        self.now, self.seconds = NOW, 0.0
        self.calls: Counter[str] = Counter()
        self.refuse: Callable[[str], BridgeError | None] = lambda _key: None

    async def _called(self, key: str) -> None:
        self.calls[key] += 1
        self.now += self.seconds
        if error := self.refuse(key):
            raise error

    async def open_jobs(self, repository: str) -> tuple[WorkflowJob, ...]:
        await self._called(repository)
        return (a_job(len(repository), repository=repository),)

    async def runners(self, target: str) -> tuple[Runner, ...]:
        await self._called(f"needed {target}")
        return ()

    async def runners_at_low_priority(self, target: str) -> tuple[Runner, ...]:
        await self._called(f"spare {target}")
        return ()

    async def health(self, endpoint: str) -> EndpointHealth:
        await self._called(f"health {endpoint}")
        return EndpointHealth()

    async def status(self, endpoint: str, request_id: str) -> Request:
        await self._called(f"status {endpoint}")
        return Request(id=request_id, status=RequestStatus.IN_QUEUE)


def scan(guard: GitHubGuard, names: list[str]) -> tuple[list[str], list[BridgeError]]:
    """One pass: which repositories were read, and which errors were raised."""
    read, met = [], []
    guard.begin(None)
    for name in names:
        try:
            asyncio.run(guard.open_jobs(name))
            read.append(name)
        except BridgeError as error:
            met.append(error)
    return read, met


def test_a_deleted_repository_is_read_rarely_and_delays_no_other() -> None:
    service = Service()
    service.refuse = lambda key: GONE if key == "acme/gone" else None
    guard = GitHubGuard(cast(Any, service), 30.0, lambda: service.now, TIMING)
    readings = int(3600 / 30)
    for _ in range(readings):
        read, met = scan(guard, ["acme/gone", "acme/web"])
        assert read == ["acme/web"], "in the normal interval"
        assert [str(error) for error in met] == [str(GONE)], "the same line: it stands"
        service.now += 30
    assert service.calls["acme/web"] == readings
    assert service.calls["acme/gone"] <= 4 + 3600 / TIMING.rejected_read.longest


def test_a_repository_that_is_back_is_read_after_its_pause() -> None:
    service = Service()
    service.refuse = lambda _key: GONE
    guard = GitHubGuard(cast(Any, service), 30.0, lambda: service.now, TIMING)
    scan(guard, ["acme/web"])
    service.refuse = lambda _key: None
    service.now += TIMING.rejected_read.first
    assert scan(guard, ["acme/web"]) == (["acme/web"], [])


def test_a_scan_that_takes_too_long_continues_in_the_next_pass_and_is_one_problem() -> None:
    service = Service()
    service.seconds = 1.0
    names = [f"acme/r{number}" for number in range(150)]
    guard = GitHubGuard(cast(Any, service), 30.0, lambda: service.now, TIMING)
    lines: set[str] = set()
    for _ in range(3):
        _, met = scan(guard, names)
        assert all(isinstance(error, Paced) for error in met)
        lines |= {str(error) for error in met}
    assert set(service.calls.values()) == {1}, "each has been read once"
    (line,) = lines
    assert all(word in line for word in ("webhook", "delivery log", "fewer repositories", "longer interval"))
    assert scan(guard, names)[0] == names[: int(SHORTEST_SCAN) + 1], "then the next one begins"


def test_repositories_that_the_rate_limit_leaves_out_are_read_in_the_next_pass() -> None:
    service = Service()
    service.refuse = lambda _key: Paced("not now", retry_at=NOW + 90) if service.calls.total() > 5 else None
    guard = GitHubGuard(cast(Any, service), 30.0, lambda: service.now, TIMING)
    names = [f"acme/r{number}" for number in range(10)]
    assert scan(guard, names)[0] == names[:5]
    service.refuse = lambda _key: None
    assert scan(guard, names)[0] == names[5:]


def test_runners_are_read_with_priority_only_where_a_registration_may_be() -> None:
    service = Service()
    guard = GitHubGuard(cast(Any, service), 30.0, lambda: service.now, TIMING)
    guard.begin({"repos/acme/web"})
    for target in ("repos/acme/web", "repos/acme/idle"):
        asyncio.run(guard.runners(target))
    assert set(service.calls) == {"needed repos/acme/web", "spare repos/acme/idle"}


def test_a_revoked_key_pauses_reading_an_endpoints_requests_and_one_failed_request_does_not() -> None:
    service = Service()
    guard: Any = RunPodGuard(service, lambda: service.now, TIMING)

    def read_requests(endpoint: str) -> None:
        for number in range(50):
            with pytest.raises(BridgeError):
                asyncio.run(guard.status(endpoint, f"r{number}"))

    service.refuse = lambda key: AuthError("401") if key.endswith("ep-1") else Unavailable("502")
    read_requests("ep-1")
    read_requests("ep-2")
    assert service.calls == {"status ep-1": 1, "status ep-2": 50}


def test_a_deleted_endpoint_is_read_less_and_less_often() -> None:
    service = Service()
    service.refuse = lambda _key: Rejected("404", status=404)
    guard: Any = RunPodGuard(service, lambda: service.now, TIMING)
    for _ in range(120):
        with pytest.raises(Rejected):
            asyncio.run(guard.health("ep-1"))
        service.now += 30
    assert service.calls["health ep-1"] <= 15
