"""A program that runs the service's HTTP server without a ledger: it verifies, parses and answers deliveries."""

import asyncio
import sys

import uvicorn
import uvloop

from bridge.config.settings import load
from bridge.core.model import WorkflowJob
from bridge.core.routing import is_served
from bridge.github.webhook import Webhook
from bridge.service.connections import Warnings
from bridge.service.http import Dependencies
from bridge.service.metrics import Metrics
from bridge.service.run import listening, server_config


class Nowhere:
    """Accepts deliveries and stores nothing."""

    async def take(self, guid: str, job: WorkflowJob | None) -> None:
        """Store nothing."""


class Nothing:
    """A loop that does nothing when it is woken."""

    def request_ended(self, submission: str) -> None: ...
    def resync_now(self) -> None: ...
    async def ready(self) -> dict[str, str | None]:
        return {}


async def serve(port: int) -> None:
    """Serve until killed, with the settings of the environment."""
    settings, metrics = load(None), Metrics()
    dependencies = Dependencies(
        scope=settings.scope,
        is_served=lambda job: is_served(job, settings.scope),
        webhook=Webhook(settings.webhook_secrets),
        intake=Nowhere(),
        loop=Nothing(),
        recorder=metrics,
        metrics=metrics.page,
    )
    with listening("127.0.0.1", port) as listener:
        await uvicorn.Server(server_config(dependencies, Warnings())).serve([listener])


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
