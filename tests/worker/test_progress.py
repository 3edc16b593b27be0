"""The progress messages that RunPod gets while a job runs, and that it gets none after the answer."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from runner_image.events import Events
from runner_image.masking import Masker
from runner_image.progress import Reporter


class Status:
    """What `/status` would show. Messages arrive once `may_arrive` is set."""

    def __init__(self, expected: int = 0) -> None:
        self.received: list[Mapping[str, Any]] = []
        self.may_arrive, self.all_arrived = asyncio.Event(), asyncio.Event()
        self._expected = expected

    async def send(self, message: Mapping[str, Any]) -> None:
        await self.may_arrive.wait()
        self.received.append(message)
        if len(self.received) == self._expected:
            self.all_arrived.set()


def test_messages_arrive_in_order_and_the_newest_replaces_one_that_waits() -> None:
    async def run() -> list[Mapping[str, Any]]:
        status = Status(expected=2)
        reporter = Reporter(status.send)
        for number in range(4):
            reporter.send({"n": number})
            await asyncio.sleep(0)
        status.may_arrive.set()
        await status.all_arrived.wait()
        await reporter.close()
        return status.received

    assert asyncio.run(run()) == [{"n": 0}, {"n": 3}]


def test_nothing_arrives_after_the_answer() -> None:
    async def run() -> list[Mapping[str, Any]]:
        status = Status()
        reporter = Reporter(status.send, limit=0.01)
        reporter.send({"n": 1})
        await asyncio.sleep(0)
        reporter.send({"n": 2})
        await reporter.close()
        status.may_arrive.set()
        reporter.send({"n": 3})
        await asyncio.sleep(0.02)
        return status.received

    assert asyncio.run(run()) == []


def test_an_answer_waits_for_a_message_that_is_being_sent() -> None:
    async def run() -> list[Mapping[str, Any]]:
        status = Status()
        reporter = Reporter(status.send)
        reporter.send({"n": 1})
        asyncio.get_running_loop().call_later(0.05, status.may_arrive.set)
        await asyncio.sleep(0)
        await reporter.close()
        return status.received

    assert asyncio.run(run()) == [{"n": 1}]


def test_a_message_that_cannot_be_sent_is_ignored() -> None:
    async def fail(_message: Mapping[str, Any]) -> None:
        raise ConnectionError

    async def run() -> None:
        reporter = Reporter(fail)
        reporter.send({})
        await asyncio.sleep(0)
        await reporter.close()

    asyncio.run(run())


def test_every_log_line_names_the_request_and_progress_is_masked(capsys: pytest.CaptureFixture[str]) -> None:
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
        return status.received

    told = asyncio.run(run())
    assert told == [{"state": "running", "runner_name": "r-1", "job": "deploy ***"}]
    taken, *others = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (taken["event"], taken["request"]) == ("request taken", "req-1")
    for line in others:
        assert (line["request"], line["submission"], line["runner"]) == ("req-1", "s-1", "r-1")
    assert others[0]["job"] == "deploy ***"


def test_a_secret_that_json_escapes_is_masked(capsys: pytest.CaptureFixture[str]) -> None:
    async def run() -> list[Mapping[str, Any]]:
        status = Status(expected=1)
        status.may_arrive.set()
        reporter = Reporter(status.send)
        Events(Masker(['quote"umläut']), reporter)("job started", job='deploy quote"umläut')
        await status.all_arrived.wait()
        await reporter.close()
        return status.received

    assert [message["job"] for message in asyncio.run(run())] == ["deploy ***"]
    assert json.loads(capsys.readouterr().out)["job"] == "deploy ***"
