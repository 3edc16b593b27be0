"""The service tells people once what needs them, and hides the address of the webhook."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.background import throughout, until
from tests.support.collector import Behaviour, Receiver, receiving
from tests.support.emulators import Emulators, emulators
from tests.support.instant import Fate
from tests.support.service import running_service

SLACK = Behaviour(kind="text/html", body=b"ok")


@pytest.fixture
def people() -> Iterator[Receiver]:
    with receiving() as receiver:
        receiver.behaviour = SLACK
        yield receiver


@pytest.fixture
def crashing(tmp_path: Path, people: Receiver) -> Iterator[Emulators]:
    """The emulated services. Each worker crashes, so that the endpoint's breaker opens."""
    with emulators(tmp_path, instant={"fate": lambda _request: Fate.CRASHES}) as made:
        made.variables["BRIDGE_NOTIFY_URL"] = f"{people.url}/services/abcdefgh"
        yield made


def test_an_open_breaker_is_reported_once_also_after_a_restart(crashing: Emulators, people: Receiver) -> None:
    with running_service(crashing, BRIDGE_INTERVAL="1") as service:
        for _ in range(3):
            service.queue()
        until(lambda: people.requests)
        log = service.stop()
    with running_service(crashing, BRIDGE_INTERVAL="1") as service:
        throughout(lambda: len(people.requests) == 1, 7)
        log += service.stop()
    (text,) = people.texts()
    assert text.startswith(
        "*Endpoints whose workers keep failing: they get single requests as tries*\n• endpoint ep-1: "
    )
    assert "abcdefgh" not in log


def test_a_webhook_that_fails_is_told_once_and_gets_the_message_later(crashing: Emulators, people: Receiver) -> None:
    people.behaviour = Behaviour(status=500)
    with running_service(crashing, BRIDGE_INTERVAL="1") as service:
        for _ in range(3):
            service.queue()
        until(lambda: len(people.requests) >= 2)
        assert service.ready()["status"] == 200
        people.behaviour = SLACK
        tries = len(people.requests)
        until(lambda: len(people.requests) > tries)
        log = service.stop()
    assert len(set(people.texts())) == 1
    assert log.count("notifications: answered 500") == 1
    assert "abcdefgh" not in log
