"""What `bridge doctor` says about the workers of an endpoint and the routes that use it."""

from dataclasses import replace

import pytest

from bridge.commands.doctor.check import Status
from bridge.commands.doctor.runpod_endpoint import Seen, workers_max
from bridge.core.account import Rollout, WorkerCounts
from bridge.core.endpoints import Endpoint, EndpointSettings
from tests.support.values import a_route


@pytest.fixture
def seen() -> Seen:
    """An endpoint with two workers at most."""
    wanted = EndpointSettings(name="l4", image="image:1", gpu=("AMPERE_24",), workers_max=2)
    actual = Endpoint(id="ep-1", created_at="", settings=wanted)
    rollout = Rollout(workers=0, on_latest=0)
    return Seen(name="l4", routes=(), wanted=wanted, actual=actual, workers=WorkerCounts(), rollout=rollout, offers=())


def test_a_route_that_asks_for_more_workers_than_its_only_endpoint_has_is_a_warning(seen: Seen) -> None:
    found = workers_max(replace(seen, routes=(a_route(max_workers=3),)))
    assert (found.status, "up to 3 workers" in found.evidence) == (Status.WARNING, True)


def test_a_route_with_several_endpoints_does_not_need_all_its_workers_at_one(seen: Seen) -> None:
    found = workers_max(replace(seen, routes=(a_route(max_workers=3, endpoints=("ep-1", "ep-2")),)))
    assert found.status is Status.OK
