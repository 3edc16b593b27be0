"""What many requests at a time can do to the dashboard."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from bridge.errors import Unavailable
from bridge.github.sign_in import SignIn
from tests.support.dashboard import Filled, filled
from tests.unit.dashboard.test_http import SITE, elsewhere


@pytest.fixture
def ledger(tmp_path: Path) -> Filled:
    return filled(f"sqlite:///{tmp_path}/ledger.sqlite3")


def test_wrong_tokens_that_come_together_are_limited_too(ledger: Filled) -> None:
    """Each request waits with its body until all have begun, so that none has failed before."""

    async def work(client: httpx.AsyncClient) -> list[int]:
        begun = asyncio.Barrier(30)

        async def body() -> AsyncIterator[bytes]:
            yield b"token="
            await begun.wait()
            yield b"wrong"

        sent = (client.post("/login", content=body(), headers={"Origin": SITE}) for _ in range(30))
        return [answer.status_code for answer in await asyncio.gather(*sent)]

    assert sorted(elsewhere(ledger, work)) == [401] * 10 + [429] * 20


def test_sign_ins_with_github_that_fail_together_are_limited_too(
    ledger: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub answers none of them before all have come."""
    asked: list[str] = []

    async def person(_self: SignIn, code: str, **_: str) -> str:
        asked.append(code)
        await asyncio.sleep(0.2)
        raise Unavailable("GitHub: no answer")

    monkeypatch.setattr(SignIn, "person", person)

    async def once(client: httpx.AsyncClient) -> int:
        begun = await client.get("/login/github")
        state = parse_qs(urlsplit(begun.headers["location"]).query)["state"][0]
        cookie = begun.headers["set-cookie"].partition(";")[0]
        path = f"/login/callback?code=guessed&state={state}"
        return (await client.get(path, headers={"Cookie": cookie})).status_code

    async def work(client: httpx.AsyncClient) -> list[int]:
        return list(await asyncio.gather(*(once(client) for _ in range(30))))

    given = {"client_id": "Iv23liExample", "client_secret": "0123456789abcdef0123"}
    found = elsewhere(ledger, work, public_url=SITE, **given)
    assert len(asked) <= 10
    assert found.count(429) >= 20
