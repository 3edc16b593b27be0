"""Cookies that say who is signed in, and the limit on wrong tokens."""

from http.cookies import SimpleCookie
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from bridge.dashboard.sessions import LIFE, SIGN_IN_LIFE, Login, Sessions

TOKEN, SECRET = "a token that is long enough", "a secret that is long enough"


def sessions(now: list[float] | None = None, **given: Any) -> Sessions:
    clock = now or [1_800_000_000.0]
    return Sessions(Login(**{"token": TOKEN, "secret": SECRET, **given}), lambda: clock[0])


def with_cookies_of(response: Response) -> Request:
    cookies = SimpleCookie()
    for value in response.headers.getlist("set-cookie"):
        cookies.load(value)
    sent = "; ".join(f"{name}={each.value}" for name, each in cookies.items())
    return Request({"type": "http", "headers": [(b"cookie", sent.encode())]})


def signed_in(made: Sessions, person: str = "token") -> Request:
    response = Response()
    made.start(response, person)
    return with_cookies_of(response)


def test_a_session_lasts_twelve_hours() -> None:
    now = [1_800_000_000.0]
    made = sessions(now)
    request = signed_in(made, "@octocat")
    now[0] += LIFE
    assert made.person(request) == "@octocat"
    now[0] += 1
    assert made.person(request) is None


def test_all_copies_with_the_same_secret_know_a_session_and_others_do_not() -> None:
    request = signed_in(sessions())
    assert sessions().person(request) == "token"
    assert sessions(secret="another secret, also long").person(request) is None
    assert sessions(secret=None).person(request) is None


def test_a_new_token_ends_the_sessions_of_the_old_one() -> None:
    assert sessions(token="a new token that is long enough").person(signed_in(sessions())) is None


@pytest.mark.parametrize("value", ["", "x", "a.b.c", '"token"', "ey.ey.ey", "\xff"])
def test_a_cookie_that_was_not_signed_here_is_nobodys(value: str) -> None:
    cookie = f"bridge-session={value}".encode("latin-1")
    assert sessions().person(Request({"type": "http", "headers": [(b"cookie", cookie)]})) is None


def test_a_begun_sign_in_is_no_session() -> None:
    made, response = sessions(), Response()
    made.begin(response)
    (cookie,) = response.headers.getlist("set-cookie")
    value = cookie.partition("=")[2].partition(";")[0]
    request = Request({"type": "http", "headers": [(b"cookie", f"bridge-session={value}".encode())]})
    assert made.person(request) is None


def test_scripts_and_other_sites_do_not_get_the_cookie() -> None:
    response = Response()
    sessions(public_url="https://bridge.example.org").start(response, "token")
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("__Host-bridge-session=")
    assert {part.strip().lower() for part in cookie.split(";")[1:]} == {
        "httponly",
        "secure",
        "samesite=lax",
        "path=/",
        f"max-age={LIFE}",
    }


def test_a_sign_in_counts_only_in_the_browser_that_began_it_and_for_ten_minutes() -> None:
    now = [1_800_000_000.0]
    made, response, other = sessions(now), Response(), Response()
    state, challenge = made.begin(response)
    made.begin(other)
    assert made.finish(with_cookies_of(response), state)
    assert len(challenge) == 43
    assert made.finish(with_cookies_of(other), state) is None
    assert made.finish(Request({"type": "http", "headers": []}), state) is None
    assert made.finish(with_cookies_of(response), "\ud800") is None
    now[0] += SIGN_IN_LIFE + 1
    assert made.finish(with_cookies_of(response), state) is None


@pytest.mark.parametrize("given", ["", "a token", TOKEN + "x", "\ud800", "x" * 100_000])
def test_only_the_token_is_the_token(given: str) -> None:
    assert sessions().is_token(TOKEN)
    assert not sessions().is_token(given)
    assert not sessions(token=None).is_token(given)
