"""Who sees the dashboard without signing in."""

from typing import Any

import pytest

from bridge.dashboard.access import Visit, is_local, same_site


def a_visit(**given: Any) -> Visit:
    return Visit(**{"peer": "127.0.0.1", "hosts": ["127.0.0.1:8080"], "headers": ["host", "accept"], **given})


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("127.0.0.1", "127.0.0.1:8080"),
        ("127.0.0.1", "localhost:8080"),
        ("127.0.0.1", "LOCALHOST"),
        ("127.8.8.8", "127.8.8.8"),
        ("::1", "[::1]:8080"),
        ("::ffff:127.0.0.1", "localhost"),
    ],
)
def test_a_browser_on_this_machine_needs_no_login(peer: str, host: str) -> None:
    assert is_local(a_visit(peer=peer, hosts=[host]))


@pytest.mark.parametrize("peer", ["192.0.2.7", "10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1", "unix:", "", None])
def test_another_machine_is_not_local_whatever_host_it_names(peer: str | None) -> None:
    assert not is_local(a_visit(peer=peer))


@pytest.mark.parametrize(
    "hosts",
    [
        ["bridge.example.org"],
        ["127.0.0.1.example.org:8080"],
        ["localhost.example.org"],
        ["localhost@evil.example"],
        ["evil.example@localhost"],
        ["0.0.0.0:8080"],
        ["192.168.0.7"],
        ["[::1"],
        [""],
        [],
        ["localhost", "evil.example"],
    ],
)
def test_a_name_that_points_to_this_machine_is_not_local(hosts: list[str]) -> None:
    """DNS rebinding: the browser sends the name of the site that it believes to talk to."""
    assert not is_local(a_visit(hosts=hosts))


@pytest.mark.parametrize(
    "header", ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "via", "x-real-ip"]
)
def test_a_request_through_a_proxy_is_not_local(header: str) -> None:
    assert not is_local(a_visit(headers=["host", header]))


def test_a_request_through_a_bare_nginx_is_not_local() -> None:
    assert not is_local(a_visit(http_version="1.0"))


@pytest.mark.parametrize(
    ("origin", "hosts", "same"),
    [
        ("http://localhost:8080", ["localhost:8080"], True),
        ("https://Bridge.example.org", ["bridge.example.org"], True),
        ("https://evil.example", ["bridge.example.org"], False),
        ("http://localhost:9090", ["localhost:8080"], False),
        ("null", ["localhost:8080"], False),
        (None, ["localhost:8080"], False),
        ("http://[::1", ["localhost:8080"], False),
        ("http://localhost:8080", ["localhost:8080", "evil.example"], False),
    ],
)
def test_a_form_counts_only_if_it_was_sent_from_the_same_host(origin: str | None, hosts: list[str], same: bool) -> None:
    assert same_site(origin, hosts) is same
