"""The sender tries again after a failure, later and later, and says once what fails."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.errors import Unavailable
from bridge.service.sender import Sender, SenderTiming
from tests.support.background import until_async
from tests.support.values import NOW


class Line:
    """A channel that fails as long as `error` is set."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.error: Exception | None = None
        self.tries: list[float] = []
        self.clock: Callable[[], float] = lambda: math.nan
        self.reports: list[Any] = []

    def passed(self, report: Any) -> None:
        self.reports.append(report)

    async def send_due(self) -> None:
        self.tries.append(self.clock() - NOW)
        if self.error:
            raise self.error


class Setting:
    def __init__(self) -> None:
        self.now = NOW
        self.traces, self.messages = Line("traces"), Line("notifications")
        self.traces.clock = self.messages.clock = lambda: self.now
        timing = SenderTiming(clock=lambda: self.now, every=5, slowest=60)
        self.sender = Sender([self.traces, self.messages], timing)

    def rounds(self, seconds: int) -> None:
        for _ in range(seconds):
            asyncio.run(self.sender.round())
            self.now += 1


@pytest.fixture
def setting() -> Setting:
    return Setting()


def test_after_each_failure_the_wait_doubles_up_to_a_limit_and_the_other_channel_goes_on(setting: Setting) -> None:
    setting.traces.error = Unavailable("traces: gone")
    with capture_logs() as logs:
        setting.rounds(200)
    assert setting.traces.tries == [0, 5, 15, 35, 75, 135, 195]
    assert setting.messages.tries == list(range(200))
    assert [(each["event"], each["problem"]) for each in logs] == [("failing", "traces: gone")]


def test_after_a_success_it_is_told_and_the_waits_begin_anew(setting: Setting) -> None:
    setting.traces.error = Unavailable("traces: gone")
    setting.rounds(10)
    setting.traces.error = None
    with capture_logs() as logs:
        setting.rounds(10)
    assert [(each["event"], each["what"]) for each in logs] == [("recovered", "traces")]
    setting.traces.error, setting.traces.tries = Unavailable("traces: gone"), []
    setting.rounds(8)
    assert setting.traces.tries == [20, 25]


def test_an_unexpected_error_is_logged_with_its_traceback_and_ends_nothing(setting: Setting) -> None:
    setting.messages.error = ValueError("boom")
    with capture_logs() as logs:
        setting.rounds(3)
    assert [each["event"] for each in logs] == ["unexpected error", "failing"]
    assert logs[0]["exc_info"]
    assert logs[1]["problem"] == "notifications: ValueError; the log has the traceback"
    assert setting.traces.tries == [0, 1, 2]


def test_each_channel_is_told_of_each_pass(setting: Setting) -> None:
    setting.sender.passed("report")  # type: ignore[arg-type]
    assert setting.traces.reports == setting.messages.reports == ["report"]


def test_it_runs_until_it_is_stopped() -> None:
    async def run() -> list[float]:
        line = Line("traces")
        stop = asyncio.Event()
        line.clock = asyncio.get_running_loop().time
        running = asyncio.create_task(Sender([line], SenderTiming(every=0.01)).run(stop))
        await until_async(lambda: len(line.tries) >= 3)
        stop.set()
        await asyncio.wait_for(running, 5)
        return line.tries

    assert len(asyncio.run(run())) >= 3


def test_without_a_channel_it_ends_at_once() -> None:
    asyncio.run(asyncio.wait_for(Sender([]).run(asyncio.Event()), 5))
