"""A collector of traces that receives OTLP over HTTP, and a service that takes messages. Both can fail in many ways.

https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

OK, ERROR = Status.STATUS_CODE_OK, Status.STATUS_CODE_ERROR


@dataclass(kw_only=True)
class Behaviour:
    """How requests are answered.

    Args:
        status: of the answer.
        kind: its content type.
        body: of the answer; None for what a collector answers.
        headers: in addition.
        hangs: no answer comes until the server stops.
        endless: the answer's body never ends.
    """

    status: int = 200
    kind: str = "application/x-protobuf"
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False
    endless: bool = False


@dataclass(kw_only=True)
class Receiver:
    """What was received.

    Args:
        url: of the server.
        behaviour: of the next answers.
        requests: the path, the headers and the body of each request.
        accepted: the body of each request that was answered as it should be.
    """

    url: str
    behaviour: Behaviour = field(default_factory=Behaviour)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    accepted: list[bytes] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def exports(self) -> list[ExportTraceServiceRequest]:
        """Each accepted request as a collector reads it."""
        return [ExportTraceServiceRequest.FromString(body) for body in self.accepted]

    def spans(self) -> list[Span]:
        """All accepted spans, in the order in which they came."""
        return [
            span
            for each in self.exports()
            for resource in each.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def resource(self) -> dict[str, Any]:
        """The attributes of the newest request's resource."""
        return attributes(self.exports()[-1].resource_spans[0].resource)

    def texts(self) -> list[str]:
        """The text of each message."""
        return [json.loads(body)["text"] for _, _, body in self.requests]


def attributes(of: Any) -> dict[str, Any]:
    """The attributes of a span or a resource."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in of.attributes}


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run the server on a free port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
            receiver.requests.append((self.path, headers, body))
            if receiver.behaviour == Behaviour():
                receiver.accepted.append(body)
            self._answer(receiver.behaviour)

        def _answer(self, how: Behaviour) -> None:
            if how.hangs:
                receiver.stopped.wait(60)
                return
            body = ExportTraceServiceResponse().SerializeToString() if how.body is None else how.body
            self.send_response(how.status)
            self.send_header("content-type", how.kind)
            for name, value in how.headers.items():
                self.send_header(name, value)
            if not how.endless:
                self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            while how.endless and not receiver.stopped.wait(0.01):
                self.wfile.write(b"x" * 1000)

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:  # a client that hung up
            pass

    with Quiet(("127.0.0.1", 0), Handler) as server:
        receiver = Receiver(url=f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield receiver
        finally:
            receiver.stopped.set()
            server.shutdown()
            thread.join()
