"""The part of RunPod serverless that its SDK uses: a model with state over loopback HTTP, with real workers."""

import asyncio
import contextlib
import secrets
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from starlette.applications import Starlette

from bridge.emulator.faults import Faults
from bridge.emulator.faults_http import FaultLayer
from bridge.emulator.runpod.account import Account, Record
from bridge.emulator.runpod.callbacks import Callbacks
from bridge.emulator.runpod.http import RunPodHttp
from bridge.emulator.runpod.management import PREFIX, ManagementHttp
from bridge.emulator.runpod.scaler import Scaler, WorkerImage
from bridge.emulator.runpod.state import EndpointConfig, RunPodState
from bridge.emulator.serving import NOT_EMULATED, serving


class RunPodEmulator:
    """A RunPod account with endpoints. Created by `runpod_emulator`."""

    def __init__(  # noqa: PLR0913, PLR0917 - its parts
        self,
        state: RunPodState,
        http: RunPodHttp,
        faults: Faults,
        scaler: Scaler,
        callbacks: Callbacks,
        management: ManagementHttp,
        account: Account,
    ) -> None:
        self.state = state
        self.account = account
        self.management = management
        self.callbacks = callbacks
        self.faults = faults
        self.scaler = scaler
        self.url = ""
        self._http = http

    @property
    def base_url(self) -> str:
        """The value for RUNPOD_ENDPOINT_BASE_URL."""
        return f"{self.url}/v2"

    @property
    def management_url(self) -> str:
        """What RUNPOD_MANAGEMENT_URL is set to."""
        return f"{self.url}{PREFIX}"

    @property
    def calls(self) -> Counter[str]:
        """Calls by method and path template."""
        return self._http.calls

    @property
    def pinged(self) -> set[str]:
        """The workers that have sent a ping."""
        return self._http.pinged


@asynccontextmanager
async def runpod_emulator(  # noqa: PLR0913 - each is an option of its own
    state: RunPodState,
    *,
    api_key: str,
    images: Mapping[str, WorkerImage] | None = None,
    port: int = 0,
    account: Account | None = None,
    management_key: str | None = None,
    new_image: WorkerImage | None = None,
) -> AsyncIterator[RunPodEmulator]:
    """Serve `state` until the block ends. Then all workers have exited, too.

    Args:
        state: the model; it may be changed while it is served.
        api_key: of the clients.
        images: of each endpoint's workers; an endpoint without an image has no workers.
        port: 0 for a free one.
        account: what the management API manages; by default the endpoints of `state`.
        management_key: of the clients of the management API; by default `api_key`.
        new_image: of the workers of endpoints that the management API creates; None for no workers.
    """
    worker_key, runs = secrets.token_urlsafe(24), dict(images or {})
    account = account or Account(state)
    http, faults, callbacks = RunPodHttp(state, api_key, worker_key), Faults(), Callbacks(state)
    management = _management(account, api_key, management_key)
    asgi = FaultLayer(Starlette(routes=[*http.routes(), *management.routes(), NOT_EMULATED]), faults)
    _run_workers(account, runs, new_image)
    with tempfile.TemporaryDirectory(prefix="runpod-emulator-") as root:
        async with serving(asgi, port) as url, callbacks.sending():
            account.url = f"{url}/v2"
            scaler = Scaler(state, runs, root=Path(root), url=url, worker_key=worker_key)
            emulator = RunPodEmulator(state, http, faults, scaler, callbacks, management, account)
            emulator.url = url
            scaling = asyncio.create_task(scaler.run())
            try:
                yield emulator
            finally:
                scaling.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await scaling


def _management(account: Account, api_key: str, management_key: str | None) -> ManagementHttp:
    """With a key of its own, the key for requests may not manage."""
    restricted = frozenset({api_key}) if management_key else frozenset()
    return ManagementHttp(account, frozenset({management_key or api_key}), restricted)


def _run_workers(account: Account, images: dict[str, WorkerImage], new_image: WorkerImage | None) -> None:
    """Run `new_image` on each endpoint that the account creates, with the endpoint's variables."""

    def created(endpoint: str, _record: Record) -> None:
        if new_image and (endpoint not in images or images[endpoint].command == new_image.command):
            images[endpoint] = replace(
                new_image, environment={**account.environment(endpoint), **new_image.environment}
            )

    def deleted(endpoint: str) -> None:
        images.pop(endpoint, None)

    account.on_create, account.on_delete = created, deleted


__all__ = ["Account", "EndpointConfig", "RunPodEmulator", "RunPodState", "WorkerImage", "runpod_emulator"]
