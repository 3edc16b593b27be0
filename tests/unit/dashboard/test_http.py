"""The dashboard's answers: who gets which page, and with which headers."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.applications import Starlette

from bridge.commands.composition import composed
from bridge.commands.dashboard import dashboard_routes
from bridge.errors import Problem, Unavailable
from bridge.ledger import Ledger
from tests.support.dashboard import Filled, a_config, filled
from tests.support.forms import Form

T = TypeVar("T")
TOKEN = "a token that is long enough"
ELSEWHERE = ("192.0.2.7", 4711)


@pytest.fixture
def ledger(tmp_path: Path) -> Filled:
    made = filled(f"sqlite:///{tmp_path}/ledger.sqlite3")
    made.queued(made.job(1), made.job(2))
    return made


def visited(
    ledger: Filled,
    work: Callable[[httpx.AsyncClient], Awaitable[T]],
    *,
    peer: tuple[str, int] = ("127.0.0.1", 4711),
    host: str = "http://127.0.0.1:8080",
    problems: tuple[Problem, ...] = (),
    **settings: Any,
) -> T:
    """Do `work` with a client of the dashboard, which connects from `peer` and asks for `host`."""

    async def main() -> T:
        config = a_config(ledger.url, **settings)
        async with (
            composed(config, dry_run=True) as bridge,
            dashboard_routes(config, bridge, lambda: problems, lambda: None, asyncio.Event()) as pages,
        ):
            transport = httpx.ASGITransport(Starlette(routes=pages), client=peer)
            async with httpx.AsyncClient(transport=transport, base_url=host) as client:
                return await work(client)

    return asyncio.run(main())


def got(ledger: Filled, path: str, headers: dict[str, str] | None = None, **given: Any) -> httpx.Response:
    return visited(ledger, lambda client: client.get(path, headers=headers), **given)


def test_a_browser_on_this_machine_sees_the_page(ledger: Filled) -> None:
    answer = got(ledger, "/")
    assert answer.status_code == 200
    assert "the next pass asks for runner runpod-1-1" in answer.text
    assert "Sign out" not in answer.text


@pytest.mark.parametrize("path", ["/", "/jobs/1", "/updates", "/updates/jobs/1", "/?jobs=queued", "/jobs/404"])
@pytest.mark.parametrize(
    ("given", "headers"),
    [
        ({"peer": ELSEWHERE}, {}),
        ({"host": "http://rebound.example"}, {}),
        ({}, {"X-Forwarded-For": "127.0.0.1"}),
        ({}, {"Forwarded": "for=127.0.0.1"}),
        ({"public_url": "https://bridge.example.org"}, {}),
    ],
    ids=["another machine", "DNS rebinding", "proxy", "standard proxy", "public address"],
)
def test_everybody_else_is_refused_without_a_login(
    ledger: Filled, path: str, given: dict[str, Any], headers: dict[str, str]
) -> None:
    closed = got(ledger, path, headers, **given)
    assert closed.status_code == 403
    assert "BRIDGE_DASHBOARD_TOKEN" in closed.text
    asked = got(ledger, path, headers, token=TOKEN, **given)
    if path.startswith("/updates"):
        assert asked.status_code == 401
    else:
        assert (asked.status_code, asked.headers["location"]) == (303, "/login")
    for answer in (closed, asked):
        assert "acme" not in answer.text
        assert "runpod-1-1" not in answer.text
        assert "unit tests" not in answer.text


def test_a_public_address_on_loopback_is_that_of_a_trial(ledger: Filled) -> None:
    assert got(ledger, "/", public_url="http://127.0.0.1:8080").status_code == 200


ALLOWED = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "


@pytest.mark.parametrize("path", ["/", "/jobs/1", "/jobs/404", "/login", "/static/dashboard.css", "/static/none"])
def test_every_answer_forbids_what_the_pages_do_not_need(ledger: Filled, path: str) -> None:
    answer = got(ledger, path, token=TOKEN)
    policy = f"{ALLOWED}frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    assert answer.headers["content-security-policy"] == policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    kept = "public, max-age=31536000, immutable" if path.endswith(".css") else "no-store"
    assert answer.headers["cache-control"] == kept
    assert not re.search(r"\son\w+=|style=|<script(?! src=\"/static/)|javascript:", answer.text.partition("*/")[0])


def test_pages_load_only_what_the_bridge_serves(ledger: Filled) -> None:
    async def work(client: httpx.AsyncClient) -> list[int]:
        page = (await client.get("/")).text
        loaded = re.findall(r"(?:src|href)=\"(/static/[^\"]+)\"", page)
        assert len(loaded) == 3
        assert not re.search(r"(?:src|rel=\"stylesheet\" href)=\"(?!/)", page)
        return [(await client.get(path)).status_code for path in loaded]

    assert visited(ledger, work) == [200, 200, 200]


@pytest.mark.parametrize("number", ["404", "0", str(2**63), "9" * 5000, "one", "1.0", "\u0661"])
def test_an_unknown_job_is_said_to_be_unknown(ledger: Filled, number: str) -> None:
    answer = got(ledger, f"/jobs/{number}")
    assert answer.status_code == 404
    assert "The ledger has no such job" in answer.text


def test_problems_are_shown_without_secrets(ledger: Filled) -> None:
    problem = Problem("RunPod: rejected rp_secret_key; <b>check it</b>")
    page = got(ledger, "/", problems=(problem,)).text
    assert "RunPod: rejected ***; &lt;b&gt;check it&lt;/b&gt;" in page
    assert "rp_secret_key" not in page


def test_a_ledger_that_cannot_be_read_is_said_in_one_line(ledger: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(self: Ledger, work: object) -> None:
        raise Unavailable("the ledger could not be read: disk I/O error")

    monkeypatch.setattr(Ledger, "read", fail)
    answer = got(ledger, "/")
    assert (answer.status_code, answer.headers["refresh"]) == (503, "30")
    assert "the ledger could not be read: disk I/O error" in answer.text


SITE = "https://bridge.example.org"


async def _sign_in(client: httpx.AsyncClient, token: str, origin: str | None = SITE) -> httpx.Response:
    headers = {} if origin is None else {"Origin": origin}
    return await client.post("/login", data={"token": token}, headers=headers)


def elsewhere(ledger: Filled, work: Callable[[httpx.AsyncClient], Awaitable[T]], **given: Any) -> T:
    values = {"peer": ELSEWHERE, "host": "https://bridge.example.org", "token": TOKEN, **given}
    return visited(ledger, work, **values)


def test_the_token_opens_the_page_until_sign_out(ledger: Filled) -> None:
    async def work(client: httpx.AsyncClient) -> list[int]:
        statuses = [(await _sign_in(client, TOKEN)).status_code]
        statuses.append((page := await client.get("/")).status_code)
        assert "Sign out" in page.text
        assert TOKEN not in page.text
        statuses.append((await client.post("/logout", headers={"Origin": "https://evil.example"})).status_code)
        statuses.append((await client.get("/")).status_code)
        statuses.append((await client.post("/logout", headers={"Origin": "https://bridge.example.org"})).status_code)
        statuses.append((await client.get("/")).status_code)
        return statuses

    assert elsewhere(ledger, work, public_url="https://bridge.example.org") == [303, 200, 403, 200, 303, 303]


@pytest.mark.parametrize("token", ["", "wrong", "x" * 10_000, "\ud800".encode("utf-8", "replace").decode()])
def test_a_wrong_token_opens_nothing(ledger: Filled, token: str) -> None:
    async def work(client: httpx.AsyncClient) -> tuple[int, int]:
        refused = await _sign_in(client, token)
        return refused.status_code, (await client.get("/")).status_code

    assert elsewhere(ledger, work) == (401, 303)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", None])
def test_another_site_cannot_sign_a_browser_in(ledger: Filled, origin: str | None) -> None:
    answer = elsewhere(ledger, lambda client: _sign_in(client, TOKEN, origin))
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_a_body_that_is_no_form_signs_nobody_in(ledger: Filled) -> None:
    async def work(client: httpx.AsyncClient) -> list[int]:
        origin = {"Origin": "https://bridge.example.org"}
        bodies = [b"\xff\xfe", b"&".join(b"a=b" for _ in range(500)), b'{"token": "x"}', b""]
        return [(await client.post("/login", content=body, headers=origin)).status_code for body in bodies]

    assert elsewhere(ledger, work) == [401] * 4


def test_wrong_tokens_are_limited(ledger: Filled) -> None:
    async def work(client: httpx.AsyncClient) -> list[int]:
        return [(await _sign_in(client, "wrong")).status_code for _ in range(11)] + [
            (await _sign_in(client, TOKEN)).status_code
        ]

    assert elsewhere(ledger, work) == [401] * 10 + [429, 429]


def test_without_a_login_there_is_no_form(ledger: Filled) -> None:
    assert got(ledger, "/login", peer=ELSEWHERE).status_code == 403
    assert visited(ledger, lambda client: _sign_in(client, TOKEN), peer=ELSEWHERE, host=SITE).status_code == 403
    assert got(ledger, "/login/github", peer=ELSEWHERE).status_code == 404
    assert got(ledger, "/login/callback?code=x&state=y", peer=ELSEWHERE).status_code == 404


def test_sign_ins_with_github_that_fail_are_limited(ledger: Filled) -> None:
    """Nobody can have the bridge try codes at GitHub without end. Here GitHub does not answer at all."""

    async def work(client: httpx.AsyncClient) -> list[int]:
        statuses = []
        for _ in range(11):
            asked = await client.get("/login/github")
            state = parse_qs(urlsplit(asked.headers["location"]).query)["state"][0]
            statuses.append((await client.get(f"/login/callback?code=guessed&state={state}")).status_code)
        return statuses

    given = {"client_id": "Iv23liExample", "client_secret": "0123456789abcdef0123", "web_url": "http://127.0.0.1:9"}
    assert elsewhere(ledger, work, public_url=SITE, **given) == [502] * 10 + [429]


def test_a_request_for_the_headers_of_updates_ends_at_once(ledger: Filled) -> None:
    answer = visited(ledger, lambda client: client.head("/updates", timeout=5.0))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


def test_updates_are_server_sent_events(ledger: Filled) -> None:
    async def main() -> list[str]:
        config = a_config(ledger.url)
        stop = asyncio.Event()
        async with (
            composed(config, dry_run=True) as bridge,
            dashboard_routes(config, bridge, list, lambda: None, stop) as pages,
        ):
            asyncio.get_running_loop().call_later(0.5, stop.set)
            transport = httpx.ASGITransport(Starlette(routes=pages), client=("127.0.0.1", 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                answer = await client.get("/updates?jobs=queued")
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        return answer.text.split("\n\n")

    retry, update, *_ = asyncio.run(main())
    assert retry == "retry: 2000"
    lines = update.split("\n")
    assert lines[0].startswith("id: ")
    assert lines[1] == "event: main"
    assert all(line.startswith("data: ") or line == "data:" for line in lines[2:])
    assert "runpod-1-1" in update


def test_links_of_the_page_lead_to_pages(ledger: Filled) -> None:
    async def work(client: httpx.AsyncClient) -> set[int]:
        page = (await client.get("/")).text
        links = {link for link in re.findall(r'<a href="([^"]+)"', page) if urlsplit(link).netloc == ""}
        assert len(links) > 6
        return {(await client.get(link.replace("&amp;", "&"))).status_code for link in links if link.startswith("/")}

    assert visited(ledger, work) == {200}


def _form_in(page: httpx.Response) -> tuple[str, dict[str, str]]:
    found = Form(page)
    return found.action, found.values


def _actions(ledger: Filled) -> list[tuple[str, str, int]]:
    opened = Ledger.open(ledger.url)
    try:
        recorded = asyncio.run(opened.read(lambda transaction: transaction.overview().recorded()))
    finally:
        opened.close()
    return [(who, action, job) for _, who, action, job in recorded]


def test_nothing_can_be_changed_by_default(ledger: Filled) -> None:
    async def work(client: httpx.AsyncClient) -> int:
        assert "<form" not in (await client.get("/jobs/1")).text
        return (await client.post("/jobs/1/retry", headers={"Origin": "http://127.0.0.1:8080"})).status_code

    assert visited(ledger, work) == 404
    assert _actions(ledger) == []


@pytest.mark.parametrize(
    ("given", "who"), [({}, "a browser on this machine"), ({"peer": ELSEWHERE, "host": SITE, "token": TOKEN}, "token")]
)
def test_a_job_can_be_retried_if_that_is_allowed_and_who_did_it_is_written_down(
    ledger: Filled, given: dict[str, Any], who: str
) -> None:
    async def work(client: httpx.AsyncClient) -> int:
        if "token" in given:
            await _sign_in(client, TOKEN)
        page = await client.get("/jobs/1")
        action, values = _form_in(_only_actions(page))
        answer = await client.post(action, data=values, headers={"Origin": str(client.base_url)})
        assert answer.headers["location"] == "/jobs/1"
        assert "Retried by hand: its failed attempts are forgotten" in (await client.get("/jobs/1")).text
        return answer.status_code

    assert visited(ledger, work, actions=True, **given) == 303
    assert _actions(ledger) == [(who, "retry", 1)]


def _only_actions(page: httpx.Response) -> httpx.Response:
    """The part of a page after its header, which has the form to sign out."""
    return httpx.Response(200, text=page.text.partition("<aside")[2], request=page.request)


@pytest.mark.parametrize(
    ("origin", "changed"),
    [("https://evil.example", {}), (None, {}), (SITE, {"form": "x"}), (SITE, {"form": ""}), (SITE, {"form": "\ud7ff"})],
)
def test_another_site_cannot_retry_a_job(ledger: Filled, origin: str | None, changed: dict[str, str]) -> None:
    async def work(client: httpx.AsyncClient) -> int:
        await _sign_in(client, TOKEN)
        action, values = _form_in(_only_actions(await client.get("/jobs/1")))
        headers = {} if origin is None else {"Origin": origin}
        return (await client.post(action, data=values | changed, headers=headers)).status_code

    assert elsewhere(ledger, work, actions=True) == 403
    assert _actions(ledger) == []


def test_a_form_of_another_session_retries_nothing(ledger: Filled) -> None:
    async def work(client: httpx.AsyncClient) -> int:
        _, values = _form_in(await client.get("/jobs/1"))
        client.cookies.clear()
        await client.get("/jobs/2")
        return (await client.post("/jobs/1/retry", data=values, headers={"Origin": str(client.base_url)})).status_code

    assert visited(ledger, work, actions=True) == 403
    assert _actions(ledger) == []


def test_who_has_not_signed_in_retries_nothing(ledger: Filled) -> None:
    async def work(client: httpx.AsyncClient) -> int:
        return (await client.post("/jobs/1/retry", data={"form": "x"}, headers={"Origin": SITE})).status_code

    assert elsewhere(ledger, work, actions=True) == 303
    assert _actions(ledger) == []


def test_a_job_that_has_ended_has_no_form_and_is_not_retried(ledger: Filled) -> None:
    ledger.finished([100])

    async def work(client: httpx.AsyncClient) -> list[int]:
        assert "<form" not in (await client.get("/jobs/100")).text
        _, values = _form_in(await client.get("/jobs/1"))
        origin = {"Origin": str(client.base_url)}
        paths = ("/jobs/100/retry", "/jobs/404/retry", f"/jobs/{2**63}/retry")
        return [(await client.post(path, data=values, headers=origin)).status_code for path in paths]

    assert visited(ledger, work, actions=True) == [404, 404, 404]
    assert _actions(ledger) == []
