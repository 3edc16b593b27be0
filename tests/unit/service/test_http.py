"""What the HTTP application shows about failures inside the bridge."""

import asyncio
from collections.abc import Mapping

import httpx
import structlog

from bridge.core.model import WorkflowJob
from bridge.core.scope import Scope
from bridge.errors import Unavailable
from bridge.github.webhook import Webhook
from bridge.service.http import Dependencies, application
from bridge.service.metrics import Metrics
from bridge.telemetry import configure_logging
from tests.support.values import a_route

SECRET = "a secret that is long"


class _Failing:
    """A loop and an intake whose errors contain a secret."""

    def request_ended(self, submission: str) -> None: ...
    def resync_now(self) -> None: ...

    async def ready(self) -> Mapping[str, str | None]:
        return {"database": f"refused: {SECRET}", "resync": None, "services": "GitHub: \ud800"}

    async def take(self, guid: str, job: WorkflowJob | None) -> None:
        raise Unavailable(f"refused: {SECRET}")


def some_dependencies() -> Dependencies:
    failing, metrics = _Failing(), Metrics()
    return Dependencies(
        scope=Scope(owner="acme", organisation="acme", repositories=(), routes=(a_route(),), prefix="r", web_url=""),
        is_served=lambda job: True,
        webhook=Webhook([SECRET]),
        intake=failing,
        loop=failing,
        recorder=metrics,
        metrics=metrics.page,
    )


def test_readiness_shows_what_fails_and_no_secret() -> None:
    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(application(some_dependencies()))
        async with httpx.AsyncClient(transport=transport, base_url="http://bridge") as client:
            return await client.get("/readyz")

    configure_logging([SECRET])
    answer = asyncio.run(main())
    structlog.reset_defaults()
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "not ready",
        "checks": {"database": "refused: ***", "resync": "ok", "services": "GitHub: \ud800"},
    }
