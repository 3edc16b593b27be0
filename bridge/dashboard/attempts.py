"""Limits failed attempts to sign in: of each client, of each connection's address, and of all together."""

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """Who tries to sign in, as far as it matters for the limits.

    Args:
        peer: the network of the connection's other end; empty if it is not known.
        behind: what that end, if it is a proxy, says of its own client; empty if it says nothing. A client that is no
            proxy can say anything, so this only divides the attempts of one peer.
    """

    peer: str
    behind: str = ""


@dataclass(frozen=True, kw_only=True)
class Most:
    """How many attempts may fail within a period.

    Args:
        of_client: of one client.
        of_peer: of all clients with the same peer.
        of_all: of all clients; also bounds what is kept in memory.
    """

    of_client: int = 10
    of_peer: int = 50
    of_all: int = 200


def client_of(peer: str | None, forwarded_for: Sequence[str]) -> Client:
    """The client of a request.

    Args:
        peer: the IP address of the connection's other end; None if it is not known.
        forwarded_for: each value of the header X-Forwarded-For. The last address is that which the nearest proxy added:
            https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/X-Forwarded-For
    """
    last = forwarded_for[-1].rpartition(",")[2].strip() if forwarded_for else ""
    return Client(peer=_network(peer or ""), behind=_network(last))


def _network(address: str) -> str:
    """The address, or of IPv6 the network that one client can use as a whole; empty if it is no address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((int(found), 64), strict=False))


class Attempts:
    """The attempts that failed.

    Args:
        most: failures within `seconds`.
        seconds: of the period.
        clock: returns seconds that never go back.
    """

    def __init__(self, most: Most, seconds: float, clock: Callable[[], float]) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._failed: list[tuple[float, Client]] = []

    def begin(self, client: Client) -> bool:
        """Whether a client may try now. The attempt counts as failed, unless `succeeded` is called.

        So attempts that are made at the same time are limited, too.
        """
        now = self._clock()
        self._failed = [(at, who) for at, who in self._failed if at > now - self._seconds]
        of_peer = [who for _, who in self._failed if who.peer == client.peer]
        counts = (of_peer.count(client), len(of_peer), len(self._failed))
        limits = (self._most.of_client, self._most.of_peer, self._most.of_all)
        if any(count >= limit for count, limit in zip(counts, limits, strict=True)):
            return False
        self._failed.append((now, client))
        return True

    def succeeded(self, client: Client) -> None:
        """Count one attempt of the client less."""
        found = next((place for place, (_, who) in enumerate(self._failed) if who == client), None)
        if found is not None:
            del self._failed[found]
