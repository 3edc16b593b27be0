"""Background calls are spread over GitHub's minute and hour, so that they never use up the limit of registrations."""

import itertools

import pytest

from bridge.github.pacing import HOUR, PER_MINUTE, WINDOW, Pace, Priority

LIMIT = 5000
NOW = 1_800_000_000.0


class Hour:
    """GitHub counts the calls of an hour; each call is sent as soon as the pace allows."""

    def __init__(self, *, free_304: bool = False) -> None:
        self.now, self.reset, self.used = NOW, NOW + HOUR, 0
        self.free_304 = free_304
        self.pace = Pace()
        self.sent: list[float] = []
        self.answer()

    def answer(self) -> None:
        if self.now >= self.reset:
            self.reset, self.used = self.now + HOUR, 0
        self.pace.learn(LIMIT, LIMIT - self.used, self.reset)

    def call(self, priority: Priority, method: str = "GET", *, not_modified: bool = False) -> float:
        """Send a call as soon as it may be sent; return how long it waited."""
        began = self.now
        while (wait := self.pace.wait(priority, self.now)) > 0:
            self.now += wait
        self.pace.sent(method, self.now, priority)
        self.sent.append(self.now)
        self.used += not (not_modified and self.free_304)
        self.answer()
        return self.now - began

    def most_in_a_minute(self) -> int:
        return max(sum(at <= later < at + WINDOW for later in self.sent) for at in self.sent[::50])


def test_at_most_600_background_calls_are_sent_in_a_minute_even_if_nothing_has_changed() -> None:
    hour = Hour(free_304=True)
    for _ in range(3000):
        hour.call(Priority.BACKGROUND, not_modified=True)
    assert hour.most_in_a_minute() <= PER_MINUTE[Priority.BACKGROUND]
    assert hour.now - NOW == pytest.approx(4 * WINDOW, abs=1), "and no fewer"


def test_a_first_scan_of_200_repositories_with_500_runs_reaches_no_limit() -> None:
    """900 calls at once are GitHub's secondary limit."""
    hour = Hour()
    for _ in range(903):
        hour.call(Priority.BACKGROUND)
    assert hour.most_in_a_minute() <= 600
    assert hour.now - NOW <= 65


def test_background_calls_use_at_most_80_percent_of_an_hour_and_continue_until_its_end() -> None:
    hour = Hour()
    at = []
    while hour.now < NOW + HOUR - 1:
        hour.call(Priority.BACKGROUND)
        at.append(hour.now - NOW)
    assert 0.78 * LIMIT <= len(at) <= 0.8 * LIMIT + 1
    gaps = [later - before for before, later in itertools.pairwise(at)]
    assert max(gaps) <= 60, "they never wait longer than a minute"


def test_known_jobs_are_read_while_background_calls_wait() -> None:
    hour = Hour(free_304=True)
    for _ in range(600):
        hour.call(Priority.BACKGROUND, not_modified=True)
    assert hour.pace.wait(Priority.BACKGROUND, hour.now) == pytest.approx(WINDOW, abs=1)
    assert hour.call(Priority.JOB) == 0


def test_registrations_delay_background_calls_in_the_minute_but_use_nothing_of_their_hour() -> None:
    hour = Hour()
    for _ in range(130):
        hour.call(Priority.REGISTRATION, "POST")
    assert hour.pace.wait(Priority.BACKGROUND, hour.now) > 50, "650 points were spent"
    hour.now += WINDOW
    waited = [hour.call(Priority.BACKGROUND) for _ in range(590)]
    assert max(waited) == 0


def test_the_last_calls_of_the_hour_are_reserved_for_registrations() -> None:
    hour = Hour()
    hour.used = LIMIT - 200
    hour.answer()
    waits = {priority: hour.pace.wait(priority, NOW) for priority in Priority}
    assert waits == {Priority.REGISTRATION: 0, Priority.JOB: HOUR, Priority.BACKGROUND: HOUR}


def test_calls_to_a_server_that_states_no_limit_are_not_paced() -> None:
    pace = Pace()
    for _ in range(5000):
        assert pace.wait(Priority.BACKGROUND, NOW) == 0
        pace.sent("GET", NOW, Priority.BACKGROUND)


def test_background_calls_continue_as_soon_as_the_hour_ends() -> None:
    hour = Hour()
    hour.used = LIMIT
    hour.answer()
    assert hour.pace.wait(Priority.BACKGROUND, NOW + HOUR) == 0
