"""The results service: states of steps, uploads of logs and summaries, and the live log."""

import json
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from bridge.emulator.github.runner_protocol.answers import Failed, bearer, json_object, route, unauthorized
from bridge.emulator.github.runner_protocol.identity import Identity
from bridge.emulator.github.state import GitHubState, Job

LARGEST = 64 << 20
"""Bytes of one upload."""

UPLOADS = {
    "GetStepLogsSignedBlobURL": ("logs_url", "log"),
    "GetJobLogsSignedBlobURL": ("logs_url", "job"),
    "GetStepSummarySignedBlobURL": ("summary_url", "summary"),
    "GetJobDiagLogsSignedBlobURL": ("diag_logs_url", "diagnostics"),
}
"""By call: the name of the URL in its answer, and the kind of the file."""

_TIMESTAMP = re.compile(r"^\ufeff?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z ", re.MULTILINE)


class Results:
    """Receives what the Worker reports while a job runs. None of it decides the job's result.

    Args:
        state: the model.
        identity: who calls.
        base_url: of the emulator.
    """

    def __init__(self, state: GitHubState, identity: Identity, base_url: Callable[[], str]) -> None:
        self._state = state
        self._identity = identity
        self._base_url = base_url
        self._places: dict[str, tuple[Job, str, str]] = {}  # by signature: the job, the kind of the file, and its step

    def routes(self) -> list[Route | WebSocketRoute]:
        """Steps, uploads, live log."""
        steps = "/_results/twirp/github.actions.results.api.v1.WorkflowStepUpdateService/WorkflowStepsUpdate"
        return [
            route("POST", steps, self._steps),
            route("POST", "/_results/twirp/results.services.receiver.Receiver/{call}", self._receive),
            route("PUT", "/_blobs/{kind}", self._put),
            WebSocketRoute("/_feed", self._feed),
        ]

    async def _steps(self, request: Request) -> Response:
        job, body = self._job(request), await json_object(request)
        for step in body.get("steps") or ():
            known = job.steps.setdefault(str(step.get("external_id")), {})
            known |= step
        return JSONResponse({"ok": True})

    async def _receive(self, request: Request) -> Response:
        """Give a signed URL for an upload, or accept the data about one."""
        job, body, call = self._job(request), await json_object(request), request.path_params["call"]
        if call.startswith("Create") and call.endswith("Metadata"):
            return JSONResponse({"ok": True})
        if call not in UPLOADS:
            raise Failed(404, {"code": "bad_route", "msg": f"no handler for {call}"})
        name, kind = UPLOADS[call]
        signature = secrets.token_urlsafe(16)
        self._places[signature] = (job, kind, str(body.get("step_backend_id", "")))
        url = f"{self._base_url()}/_blobs/{kind}?sig={signature}"
        return JSONResponse({name: url, "blob_storage_type": "BLOB_STORAGE_TYPE_AZURE", "soft_size_limit": LARGEST})

    async def _put(self, request: Request) -> Response:
        """Store a file: a whole one, or the next part of a long one.

        https://learn.microsoft.com/rest/api/storageservices/put-blob
        https://learn.microsoft.com/rest/api/storageservices/append-block
        """
        place = self._places.get(request.query_params.get("sig", ""))
        if place is None:
            raise Failed(403, {"message": "AuthenticationFailed"})
        text = _TIMESTAMP.sub("", (await _limited(request)).decode("utf-8", "replace")).removeprefix("\ufeff")
        appended = request.query_params.get("comp") == "appendblock"
        if not appended and request.headers.get("x-ms-blob-type") not in ("BlockBlob", "AppendBlob"):
            raise Failed(400, {"message": "MissingRequiredHeader"})
        _store(place, text, appended)
        return Response(status_code=201)

    async def _feed(self, socket: WebSocket) -> None:
        """The live log. Without it the runner goes on."""
        try:
            job = self._identity.claim_of(socket.headers.get("authorization", "").partition(" ")[2]).job
        except Failed:
            await socket.close(1008)
            return
        await socket.accept()
        with suppress(WebSocketDisconnect):
            while True:
                job.feed += _lines(await socket.receive_text())

    def _job(self, request: Request) -> Job:
        token = bearer(request)
        if not token:
            raise unauthorized()
        return self._identity.claim_of(token).job


def _store(place: tuple[Job, str, str], text: str, appended: bool) -> None:
    job, kind, step = place
    if kind == "job":
        job.log = job.log + text if appended else text
    else:
        name = f"{kind} {step}"
        job.step_logs[name] = job.step_logs.get(name, "") + text if appended else text


async def _limited(request: Request) -> bytes:
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > LARGEST:
            raise Failed(413, {"message": "RequestBodyTooLarge"})
    return content


def _lines(text: str) -> list[str]:
    try:
        message: Any = json.loads(text)
        return [str(line) for line in message["value"]]
    except (ValueError, TypeError, KeyError):
        return []
