"""Who may see the dashboard without signing in: a browser on the same machine, and nobody else. Pure."""

import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

_PROXIES = frozenset(
    {"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip", "fly-client-ip"}
)
"""Headers that a proxy adds, in addition to those that begin with `x-forwarded`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Visit:
    """What a request says about where it comes from.

    Args:
        peer: the IP address of the connection's other end; None if it is not known.
        hosts: each value of the header Host.
        headers: the names of all headers, in lower case.
        http_version: such as `1.1`.
    """

    peer: str | None
    hosts: Sequence[str]
    headers: Collection[str]
    http_version: str = "1.1"


def is_local(visit: Visit) -> bool:
    """Whether a request comes from a browser on this machine that was told to open an address of this machine.

    The header Host protects against DNS rebinding: another site can make its own name point to this machine, but the
    browser sends that name. A proxy on this machine connects from a loopback address, too, for a browser elsewhere. It
    shows itself by its headers or by the public name in Host; nginx before 1.29.7 by HTTP/1.0 if it is configured to
    send neither (https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_http_version).
    """
    if visit.http_version not in ("1.1", "2") or any(_is_of_proxy(name) for name in visit.headers):
        return False
    return len(visit.hosts) == 1 and _names_loopback(visit.hosts[0]) and is_loopback(visit.peer or "")


def _is_of_proxy(header: str) -> bool:
    return header in _PROXIES or header.startswith("x-forwarded")


def _names_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return "@" not in host and (name == "localhost" or is_loopback(name))


def is_loopback(address: str) -> bool:
    """Whether an IP address is one of this machine's own."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def same_site(origin: str | None, hosts: Sequence[str]) -> bool:
    """Whether a form was sent from a page of the same host. Browsers always send Origin with a POST.

    Args:
        origin: the header Origin; None if it is missing.
        hosts: each value of the header Host.
    """
    try:
        netloc = urlsplit(origin or "").netloc
    except ValueError:
        return False
    return len(hosts) == 1 and bool(netloc) and netloc.lower() == hosts[0].lower()
