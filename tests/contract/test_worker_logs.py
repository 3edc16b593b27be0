"""The log of a worker, streamed: what breaks off is resumed without a gap or a repetition, and nothing is endless."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from bridge.emulator.runpod import Account, EndpointConfig, RunPodEmulator, RunPodState, runpod_emulator
from bridge.emulator.serving import serving
from bridge.errors import AuthError, BridgeError, RateLimited, Rejected, Unavailable
from bridge.runpod import worker_logs
from bridge.runpod.worker_logs import LARGEST_EVENT, TRIES, LogLine, Source, WorkerGone, WorkerLogs, log_client
from tests.support.background import served, until

KEY = "rpa_managementkey0123456789"
Answer = Callable[[Request], Response]


async def no_sleep(_: float) -> None:
    await asyncio.sleep(0)


def event(number: int, text: str, **given: Any) -> str:
    data = {"ts": "2026-06-01T12:05:04Z", "source": "container", "line": text, **given}
    return f"id: 2026-06-01T12:05:04Z/{number:012d}\ndata: {json.dumps(data)}\n\n"


class Stub:
    """A server that gives the next answer to each call, the last one again and again."""

    def __init__(self, *answers: Answer | str) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, str]] = []
        self.waited: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)

    async def answer(self, request: Request) -> Response:
        last = {"last": request.headers.get("last-event-id", "")}
        self.asked.append({**request.query_params, **last})
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return Response(answer, media_type="text/event-stream") if isinstance(answer, str) else answer(request)

    def read(self, *, past: bool = False, silent: float = 5.0, tail: int = 100) -> list[str]:
        """The texts of the log's lines."""

        async def main() -> list[str]:
            app = Starlette(routes=[Route("/{path:path}", self.answer)])
            async with serving(app) as url, log_client(silent) as http:
                logs = WorkerLogs(http, api_key=KEY, base_url=url, key_setting="KEY", sleep=self.sleep)
                read = logs.past if past else logs.follow
                return [line.text async for line in read("ep-1", "w/1", source=Source.CONTAINER, tail=tail)]

        return asyncio.run(main())

    def error(self) -> BridgeError:
        with pytest.raises(BridgeError) as caught:
            self.read()
        assert KEY not in str(caught.value)
        assert "\n" not in str(caught.value)
        return caught.value


def gone(_: Request) -> Response:
    return Response(status_code=404)


def status(code: int, **headers: str) -> Answer:
    return lambda _: Response(status_code=code, headers={k.replace("_", "-"): v for k, v in headers.items()})


# --- a stream that is resumed ---


def test_a_stream_that_ends_is_resumed_after_its_last_line_until_the_worker_is_gone() -> None:
    stub = Stub(event(1, "a") + event(2, "b"), event(3, "c"), gone)
    assert stub.read() == ["a", "b", "c"]
    assert [asked["last"] for asked in stub.asked] == [
        "",
        "2026-06-01T12:05:04Z/000000000002",
        "2026-06-01T12:05:04Z/000000000003",
    ]
    assert stub.asked[0] == {"tail": "100", "source": "container", "last": ""}


def test_a_line_that_a_resumed_stream_repeats_is_shown_once_and_a_new_line_of_the_same_text_again() -> None:
    stub = Stub(event(1, "a") + event(2, "same"), event(2, "same") + event(3, "same"), gone)
    assert stub.read() == ["a", "same", "same"]


def test_ids_that_are_only_times_lose_no_line() -> None:
    """The description says that an id is the event's time; its example has a number behind it."""
    first = event(1, "a") + event(2, "b")
    stub = Stub(*(text.replace("/000000000001", "").replace("/000000000002", "") for text in (first, first)), gone)
    assert stub.read() == ["a", "b"]


def test_a_connection_that_breaks_within_a_line_is_resumed() -> None:
    async def broken() -> AsyncIterator[str]:
        yield event(1, "a") + event(2, "b")[:30]
        await asyncio.sleep(0.1)
        raise ConnectionError

    stub = Stub(lambda _: StreamingResponse(broken(), media_type="text/event-stream"), event(2, "b"), gone)
    assert stub.read() == ["a", "b"]


def test_a_silent_connection_is_replaced() -> None:
    async def silent() -> AsyncIterator[str]:
        yield event(1, "a")
        await asyncio.sleep(30)

    stub = Stub(lambda _: StreamingResponse(silent(), media_type="text/event-stream"), event(2, "b"), gone)
    assert stub.read(silent=0.3) == ["a", "b"]


def test_a_server_that_fails_for_a_while_is_asked_again() -> None:
    assert Stub(status(503), status(502), event(1, "a"), gone).read() == ["a"]


def test_a_short_rate_limit_is_waited_for() -> None:
    stub = Stub(status(429, retry_after="7"), event(1, "a"), gone)
    assert stub.read() == ["a"]
    assert stub.waited[0] == 7


def test_a_worker_that_prints_all_the_time_does_not_keep_the_past_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_logs, "LONGEST_PAST", 0.5)

    async def live() -> AsyncIterator[str]:
        for number in range(300):
            yield event(number, "a")
            await asyncio.sleep(0.1)

    stub = Stub(lambda _: StreamingResponse(live(), media_type="text/event-stream"))
    assert 1 < len(stub.read(past=True)) < 20


def test_a_stream_that_brings_nothing_is_given_up() -> None:
    for answer in (status(503), lambda _: Response("", media_type="text/event-stream")):
        stub = Stub(answer)
        assert isinstance(stub.error(), Unavailable)
        assert len(stub.asked) == TRIES


# --- what is no stream ---


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (gone, WorkerGone, "no such worker"),
        (status(401), AuthError, "KEY was refused"),
        (status(403), AuthError, "KEY may not do this"),
        (status(429, retry_after="700"), RateLimited, "try again in 700 s"),
        (status(429, retry_after="7"), Unavailable, "rate limit of RunPod, 6 times in a row"),
        (status(400), Rejected, "is RUNPOD_MANAGEMENT_URL right?"),
        (lambda _: RedirectResponse("https://example.org/"), Rejected, "307; is RUNPOD_MANAGEMENT_URL right?"),
        (lambda _: HTMLResponse("<h1>Login</h1>"), Unavailable, "the answer is no log (text/html)"),
    ],
)
def test_each_failure_has_a_name_and_one_line(answer: Answer, kind: type[BridgeError], says: str) -> None:
    error = Stub(answer).error()
    assert type(error) is kind
    assert says in str(error)


def test_what_is_no_line_is_ignored() -> None:
    others = "".join(f"data: {data}\n\n" for data in ("", "no json", "[]", "7", '{"line": "x"}', "[" * 3000))
    assert Stub(f": a comment\n\n{others}{event(1, 'a')}", gone).read() == ["a"]


@pytest.mark.parametrize("part", ["x" * 65536, "data: x\n" * 8192])
def test_an_endless_line_is_refused(part: str) -> None:
    sent = 0

    async def endless() -> AsyncIterator[str]:
        nonlocal sent
        yield "data: "
        while True:
            sent += len(part)
            yield part
            await asyncio.sleep(0)

    error = Stub(lambda _: StreamingResponse(endless(), media_type="text/event-stream")).error()
    assert isinstance(error, Unavailable)
    assert "larger than 1 MiB" in str(error)
    assert sent < 20 * LARGEST_EVENT


# --- the past only ---


def test_the_past_ends_when_no_more_lines_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_logs, "QUIET", 0.3)

    async def live() -> AsyncIterator[str]:
        yield event(1, "a") + event(2, "b")
        await asyncio.sleep(30)

    stub = Stub(lambda _: StreamingResponse(live(), media_type="text/event-stream"))
    began = time.monotonic()
    assert stub.read(past=True) == ["a", "b"]
    assert stub.read(past=True, tail=1) == ["a"]
    assert time.monotonic() - began < 5


# --- the emulator, which has the same form ---


@pytest.fixture
def emulator() -> Iterator[RunPodEmulator]:
    state = RunPodState({"ep-1": EndpointConfig(workers_max=1), "ep-2": EndpointConfig()})
    account = Account(state)
    with served(lambda: runpod_emulator(state, api_key="rpa_runtime", account=account, management_key=KEY)) as made:
        yield made


def read(emulator: RunPodEmulator, worker: str, source: Source | None, tail: int, past: bool = True) -> list[LogLine]:
    async def main() -> list[LogLine]:
        async with log_client() as http:
            logs = WorkerLogs(http, api_key=KEY, base_url=emulator.management_url, key_setting="KEY", sleep=no_sleep)
            lines = (logs.past if past else logs.follow)("ep-1", worker, source=source, tail=tail)
            return [line async for line in lines]

    return asyncio.run(main())


def test_the_emulated_log_has_both_sources_and_ends_with_its_worker(emulator: RunPodEmulator) -> None:
    state = emulator.state
    worker = state.add_worker("ep-1")
    state.logs.add(worker.id, "system", "start container")
    for number in range(3):
        state.logs.add(worker.id, "container", f"line {number}")
    assert [line.text for line in read(emulator, worker.id, Source.CONTAINER, 2)] == ["line 1", "line 2"]
    assert [(line.source, line.text) for line in read(emulator, worker.id, None, 9)][:2] == [
        ("system", "start container"),
        ("container", "line 0"),
    ]

    def work() -> None:
        until(lambda: emulator.management.calls["GET /v2/serverless/{id}/workers/{workerId}/logs"] > 2)
        time.sleep(0.3)
        state.logs.add(worker.id, "container", "live")
        time.sleep(0.3)
        state.remove_worker(worker)

    thread = threading.Thread(target=work)
    thread.start()
    assert [line.text for line in read(emulator, worker.id, Source.CONTAINER, 1, past=False)] == ["line 2", "live"]
    thread.join()
    with pytest.raises(WorkerGone):
        read(emulator, worker.id, None, 1)


def test_the_emulator_knows_a_worker_only_at_its_endpoint_and_refuses_wrong_parameters(
    emulator: RunPodEmulator,
) -> None:
    other = emulator.state.add_worker("ep-2")
    with pytest.raises(WorkerGone):
        read(emulator, other.id, None, 1)
    mine = emulator.state.add_worker("ep-1")
    with pytest.raises(Rejected):
        read(emulator, mine.id, None, 5001)
