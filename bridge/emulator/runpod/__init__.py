"""The part of RunPod serverless that its SDK uses: a model with state over loopback HTTP, with real workers."""

import asyncio
import contextlib
import secrets
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette

from bridge.emulator.faults import Faults
from bridge.emulator.faults_http import FaultLayer
from bridge.emulator.runpod.callbacks import Callbacks
from bridge.emulator.runpod.http import RunPodHttp
from bridge.emulator.runpod.scaler import Scaler, WorkerImage
from bridge.emulator.runpod.state import EndpointConfig, RunPodState
from bridge.emulator.serving import NOT_EMULATED, serving


class RunPodEmulator:
    """A RunPod account with endpoints. Created by `runpod_emulator`."""

    def __init__(
        self, state: RunPodState, http: RunPodHttp, faults: Faults, scaler: Scaler, callbacks: Callbacks
    ) -> None:
        self.state = state
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
    def calls(self) -> Counter[str]:
        """Calls by method and path template."""
        return self._http.calls

    @property
    def pinged(self) -> set[str]:
        """The workers that have sent a ping."""
        return self._http.pinged


@asynccontextmanager
async def runpod_emulator(
    state: RunPodState, *, api_key: str, images: Mapping[str, WorkerImage] | None = None, port: int = 0
) -> AsyncIterator[RunPodEmulator]:
    """Serve `state` until the block ends. Then all workers have exited, too.

    Args:
        state: the model; it may be changed while it is served.
        api_key: of the clients.
        images: of each endpoint's workers; an endpoint without an image has no workers.
        port: 0 for a free one.
    """
    worker_key = secrets.token_urlsafe(24)
    http, faults, callbacks = RunPodHttp(state, api_key, worker_key), Faults(), Callbacks(state)
    asgi = FaultLayer(Starlette(routes=[*http.routes(), NOT_EMULATED]), faults)
    with tempfile.TemporaryDirectory(prefix="runpod-emulator-") as root:
        async with serving(asgi, port) as url, callbacks.sending():
            scaler = Scaler(state, images or {}, root=Path(root), url=url, worker_key=worker_key)
            emulator = RunPodEmulator(state, http, faults, scaler, callbacks)
            emulator.url = url
            scaling = asyncio.create_task(scaler.run())
            try:
                yield emulator
            finally:
                scaling.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await scaling


__all__ = ["EndpointConfig", "RunPodEmulator", "RunPodState", "WorkerImage", "runpod_emulator"]
