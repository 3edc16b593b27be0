"""Failed attempts to sign in are limited, and one attacker does not keep others out."""

from pathlib import Path

import httpx
import pytest

from bridge.dashboard.attempts import Attempts, Client, Most, client_of
from tests.support.dashboard import Filled, filled
from tests.unit.dashboard.test_http import SITE, TOKEN, visited

ONE, OTHER = Client(peer="192.0.2.1"), Client(peer="192.0.2.2")


@pytest.fixture
def ledger(tmp_path: Path) -> Filled:
    return filled(f"sqlite:///{tmp_path}/ledger.sqlite3")


def test_attempts_of_a_client_are_limited_for_a_while() -> None:
    now = [0.0]
    attempts = Attempts(Most(of_client=2), 60.0, lambda: now[0])
    assert [attempts.begin(ONE) for _ in range(3)] == [True, True, False]
    assert attempts.begin(OTHER)
    now[0] = 61.0
    assert attempts.begin(ONE)


def test_an_attempt_that_succeeds_does_not_count() -> None:
    attempts = Attempts(Most(of_client=1), 60.0, lambda: 0.0)
    assert attempts.begin(ONE)
    assert attempts.begin(OTHER)
    attempts.succeeded(ONE)
    assert [attempts.begin(ONE), attempts.begin(ONE), attempts.begin(OTHER)] == [True, False, False]


def test_a_peer_that_names_a_new_client_each_time_has_a_limit_of_its_own() -> None:
    """Only a proxy tells the truth in X-Forwarded-For."""
    attempts = Attempts(Most(of_client=10, of_peer=50, of_all=200), 60.0, lambda: 0.0)
    invented = [client_of("192.0.2.1", [f"198.51.100.{n}"]) for n in range(100)]
    assert [attempts.begin(client) for client in invented].count(True) == 50
    assert attempts.begin(OTHER)


def test_all_attempts_together_are_limited_and_so_is_memory() -> None:
    attempts = Attempts(Most(), 60.0, lambda: 0.0)
    peers = (client_of(f"2001:db8:0:{n:x}::1", []) for n in range(1000))
    assert [attempts.begin(peer) for peer in peers].count(True) == 200
    assert len(attempts._failed) == 200
    assert not attempts.begin(ONE)


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("192.0.2.1", [], ONE),
        (None, [], Client(peer="")),
        ("unix:", [], Client(peer="")),
        ("::ffff:192.0.2.1", [], ONE),
        ("2001:db8:1:2:3:4:5:6", [], Client(peer="2001:db8:1:2::/64")),
        ("2001:db8:1:2:ffff::1", [], Client(peer="2001:db8:1:2::/64")),
        ("fe80::1%eth0", [], Client(peer="fe80::/64")),
        ("192.0.2.1", ["192.0.2.2"], Client(peer="192.0.2.1", behind="192.0.2.2")),
        ("192.0.2.1", ["invented, 192.0.2.2"], Client(peer="192.0.2.1", behind="192.0.2.2")),
        ("192.0.2.1", ["192.0.2.9", "192.0.2.8 , 192.0.2.2"], Client(peer="192.0.2.1", behind="192.0.2.2")),
        ("192.0.2.1", ["192.0.2.2, \x1b[2J"], ONE),
        ("192.0.2.1", ["x" * 100_000], ONE),
    ],
)
def test_a_client_is_the_address_of_the_connection_and_what_the_nearest_proxy_says(
    peer: str | None, forwarded_for: list[str], client: Client
) -> None:
    assert client_of(peer, forwarded_for) == client


def signed_in(ledger: Filled, attempts: list[tuple[str, str | None, str]]) -> list[int]:
    """The answers to attempts: each is the address of the connection, that which a proxy adds, and the token."""

    async def work(client: httpx.AsyncClient) -> list[int]:
        transport = client._transport
        assert isinstance(transport, httpx.ASGITransport)
        found = []
        for peer, address, token in attempts:
            transport.client = (peer, 4711)
            headers = {"Origin": SITE} | ({"X-Forwarded-For": address} if address else {})
            found.append((await client.post("/login", data={"token": token}, headers=headers)).status_code)
        return found

    return visited(ledger, work, host=SITE, public_url=SITE, token=TOKEN)


@pytest.mark.parametrize(
    ("attacker", "person"),
    [
        (("192.0.2.1", None), ("192.0.2.2", None)),
        (("127.0.0.1", "192.0.2.1"), ("127.0.0.1", "192.0.2.2")),
        (("127.0.0.1", "192.0.2.2, 192.0.2.1"), ("127.0.0.1", "192.0.2.2")),
    ],
    ids=["directly", "through a proxy", "through a proxy, with an invented address"],
)
def test_an_attacker_does_not_lock_out_a_person_at_another_address(
    ledger: Filled, attacker: tuple[str, str | None], person: tuple[str, str | None]
) -> None:
    wrong = [(*attacker, "wrong")] * 12
    assert signed_in(ledger, [*wrong, (*attacker, TOKEN)]) == [401] * 10 + [429] * 3
    assert signed_in(ledger, [*wrong, (*person, "wrong"), (*person, TOKEN)])[-2:] == [401, 303]
