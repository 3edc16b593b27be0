"""The bridge's RunPod client: which calls were refused, which outcomes are unknown, and which calls go first."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from bridge.core.model import LONGEST_NAME, Cancellation, Deleted, RequestStatus
from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.runpod import EndpointConfig, RunPodEmulator, RunPodState, runpod_emulator
from bridge.errors import AuthError, BridgeError, OutcomeUnknown, RateLimited, Rejected, Unavailable
from bridge.runpod.requests import LONGEST_ERROR, LONGEST_TIME, RunPod
from tests.support.background import served
from tests.support.service import free_port
from tests.support.values import a_route

KEY = "rp_key"
ROUTE = a_route(endpoint="ep")


@pytest.fixture
def emulator() -> Iterator[RunPodEmulator]:
    with served(lambda: runpod_emulator(RunPodState({"ep": EndpointConfig()}), api_key=KEY, images=None)) as made:
        yield made


def driven(url: str, drive: Callable[[RunPod], Awaitable[Any]], api_key: str = KEY) -> Any:
    async def main() -> Any:
        client = RunPod(api_key=api_key, base_url=url)
        try:
            return await drive(client)
        finally:
            client.close()

    return asyncio.run(main())


async def submit(client: RunPod) -> str:
    return await client.submit("ep", ROUTE, {"mode": "jit"}, None)


@pytest.mark.parametrize(
    ("headers", "waits"), [({}, 7.0), ({"retry-after": "30"}, 30.0), ({"retry-after": "soon"}, 7.0)]
)
def test_a_rate_limit_is_waited_for_as_long_as_runpod_says_or_the_default(
    emulator: RunPodEmulator, headers: dict[str, str], waits: float
) -> None:
    emulator.faults.add(Fault(method="GET", path="/health$", kind=FaultKind.ERROR, status=429, headers=headers))

    async def main() -> float:
        client = RunPod(api_key=KEY, base_url=emulator.base_url, clock=lambda: 1000.0, rate_limit_wait=7.0)
        with pytest.raises(RateLimited) as limited:
            await client.health("ep")
        client.close()
        return limited.value.retry_at

    assert asyncio.run(main()) == 1000.0 + waits


def test_a_netrc_does_not_replace_the_key(
    emulator: RunPodEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert driven(emulator.base_url, submit)


def test_a_request_is_submitted_read_and_cancelled(emulator: RunPodEmulator) -> None:
    async def drive(client: RunPod) -> None:
        request = await submit(client)
        assert (await client.status("ep", request)).status is RequestStatus.IN_QUEUE
        assert (await client.health("ep")).in_queue == 1
        agreed = Deleted(target="orgs/acme", runner_id=7)
        await client.cancel(Cancellation(endpoint="ep", request_id=request, proof=agreed))
        assert (await client.status("ep", request)).status is RequestStatus.CANCELLED
        await client.cancel(Cancellation(endpoint="ep", request_id=request, proof=agreed))
        assert (await client.status("ep", "gone")).status is RequestStatus.MISSING

    driven(emulator.base_url, drive)


def test_the_times_and_the_worker_of_a_request_are_read(emulator: RunPodEmulator) -> None:
    async def drive(client: RunPod) -> None:
        request = await submit(client)
        waiting = await client.status("ep", request)
        assert (waiting.delay, waiting.execution, waiting.worker_id) == (None, None, None)
        worker = emulator.state.add_worker("ep")
        emulator.state.take(worker.id)
        running = await client.status("ep", request)
        assert running.delay is not None
        assert (running.execution, running.worker_id) == (None, worker.id)
        emulator.state.done(worker.id, request, {"output": {}})
        done = await client.status("ep", request)
        assert done.execution is not None
        assert 0 <= done.execution < 60

    driven(emulator.base_url, drive)


@pytest.mark.parametrize(
    ("told", "read"),
    [
        ({"delayTime": 31_618, "executionTime": 1_437, "workerId": "w1"}, (31.618, 1.437, "w1")),
        ({"delayTime": 0, "executionTime": 0.5, "workerId": ""}, (0.0, 0.0005, None)),
        ({"delayTime": "31618", "executionTime": -1, "workerId": "w" * 1000}, (None, None, "w" * LONGEST_NAME)),
        ({"delayTime": 10**400, "executionTime": LONGEST_TIME, "workerId": ["w\0"]}, (None, None, "['w\\x00']")),
        ({"delayTime": None, "executionTime": [1], "workerId": None}, (None, None, None)),
    ],
)
def test_a_time_that_is_none_is_left_out(emulator: RunPodEmulator, told: dict[str, Any], read: tuple[Any, ...]) -> None:
    body = json.dumps({"id": "r", "status": "COMPLETED", **told})
    emulator.faults.add(Fault(method="GET", path="/status/", kind=FaultKind.ERROR, status=200, body=body))

    async def drive(client: RunPod) -> None:
        request = await client.status("ep", "r")
        assert (request.delay, request.execution, request.worker_id) == read

    driven(emulator.base_url, drive)


@pytest.mark.parametrize("told", ["x" * 1_000_000, ["x" * 1_000_000]])
def test_an_endless_error_of_a_worker_is_cut(emulator: RunPodEmulator, told: object) -> None:
    body = json.dumps({"id": "r", "status": "FAILED", "error": told})
    emulator.faults.add(Fault(method="GET", path="/status/", kind=FaultKind.ERROR, status=200, body=body))

    async def drive(client: RunPod) -> None:
        request = await client.status("ep", "r")
        assert len(request.error or "") == LONGEST_ERROR

    driven(emulator.base_url, drive)


ERROR, ACCEPTED = FaultKind.ERROR, FaultKind.ACCEPT_THEN_ERROR


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ({"kind": ERROR, "status": 401}, AuthError),
        ({"kind": ERROR, "status": 403}, AuthError),
        ({"kind": ERROR, "status": 404}, Rejected),
        ({"kind": ERROR, "status": 429}, RateLimited),
        ({"kind": ERROR, "status": 500}, OutcomeUnknown),
        ({"kind": ERROR, "status": 200, "body": "<html>"}, OutcomeUnknown),
        ({"kind": ERROR, "status": 200, "body": "{}"}, OutcomeUnknown),
        ({"kind": ERROR, "status": 200, "body": '{"id": null}'}, OutcomeUnknown),
        ({"kind": ERROR, "status": 200, "body": "[" * 100_000}, OutcomeUnknown),
        ({"kind": ACCEPTED, "status": 502}, OutcomeUnknown),
        ({"kind": FaultKind.DROP}, OutcomeUnknown),
    ],
    ids=lambda value: str(value.get("status", value["kind"])) if isinstance(value, dict) else value.__name__,
)
def test_a_request_that_is_not_answered_with_its_id_is_refused_or_unknown(
    emulator: RunPodEmulator, fault: dict[str, Any], named: type[BridgeError]
) -> None:
    emulator.faults.add(Fault(method="POST", path="/run$", **fault))
    with pytest.raises(named) as error:
        driven(emulator.base_url, submit)
    assert KEY not in str(error.value)


@pytest.mark.parametrize(("names", "said"), [({}, ""), ({"ep": "l4"}, " (endpoint l4)")])
def test_an_error_names_the_endpoint_by_its_id_and_by_its_name(
    emulator: RunPodEmulator, names: dict[str, str], said: str
) -> None:
    emulator.faults.add(Fault(method="POST", path="/run$", kind=ERROR, status=403))

    async def main() -> str:
        client = RunPod(api_key=KEY, base_url=emulator.base_url, names=names)
        with pytest.raises(AuthError) as refused:
            await submit(client)
        assert client.calls == {"POST /ep/run": 1}
        client.close()
        return str(refused.value)

    assert asyncio.run(main()).startswith(f"RunPod: POST /ep/run{said}: 403 Forbidden: ")


@contextmanager
def untrusted(folder: Path) -> Iterator[str]:
    """The address of a server whose certificate is not trusted."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    key = rsa.generate_private_key(65537, 2048)
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    pem = folder / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(private + made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    @asynccontextmanager
    async def listening() -> AsyncIterator[int]:
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", ssl=context)
        async with server:
            yield int(server.sockets[0].getsockname()[1])

    with served(listening) as port:
        yield f"https://127.0.0.1:{port}"


def sends_nothing(url: str, **given: Any) -> None:
    """The request can be sent again at once: nothing can have been accepted."""
    with pytest.raises(Unavailable, match="nothing was sent") as error:
        driven(url, submit, **given)
    assert "\n" not in str(error.value)


def test_a_server_with_an_untrusted_certificate_is_sent_nothing(tmp_path: Path) -> None:
    with untrusted(tmp_path) as url:
        sends_nothing(url)


@pytest.mark.parametrize("key", ["two\nlines", "rp_key\n", "ключ"])
def test_a_key_that_is_not_valid_in_a_header_sends_nothing(emulator: RunPodEmulator, key: str) -> None:
    sends_nothing(emulator.base_url, api_key=key)
    assert not emulator.state.requests


@pytest.mark.parametrize("url", ["runpod.example/v2", "ftp://runpod.example", "http://"])
def test_an_invalid_address_sends_nothing(url: str) -> None:
    sends_nothing(url)


def test_without_a_connection_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    sends_nothing(f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "")
    sends_nothing("http://runpod.example")


@contextmanager
def answering(answer: bytes, *, after: bytes) -> Iterator[str]:
    """The address of a server or proxy that answers a request that ends in `after`, and closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(after)
        writer.write(answer)
        writer.close()

    @asynccontextmanager
    async def listening() -> AsyncIterator[int]:
        async with await asyncio.start_server(serve, "127.0.0.1") as server:
            yield int(server.sockets[0].getsockname()[1])

    with served(listening) as port:
        yield f"http://127.0.0.1:{port}"


def test_a_proxy_that_refuses_to_connect_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(b"HTTP/1.1 403 Forbidden\r\n\r\n", after=b"\r\n\r\n") as url:
        monkeypatch.setenv("HTTPS_PROXY", url)
        monkeypatch.setenv("NO_PROXY", "")
        sends_nothing("https://runpod.example")


def test_a_proxy_that_closes_the_connection_may_have_forwarded_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(b"", after=b"}}") as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.setenv("NO_PROXY", "")
        with pytest.raises(OutcomeUnknown):
            driven("http://runpod.example", submit)


def test_missing_certificates_send_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    sends_nothing(f"https://127.0.0.1:{free_port()}")


@pytest.mark.parametrize("status", [302, 303, 307])
def test_a_request_that_is_redirected_may_have_been_accepted(status: int) -> None:
    head = f"HTTP/1.1 {status} Elsewhere\r\nlocation: http://127.0.0.1:{free_port()}/\r\ncontent-length: 0\r\n\r\n"
    with answering(head.encode(), after=b"\r\n\r\n") as url:
        with pytest.raises(OutcomeUnknown):
            driven(url, submit)
        with pytest.raises(Rejected, match="correct RUNPOD_ENDPOINT_BASE_URL"):
            driven(url, lambda client: client.health("ep"))


def test_the_error_of_a_request_can_be_stored_in_any_database(emulator: RunPodEmulator) -> None:
    """A worker's error may contain the output of a program."""
    body = '{"id": "r", "status": "FAILED", "error": "a\\u0000b\\ud800"}'
    emulator.faults.add(Fault(method="GET", path="/status/", kind=ERROR, status=200, body=body))
    found = driven(emulator.base_url, lambda client: client.status("ep", "r"))
    assert found.error == "a\N{REPLACEMENT CHARACTER}b?"


def test_a_new_request_does_not_wait_for_reads_of_others(emulator: RunPodEmulator) -> None:
    """RunPod answers slowly, and many requests are read."""
    slow = Fault(method="GET", path="/status/", kind=FaultKind.DELAY, seconds=0.5, times=1000)

    async def drive(client: RunPod) -> None:
        await client.prepare("ep")
        emulator.faults.add(slow)
        readings = [asyncio.create_task(client.status("ep", f"r{n}")) for n in range(40)]
        await asyncio.sleep(0.1)
        await submit(client)
        assert sum(read.done() for read in readings) < 20
        for read in readings:
            read.cancel()

    driven(emulator.base_url, drive)
