"""Read the App's delivery log: what no webhook told us, for as few calls as possible.

The log lists all deliveries of the App, a call per hundred, and the payload of each costs a call of its own. The list
tells the event, its action and its repository. So most payloads are never read: `waiting` says nothing that matters,
`in_progress` and `completed` matter where a job of ours is open, and there a look at these jobs may be cheaper. Where
many jobs of one repository were queued, a scan of that repository is cheaper.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from bridge.concurrency import each
from bridge.core.model import Event, JobStatus, Sent, WorkflowJob
from bridge.errors import BridgeError, RateLimited, TooManyDeliveries

OVERLAP = 120.0
"""s by which two looks at the delivery log overlap: GitHub lists a delivery some time after it was sent."""

CLOCKS = 900.0
"""s by which our clock may differ from GitHub's. The place in the log is kept in GitHub's time."""

SCAN_ABOVE = 10
"""Payloads of one repository that cost more than a scan of it."""

MOST_READ = 100
"""Payloads read in one look. Repositories are scanned instead until no more are left."""

MOST_TRIES = 3
"""Looks that try to read a payload. After them it is skipped; the next full scan finds its job."""

ENDS = frozenset({"in_progress", "completed"})
"""Actions that matter for known jobs only."""


NameOf = Callable[[int | None], str | None]
"""By a repository's id its name; None where no route serves it, empty where it is unknown."""


class DeliveryLogReader(Protocol):
    """What is read of the App's delivery log."""

    async def is_kept(self) -> bool: ...
    async def since(self, at: float) -> tuple[Sent, ...]: ...
    async def job(self, delivery_id: int) -> WorkflowJob | None: ...


@dataclass(frozen=True, kw_only=True)
class Place:
    """How far the log has been read.

    Args:
        until: Unix seconds of GitHub's clock; every delivery that was sent earlier has been read or skipped.
        tries: by id of each later delivery that could not be read, how many looks have tried.
    """

    until: float
    tries: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of_value(cls, value: Any, at: float) -> "Place":
        """From a look's JSON; if there was none, from `at` (Unix seconds), when all repositories were scanned."""
        if not value:
            return cls(until=at - CLOCKS)
        return cls(until=value["until"], tries={int(key): tries for key, tries in value["tries"].items()})

    def value(self) -> dict[str, Any]:
        """As JSON, for a look."""
        return {"until": self.until, "tries": {str(key): tries for key, tries in self.tries.items()}}


@dataclass(frozen=True, kw_only=True)
class Missed:
    """What the log told, and what is left to look at.

    Args:
        events: deliveries that need no further look, each with its job if it told of one.
        scan: repositories in which so much has happened that a scan of them is cheaper.
        jobs: known jobs to look up.
        place: how far the log has been read now; None for no further than before.
        everything: the log did not tell; all repositories must be scanned, and only then `place` is reached.
        problems: what could not be read, a line each.
    """

    events: tuple[Event, ...] = ()
    scan: frozenset[str] = frozenset()
    jobs: frozenset[int] = frozenset()
    place: Place | None = None
    everything: bool = False
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the ledger and GitHub's lists say of the log's deliveries.

    Args:
        place: reached by the last look.
        jobs: the open ones.
        deliveries: which of some guids have reached the ledger.
        name_of: asks for the names of repositories; None if they cannot be known now.
    """

    place: Place
    jobs: Iterable[WorkflowJob]
    deliveries: Callable[[Collection[str]], Awaitable[Collection[str]]]
    name_of: Callable[[], Awaitable[NameOf | None]]


async def read(log: DeliveryLogReader, known: Known, now: float) -> Missed:
    """Read what the log has since the last look.

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
    except RateLimited as error:  # more calls would not help; the next look goes on from the same place
        return Missed(problems=(str(error),))
    except BridgeError as error:
        return Missed(everything=True, problems=(str(error),))
    told = await known.deliveries({delivery.guid for delivery in sent})
    unknown = {delivery.guid: delivery for delivery in reversed(sent) if delivery.guid not in told}
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
        read: their payloads are read, oldest first.
        skip: their payloads cannot matter, or another look tells the same.
        scan: repositories to scan.
        jobs: known jobs to look up.
    """

    read: tuple[Sent, ...]
    skip: tuple[Sent, ...]
    scan: frozenset[str]
    jobs: frozenset[int]


def choose(deliveries: Iterable[Sent], jobs: Iterable[WorkflowJob], name_of: NameOf) -> Choice:
    """Choose the cheapest way to learn what deliveries tell. Pure.

    Args:
        deliveries: of `workflow_job`, not known yet, oldest first.
        jobs: the open ones that are known.
        name_of: of repositories.
    """
    open_in: dict[str, set[int]] = defaultdict(set)
    for job in jobs:
        if job.status is not JobStatus.COMPLETED:
            open_in[job.repository.lower()].add(job.id)
    told: dict[str, list[Sent]] = defaultdict(list)
    all_of_them = tuple(deliveries)
    for delivery in all_of_them:
        name = name_of(delivery.repository_id)
        if name is not None and delivery.action != "waiting":
            told[name].append(delivery)
    ask = {name: open_in[name.lower()] for name in told if len(open_in[name.lower()]) <= len(_ends(told[name]))}
    wanted = {name: [d for d in of_it if name not in ask or d.action not in ENDS] for name, of_it in told.items()}
    scan = _to_scan(wanted)
    chosen = {delivery.id for name, of_it in wanted.items() if name not in scan for delivery in of_it}
    return Choice(
        read=tuple(delivery for delivery in all_of_them if delivery.id in chosen),
        skip=tuple(delivery for delivery in all_of_them if delivery.id not in chosen),
        scan=frozenset(scan),
        jobs=frozenset(job_id for name, of_it in ask.items() if _ends(told[name]) for job_id in of_it),
    )


def _ends(deliveries: Iterable[Sent]) -> list[Sent]:
    return [delivery for delivery in deliveries if delivery.action in ENDS]


def _to_scan(wanted: Mapping[str, Collection[Sent]]) -> set[str]:
    """Repositories to scan; those of unknown name cannot be."""
    scan, left = set(), sum(map(len, wanted.values()))
    for name, of_it in sorted(wanted.items(), key=lambda item: (-len(item[1]), item[0])):
        if name and (len(of_it) > SCAN_ABOVE or left > MOST_READ):
            scan.add(name)
            left -= len(of_it)
    return scan


async def _read(log: DeliveryLogReader, choice: Choice, place: Place, now: float) -> Missed:
    """Read payloads, to reach `place`; one that cannot be read is tried again by the next looks, up to MOST_TRIES."""
    jobs: dict[int, WorkflowJob | None] = {}
    failed: dict[int, BridgeError] = {}

    async def tried(delivery: Sent) -> None:
        try:
            jobs[delivery.id] = await log.job(delivery.id)
        except BridgeError as error:
            failed[delivery.id] = error

    reading = choice.read[:MOST_READ]
    await each(reading, tried)
    # A limit says nothing of the delivery that met it.
    tries = {key: place.tries.get(key, 0) + (not isinstance(error, RateLimited)) for key, error in failed.items()}
    given_up = {key for key, count in tries.items() if count >= MOST_TRIES}
    unread = [delivery for delivery in choice.read if delivery.id not in jobs and delivery.id not in given_up]
    done = [*choice.skip, *(d for d in reading if d.id in jobs or d.id in given_up)]
    return Missed(
        events=tuple(Event(guid=d.guid, at=now, job=jobs.get(d.id)) for d in done),
        scan=choice.scan,
        jobs=choice.jobs,
        place=Place(
            until=min((d.at for d in unread), default=place.until),
            tries={key: count for key, count in tries.items() if key not in given_up},
        ),
        problems=(
            *(f"{failed[key]}; it is skipped after {MOST_TRIES} tries" for key in sorted(given_up)),
            *dict.fromkeys(str(error) for key, error in failed.items() if key not in given_up),
        ),
    )
