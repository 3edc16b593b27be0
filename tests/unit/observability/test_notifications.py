"""A message reaches the webhook, and each way to fail is one line that does not show its address."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from bridge.errors import BridgeError, Rejected, Unavailable
from bridge.observability.notifications import Notifications
from tests.support.collector import Behaviour, Receiver, receiving
from tests.support.service import free_port

SLACK = Behaviour(kind="text/html", body=b"ok")
"""https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/ shows this body."""


@pytest.fixture
def people() -> Iterator[Receiver]:
    with receiving() as receiver:
        receiver.behaviour = SLACK
        yield receiver


def send(url: str, timeout: float = 5.0) -> None:
    async def run() -> None:
        client = Notifications(f"{url}/services/T0/abcdefgh", timeout)
        try:
            await client.send("news: λ")
        finally:
            await client.close()

    asyncio.run(run())


def failure(url: str, kind: type[BridgeError], timeout: float = 5.0) -> str:
    with pytest.raises(kind) as caught:
        send(url, timeout)
    said = str(caught.value)
    assert "\n" not in said
    assert "abcdefgh" not in said
    assert "127.0.0.1" not in said
    return said


@pytest.mark.parametrize("how", [SLACK, Behaviour(status=204, body=b""), Behaviour(kind="text/plain", body=b"")])
def test_a_message_is_one_json_document(people: Receiver, how: Behaviour) -> None:
    people.behaviour = how
    send(people.url)
    ((path, headers, _),) = people.requests
    assert (path, headers["content-type"]) == ("/services/T0/abcdefgh", "application/json")
    assert people.texts() == ["news: λ"]


REFUSALS = {
    "gone": (Behaviour(status=404), Rejected, "create a new webhook"),
    "forbidden": (Behaviour(status=403), Rejected, "create a new webhook"),
    "malformed": (Behaviour(status=400), Rejected, "answered 400; check BRIDGE_NOTIFY_URL"),
    "a redirect": (Behaviour(status=302, headers={"location": "/login"}), Rejected, "answered 302"),
    "a web page": (Behaviour(kind="text/html", body=b"\n<html>"), Rejected, "answered with a web page"),
    "too many": (Behaviour(status=429), Unavailable, "answered 429"),
    "failed": (Behaviour(status=503), Unavailable, "answered 503"),
}


@pytest.mark.parametrize(("how", "kind", "said"), REFUSALS.values(), ids=REFUSALS)
def test_an_answer_that_is_no_success_is_one_line(
    people: Receiver, how: Behaviour, kind: type[BridgeError], said: str
) -> None:
    people.behaviour = how
    assert said in failure(people.url, kind)
    assert len(people.requests) == 1


def test_a_service_that_does_not_answer_is_given_up_at_the_timeout(people: Receiver) -> None:
    people.behaviour = Behaviour(hangs=True)
    assert failure(people.url, Unavailable, 0.2).startswith("notifications: ")


def test_an_endless_answer_does_not_keep_the_bridge(people: Receiver) -> None:
    people.behaviour = Behaviour(endless=True, body=b"ok")
    began = time.monotonic()
    send(people.url)
    assert time.monotonic() - began < 4


def test_a_service_that_is_gone_is_one_line() -> None:
    assert "could not be reached: ConnectError" in failure(f"http://127.0.0.1:{free_port()}", Unavailable)
