"""Read deliveries that did not reach the bridge from the App's delivery log, with as few calls as possible.

The log lists all deliveries of the App: one call lists 100 of them, and reading a payload takes one call more. The
list gives the event, its action and its repository, so most payloads need not be read: `waiting` does not matter,
and `in_progress` and `completed` matter only where a job of ours is open. There, looking up those jobs may take fewer
calls. Where many jobs of one repository were queued, a scan of that repository takes fewer calls.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from bridge.concurrency import each
from bridge.controller.ports import DeliveryLog
from bridge.core.model import Event, JobStatus, Sent, Source, WorkflowJob
from bridge.core.readings import Place
from bridge.errors import BridgeError, Problem, RateLimited, TooManyDeliveries

OVERLAP = 120.0
"""s by which two readings of the delivery log overlap: GitHub lists a delivery some time after it was sent."""

CLOCKS = 900.0
"""s by which our clock may differ from GitHub's. The place in the log is kept in GitHub's time."""

SCAN_ABOVE = 10
"""Payloads of one repository above which a scan of it takes fewer calls."""

MOST_READ = 100
"""Payloads read in one pass. If there are more, repositories with many of them are scanned instead."""

MOST_TRIES = 3
"""Passes that try to read a payload. After them it is skipped; the next full scan finds its job."""

ENDS = frozenset({"in_progress", "completed"})
"""Actions that matter for known jobs only."""


NameOf = Callable[[int | None], str | None]
"""The name of a repository by its id: None if no route serves it, empty if it is unknown."""


def first_place(scanned_at: float) -> Place:
    """Where to begin if the log has not been read before.

    Args:
        scanned_at: Unix seconds of our clock, when all repositories were last scanned.
    """
    return Place(until=scanned_at - CLOCKS)


@dataclass(frozen=True, kw_only=True)
class Missed:
    """What the log says, and what must be read besides.

    Args:
        events: deliveries that need nothing more, each with its job if it is about one.
        scan: repositories to scan, because that takes fewer calls than their payloads.
        jobs: ids of known jobs to look up.
        place: how far the log has been read now; None if no further than before.
        everything: the log could not be read; all repositories must be scanned, and only then `place` is reached.
        problems: what could not be read.
    """

    events: tuple[Event, ...] = ()
    scan: frozenset[str] = frozenset()
    jobs: frozenset[int] = frozenset()
    place: Place | None = None
    everything: bool = False
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known before the log is read.

    Args:
        place: how far the log has been read.
        jobs: the open ones.
        deliveries: asks the ledger which of some guids it knows.
        name_of: reads the names of repositories; gives None if they cannot be read now.
    """

    place: Place
    jobs: Iterable[WorkflowJob]
    deliveries: Callable[[Collection[str]], Awaitable[Collection[str]]]
    name_of: Callable[[], Awaitable[NameOf | None]]


async def read(log: DeliveryLog, known: Known, now: float) -> Missed:
    """Read what is new in the log.

    Args:
        log: the App's.
        known: what is known already.
        now: Unix seconds.
    """
    try:
        if not await log.is_kept():
            return Missed(everything=True)
        sent = await log.since(known.place.until - OVERLAP)
    except TooManyDeliveries as error:
        return Missed(everything=True, place=Place(until=error.newest))
    except RateLimited as error:  # other calls would fail, too; the next pass continues at the same place
        return Missed(problems=(Problem.of(error),))
    except BridgeError as error:
        return Missed(everything=True, problems=(Problem.of(error),))
    old = await known.deliveries({delivery.guid for delivery in sent})
    unknown = {delivery.guid: delivery for delivery in reversed(sent) if delivery.guid not in old}
    reached = replace(known.place, until=max((d.at for d in sent), default=known.place.until))
    if not unknown:
        return Missed(place=reached)
    name_of = await known.name_of()
    if name_of is None:
        return Missed()
    return await _read(log, choose(unknown.values(), known.jobs, name_of), reached, now)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What to do about deliveries.

    Args:
        read: deliveries whose payloads are read, oldest first.
        skip: deliveries whose payloads do not matter, or whose jobs are looked up or scanned instead.
        scan: repositories to scan.
        jobs: ids of known jobs to look up.
    """

    read: tuple[Sent, ...]
    skip: tuple[Sent, ...]
    scan: frozenset[str]
    jobs: frozenset[int]


def choose(deliveries: Iterable[Sent], jobs: Iterable[WorkflowJob], name_of: NameOf) -> Choice:
    """Choose the way that takes the fewest calls to learn what deliveries say. Pure.

    Args:
        deliveries: of `workflow_job`, not known yet, oldest first.
        jobs: the open ones that are known.
        name_of: names repositories.
    """
    open_in: dict[str, set[int]] = defaultdict(set)
    for job in jobs:
        if job.status is not JobStatus.COMPLETED:
            open_in[job.repository.lower()].add(job.id)
    sent_of: dict[str, list[Sent]] = defaultdict(list)
    all_deliveries = tuple(deliveries)
    for delivery in all_deliveries:
        name = name_of(delivery.repository_id)
        if name is not None and delivery.action != "waiting":
            sent_of[name].append(delivery)
    ask = {name: open_in[name.lower()] for name in sent_of if len(open_in[name.lower()]) <= len(_ends(sent_of[name]))}
    wanted = {name: [d for d in sent if name not in ask or d.action not in ENDS] for name, sent in sent_of.items()}
    scan = _to_scan(wanted)
    chosen = {delivery.id for name, sent in wanted.items() if name not in scan for delivery in sent}
    return Choice(
        read=tuple(delivery for delivery in all_deliveries if delivery.id in chosen),
        skip=tuple(delivery for delivery in all_deliveries if delivery.id not in chosen),
        scan=frozenset(scan),
        jobs=frozenset(job_id for name, ids in ask.items() if _ends(sent_of[name]) for job_id in ids),
    )


def _ends(deliveries: Iterable[Sent]) -> list[Sent]:
    return [delivery for delivery in deliveries if delivery.action in ENDS]


def _to_scan(wanted: Mapping[str, Collection[Sent]]) -> set[str]:
    """Repositories to scan, those with the most deliveries first. One without a known name cannot be scanned."""
    scan, left = set(), sum(map(len, wanted.values()))
    for name, sent in sorted(wanted.items(), key=lambda item: (-len(item[1]), item[0])):
        if name and (len(sent) > SCAN_ABOVE or left > MOST_READ):
            scan.add(name)
            left -= len(sent)
    return scan


async def _read(log: DeliveryLog, choice: Choice, place: Place, now: float) -> Missed:
    """Read payloads, to reach `place`. The next passes retry what fails, MOST_TRIES times in all."""
    jobs: dict[int, WorkflowJob | None] = {}
    failed: dict[int, BridgeError] = {}

    async def tried(delivery: Sent) -> None:
        try:
            jobs[delivery.id] = await log.job(delivery.id)
        except BridgeError as error:
            failed[delivery.id] = error

    reading = choice.read[:MOST_READ]
    await each(reading, tried)
    # A rate limit is no failure of the delivery itself.
    tries = {key: place.tries.get(key, 0) + (not isinstance(error, RateLimited)) for key, error in failed.items()}
    given_up = {key for key, count in tries.items() if count >= MOST_TRIES}
    unread = [delivery for delivery in choice.read if delivery.id not in jobs and delivery.id not in given_up]
    done = [*choice.skip, *(d for d in reading if d.id in jobs or d.id in given_up)]
    return Missed(
        events=tuple(Event(guid=d.guid, at=now, job=jobs.get(d.id), source=Source.DELIVERY_LOG) for d in done),
        scan=choice.scan,
        jobs=choice.jobs,
        place=Place(
            until=min((d.at for d in unread), default=place.until),
            tries={key: count for key, count in tries.items() if key not in given_up},
        ),
        problems=(
            *(_skipped(failed[key]) for key in sorted(given_up)),
            *dict.fromkeys(Problem.of(error) for key, error in failed.items() if key not in given_up),
        ),
    )


def _skipped(error: BridgeError) -> Problem:
    return Problem(f"{error.message}; this delivery is skipped after {MOST_TRIES} tries", error.request_id)
