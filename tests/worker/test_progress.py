"""What RunPod is told while a job runs, and that it is told nothing after the answer."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from runner_image import progress
from runner_image.events import Events
from runner_image.masking import Masker
from runner_image.progress import Reporter


class Status:
    """What `/status` would show; messages arrive from `may_arrive` on."""

    def __init__(self, expected: int = 0) -> None:
        self.told: list[Mapping[str, Any]] = []
        self.may_arrive, self.all_arrived = asyncio.Event(), asyncio.Event()
        self._expected = expected

    async def send(self, message: Mapping[str, Any]) -> None:
        await self.may_arrive.wait()
        self.told.append(message)
        if len(self.told) == self._expected:
            self.all_arrived.set()


def test_messages_arrive_in_order_and_the_newest_of_those_that_wait_wins() -> None:
    async def run() -> list[Mapping[str, Any]]:
        status = Status(expected=2)
        reporter = Reporter(status.send)
        for number in range(4):
            reporter.tell({"n": number})
            await asyncio.sleep(0)
        status.may_arrive.set()
        await status.all_arrived.wait()
        await reporter.close()
        return status.told

    assert asyncio.run(run()) == [{"n": 0}, {"n": 3}]


def test_nothing_arrives_after_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LIMIT", 0.01)

    async def run() -> list[Mapping[str, Any]]:
        status = Status()
        reporter = Reporter(status.send)
        reporter.tell({"n": 1})
        await asyncio.sleep(0)
        reporter.tell({"n": 2})
        await reporter.close()
        status.may_arrive.set()
        reporter.tell({"n": 3})
        await asyncio.sleep(0.02)
        return status.told

    assert asyncio.run(run()) == []


def test_an_answer_waits_for_the_message_under_way() -> None:
    async def run() -> list[Mapping[str, Any]]:
        status = Status()
        reporter = Reporter(status.send)
        reporter.tell({"n": 1})
        asyncio.get_running_loop().call_later(0.05, status.may_arrive.set)
        await asyncio.sleep(0)
        await reporter.close()
        return status.told

    assert asyncio.run(run()) == [{"n": 1}]


def test_a_message_that_cannot_be_sent_harms_nothing() -> None:
    async def fail(_message: Mapping[str, Any]) -> None:
        raise ConnectionError

    async def run() -> None:
        reporter = Reporter(fail)
        reporter.tell({})
        await asyncio.sleep(0)
        await reporter.close()

    asyncio.run(run())


def test_every_line_of_the_log_names_the_request_and_progress_is_masked(capsys: pytest.CaptureFixture[str]) -> None:
    async def run() -> list[Mapping[str, Any]]:
        status = Status(expected=1)
        status.may_arrive.set()
        reporter = Reporter(status.send)
        events = Events(Masker(["hunter2"]), reporter, request="req-1")
        events("request taken")
        events.bind(submission="s-1", runner="r-1")
        events("job started", job="deploy hunter2")
        events("job ended", result="Succeeded")
        await status.all_arrived.wait()
        await reporter.close()
        return status.told

    told = asyncio.run(run())
    assert told == [{"state": "running", "runner_name": "r-1", "job": "deploy ***"}]
    taken, *others = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (taken["event"], taken["request"]) == ("request taken", "req-1")
    for line in others:
        assert (line["request"], line["submission"], line["runner"]) == ("req-1", "s-1", "r-1")
    assert others[0]["job"] == "deploy ***"


def test_a_secret_that_json_would_escape_is_masked_too(capsys: pytest.CaptureFixture[str]) -> None:
    async def run() -> list[Mapping[str, Any]]:
        status = Status(expected=1)
        status.may_arrive.set()
        reporter = Reporter(status.send)
        Events(Masker(['quote"umläut']), reporter)("job started", job='deploy quote"umläut')
        await status.all_arrived.wait()
        await reporter.close()
        return status.told

    assert [message["job"] for message in asyncio.run(run())] == ["deploy ***"]
    assert json.loads(capsys.readouterr().out)["job"] == "deploy ***"
