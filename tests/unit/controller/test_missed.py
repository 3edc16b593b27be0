"""What a pass reads of the App's delivery log, and what it reads instead."""

import asyncio
from collections.abc import Collection, Iterable
from typing import Any

import pytest

from bridge.controller.missed import (
    MOST_READ,
    MOST_TRIES,
    OVERLAP,
    SCAN_ABOVE,
    Choice,
    Known,
    Missed,
    NameOf,
    choose,
    first_place,
    read,
)
from bridge.core.model import JobStatus, Sent, WorkflowJob
from bridge.core.readings import Place
from bridge.errors import BridgeError, Problem, RateLimited, TooManyDeliveries, Unavailable
from tests.support.values import NOW, a_job

NAMES = {1: "acme/web", 2: "acme/docs", 3: None}


def a_delivery(delivery_id: int, action: str | None = "queued", repository_id: int | None = 1) -> Sent:
    return Sent(
        id=delivery_id,
        guid=f"g{delivery_id}",
        event="workflow_job",
        at=NOW - 100 + delivery_id / 1000,
        action=action,
        repository_id=repository_id,
    )


def chosen(deliveries: Iterable[Sent], *jobs: WorkflowJob) -> Choice:
    return choose(deliveries, jobs, lambda key: NAMES.get(key or 0, ""))


# --- what is read ---


def test_only_deliveries_of_queued_jobs_are_read_if_none_of_our_jobs_is_open() -> None:
    queued, *others = (
        a_delivery(n, action) for n, action in enumerate(("queued", "waiting", "in_progress", "completed"))
    )
    choice = chosen([queued, *others])
    assert choice == Choice(read=(queued,), skip=tuple(others), scan=frozenset(), jobs=frozenset())


def test_deliveries_of_repositories_without_a_route_are_not_read_and_those_of_unknown_ones_are() -> None:
    unserved, unknown, without = (
        a_delivery(1, repository_id=3),
        a_delivery(2, repository_id=4),
        a_delivery(3, None, None),
    )
    assert chosen([unserved, unknown, without]).read == (unknown, without)


def test_few_known_jobs_are_looked_up_instead_of_many_payloads() -> None:
    """In a repository where many jobs end and one of them is ours."""
    ends = [a_delivery(n, "completed") for n in range(3)]
    ours, elsewhere = a_job(1, repository="Acme/Web"), a_job(2, repository="acme/docs")
    assert chosen(ends, ours, elsewhere) == Choice(read=(), skip=tuple(ends), scan=frozenset(), jobs=frozenset({1}))


def test_few_payloads_are_read_instead_of_many_known_jobs() -> None:
    end = a_delivery(1, "completed")
    choice = chosen([end], *(a_job(n) for n in range(5)))
    assert (choice.read, choice.jobs) == ((end,), frozenset())


def test_completed_jobs_are_not_looked_up() -> None:
    ended = a_job(1, status=JobStatus.COMPLETED)
    assert chosen([a_delivery(1, "completed")], ended).jobs == frozenset()


def test_a_repository_in_which_many_jobs_were_queued_is_scanned() -> None:
    many, one = [a_delivery(n) for n in range(SCAN_ABOVE + 1)], a_delivery(99, repository_id=2)
    choice = chosen([*many, one])
    assert (choice.read, choice.skip, choice.scan) == ((one,), tuple(many), {"acme/web"})


def test_repositories_are_scanned_until_one_pass_can_read_the_remaining_payloads() -> None:
    names = {n: f"acme/r{n}" for n in range(1, 30)}
    sent = [a_delivery(100 * n + i, repository_id=n) for n in names for i in range(SCAN_ABOVE)]
    choice = choose(sent, (), lambda key: names.get(key or 0, ""))
    assert 0 < len(choice.read) <= MOST_READ
    assert len(choice.read) + len(choice.scan) * SCAN_ABOVE == len(sent)


# --- how far the log is read ---


class Log:
    """A log of some deliveries, of which some cannot be read."""

    def __init__(self, *sent: Sent, failing: dict[int, BridgeError] | None = None, ends: Any = None) -> None:
        self.sent, self.failing, self.ends = sent, failing or {}, ends
        self.asked: list[float] = []
        self.read: list[int] = []

    async def is_kept(self) -> bool:
        return True

    async def since(self, at: float) -> tuple[Sent, ...]:
        self.asked.append(at)
        if self.ends:
            raise self.ends
        return tuple(sorted((each for each in self.sent if each.at >= at), key=lambda each: -each.at))

    async def job(self, delivery_id: int) -> WorkflowJob | None:
        self.read.append(delivery_id)
        if delivery_id in self.failing:
            raise self.failing[delivery_id]
        return a_job(delivery_id)


class Reader:
    """Passes that follow each other. Each continues at the place that the last one reached."""

    def __init__(self, log: Log) -> None:
        self.log, self.place = log, Place(until=NOW - 200)
        self.known: set[str] = set()

    def read_log(self, now: float = NOW) -> Missed:
        async def kept(guids: Collection[str]) -> Collection[str]:
            return self.known & set(guids)

        async def names() -> NameOf:
            return lambda _: "acme/web"

        told = asyncio.run(read(self.log, Known(place=self.place, jobs=(), deliveries=kept, name_of=names), now))
        self.known |= {event.guid for event in told.events}
        self.place = told.place or self.place
        return told


def test_the_log_is_read_from_where_the_last_pass_stopped() -> None:
    reader = Reader(Log(a_delivery(1), a_delivery(2, "waiting")))
    assert [event.job and event.job.id for event in reader.read_log().events] == [None, 1]
    assert not reader.read_log(NOW + 30).events
    assert reader.log.read == [1]
    assert reader.log.asked == [NOW - 200 - OVERLAP, a_delivery(2).at - OVERLAP]


@pytest.mark.parametrize("ahead", [-600.0, 600.0])
def test_clocks_that_differ_by_minutes_lose_no_delivery(ahead: float) -> None:
    """Neither in the first pass, which knows only our time of the last scan, nor later."""
    reader = Reader(Log(a_delivery(1)))
    now = a_delivery(1).at + ahead
    reader.place = first_place(now - 30)
    assert [event.guid for event in reader.read_log(now).events] == ["g1"]
    reader.log.sent = (*reader.log.sent, a_delivery(40_000))
    assert [event.guid for event in reader.read_log(now + 60).events] == ["g40000"]


def test_after_a_rate_limit_the_next_pass_reads_the_rest() -> None:
    limit = RateLimited("wait", retry_at=NOW + 60)
    reader = Reader(Log(a_delivery(1), a_delivery(2), a_delivery(3), failing={2: limit, 3: limit}))
    for _ in range(MOST_TRIES + 2):
        told = reader.read_log()
        assert not told.everything
        assert reader.place.until == a_delivery(2).at, "nothing that was not read is passed over"
    reader.log.failing.clear()
    assert [event.guid for event in reader.read_log(NOW + 60).events] == ["g2", "g3"]
    assert reader.log.read.count(1) == 1


def test_a_delivery_that_cannot_be_read_is_skipped_after_some_tries_without_a_scan() -> None:
    reader = Reader(Log(a_delivery(1), a_delivery(2), failing={1: Unavailable("broken")}))
    problems = []
    for n in range(MOST_TRIES + 2):
        told = reader.read_log(NOW + n)
        assert not told.everything
        problems.append(told.problems)
    assert reader.log.read.count(1) == MOST_TRIES
    assert [len(of_look) for of_look in problems] == [1] * MOST_TRIES + [0, 0]
    assert "skipped" in problems[MOST_TRIES - 1][0].message
    assert reader.known == {"g1", "g2"}


def test_after_an_outage_the_repositories_are_scanned_once_and_then_the_log_is_read_again() -> None:
    reader = Reader(Log(ends=TooManyDeliveries("many", newest=NOW - 7)))
    told = reader.read_log()
    assert (told.everything, told.place, told.problems) == (True, Place(until=NOW - 7), ())


def test_a_rate_limit_of_the_log_causes_no_scan_and_loses_no_delivery() -> None:
    reader = Reader(Log(ends=RateLimited("wait", retry_at=NOW + 60)))
    told = reader.read_log()
    assert (told.everything, told.place) == (False, None)
    assert told.problems == (Problem("wait"),)


def test_if_the_log_cannot_be_read_the_repositories_are_scanned() -> None:
    reader = Reader(Log(ends=Unavailable("down")))
    told = reader.read_log()
    assert (told.everything, told.place) == (True, None)
