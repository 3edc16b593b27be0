"""The bridge uses GitHub's clock, even if the clock of its machine is wrong."""

import asyncio
from email.utils import formatdate
from typing import Any

import httpx
import pytest

from bridge.github.clock import GitHubClock
from bridge.github.transport import http_client
from tests.support.values import NOW


class Machine:
    """A machine whose clock is wrong by `off` s, and a GitHub that answers after `latency` s."""

    def __init__(self, off: float) -> None:
        self.up, self.off, self.latency = 1000.0, off, 0.2
        self.headers: dict[str, str] = {}
        self.github_off = 0.0
        self.clock = GitHubClock(lambda: self.true() + self.off, lambda: self.up)

    def true(self) -> float:
        return NOW + self.up

    def wrong_by(self) -> float:
        return abs(self.clock() - self.true())

    def answer(self, _request: httpx.Request) -> httpx.Response:
        self.up += self.latency / 2
        date = formatdate(self.true() + self.github_off, usegmt=True)
        self.up += self.latency / 2
        return httpx.Response(200, headers={"date": date, **self.headers})

    def ask(self, times: int = 1) -> None:
        async def main() -> None:
            made = http_client(self.clock)
            hooks: Any = made.event_hooks
            async with httpx.AsyncClient(transport=httpx.MockTransport(self.answer), event_hooks=hooks) as http:
                for _ in range(times):
                    await http.get("https://api.github.example/")
            await made.aclose()

        asyncio.run(main())


@pytest.mark.parametrize("off", [-86_400.0, -600.0, 600.0, 1e6])
def test_the_first_answer_corrects_a_wrong_clock(off: float) -> None:
    machine = Machine(off)
    assert machine.wrong_by() == pytest.approx(abs(off))
    machine.ask()
    assert machine.wrong_by() < 1.5


@pytest.mark.parametrize("latency", [0.0, 0.2, 9.0])
def test_a_correct_clock_is_not_changed_even_if_an_answer_takes_long(latency: float) -> None:
    machine = Machine(0.0)
    machine.latency = latency
    machine.ask(5)
    assert machine.wrong_by() == 0.0


def test_setting_back_the_machines_clock_while_the_bridge_runs_has_no_effect() -> None:
    machine = Machine(0.0)
    machine.ask()
    machine.off = -600.0
    assert machine.wrong_by() == 0.0


def test_one_wrong_answer_is_ignored_and_two_that_agree_correct_the_clock() -> None:
    machine = Machine(0.0)
    machine.ask()
    machine.github_off = 600.0
    machine.ask()
    assert machine.wrong_by() == 0.0
    machine.github_off = 0.0
    machine.ask()
    assert machine.wrong_by() == 0.0
    machine.off, machine.up = 0.0, machine.up + 5.0
    machine.github_off = 600.0  # as after the machine was suspended for 10 minutes
    machine.ask(2)
    assert machine.wrong_by() == pytest.approx(600.0, abs=1.5)


def test_an_answer_from_a_cache_or_without_a_date_is_ignored() -> None:
    machine = Machine(0.0)
    machine.github_off = 600.0
    machine.headers = {"age": "600"}
    machine.ask(3)
    machine.headers = {"date": "yesterday"}
    machine.ask(3)
    assert machine.wrong_by() == 0.0
