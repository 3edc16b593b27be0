"""Each condition is reported once, whatever the webhook answers and however many copies of the bridge there are."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest

from bridge.controller.report import Decision, Report
from bridge.core.actions import Plan, Skip, SkipKind
from bridge.core.notices import QUIET
from bridge.core.submissions import Streak
from bridge.errors import Unavailable
from bridge.ledger import Ledger
from bridge.service.messages import Messages
from bridge.service.sender import SenderTiming
from bridge.telemetry import configure_logging
from tests.support.values import NOW, a_job

NOTHING = Decision(plan=Plan())
OPEN = Streak(failures=3, first=NOW - 60, last=NOW, reason="crashed")


def given_up(*ids: int, name: str = "build") -> Decision:
    plan = Plan(
        given_up=ids,
        skips=tuple(Skip(job_id=each, kind=SkipKind.GIVEN_UP, why="given up: 5 runners failed") for each in ids),
    )
    return Decision(plan=plan, jobs=tuple(a_job(each, name=name) for each in ids))


class People:
    """Keeps the messages that it accepts."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.error: Exception | None = None
        self.left = 1000  # messages that it accepts before it fails

    async def send(self, text: str) -> None:
        await asyncio.sleep(0)
        if self.error and self.left <= 0:
            raise self.error
        self.left -= 1
        self.texts.append(text)

    def fail(self, after: int = 0) -> None:
        self.error, self.left = Unavailable("notifications: gone"), after


class Setting:
    """A ledger, people, and two copies of the bridge."""

    def __init__(self, url: str) -> None:
        self.now = NOW
        self.people = People()
        self.ledgers = [Ledger.open(url, lambda: self.now) for _ in range(2)]
        self.start()

    def start(self) -> None:
        timing = SenderTiming(clock=lambda: self.now)
        self.copies = [Messages(each, self.people, timing) for each in self.ledgers]

    def send(self, decision: Decision | None, copies: Sequence[int] = (0,)) -> None:
        async def run() -> None:
            for each in copies:
                if decision:
                    self.copies[each].passed(Report(decision=decision, submitted=(), problems=(), seconds=0))
            await asyncio.gather(*(self.copies[each].send_due() for each in copies))

        asyncio.run(run())


@pytest.fixture
def setting(database_url: str) -> Iterator[Setting]:
    made = Setting(database_url)
    yield made
    for each in made.ledgers:
        each.close()


def test_what_lasts_is_reported_once_also_after_a_restart_and_by_several_copies(setting: Setting) -> None:
    setting.send(given_up(1), [0, 1])
    setting.start()
    setting.now += 10 * QUIET
    setting.send(given_up(1), [0, 1])
    assert len(setting.people.texts) == 1
    assert "job 1 (acme/web, build): given up: 5 runners failed" in setting.people.texts[0]


def test_before_the_first_pass_nothing_is_sent(setting: Setting) -> None:
    setting.send(None)
    setting.send(NOTHING)
    assert setting.people.texts == []


def test_what_has_ended_can_be_reported_again_after_an_hour(setting: Setting) -> None:
    for wait, decision in ((0, given_up(1)), (60, NOTHING), (60, given_up(1)), (QUIET, NOTHING), (60, given_up(1))):
        setting.now += wait
        setting.send(decision)
    assert len(setting.people.texts) == 2


def test_new_conditions_of_one_kind_are_one_message(setting: Setting) -> None:
    setting.send(given_up(1))
    setting.send(given_up(1, 2, 3))
    assert [text.count("• ") for text in setting.people.texts] == [1, 2]


def test_a_message_that_was_not_accepted_is_sent_again_and_the_others_are_not_lost(setting: Setting) -> None:
    both = Decision(plan=given_up(1).plan, jobs=given_up(1).jobs, streaks={"ep-1": OPEN})
    setting.people.fail(after=1)
    with pytest.raises(Unavailable):
        setting.send(both)
    assert ["given up" in text for text in setting.people.texts] == [True]
    setting.people.error = None
    setting.send(both, [1])
    setting.send(both, [0])
    assert ["endpoint ep-1" in text for text in setting.people.texts] == [False, True]


def test_a_secret_in_the_name_of_a_job_is_masked(setting: Setting) -> None:
    configure_logging(["rp_secret_key"])
    setting.send(given_up(1, name="rp_secret_key"))
    configure_logging([])
    assert "acme/web, ***" in setting.people.texts[0]
