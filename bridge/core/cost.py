"""What submissions cost: the time that RunPod bills, and its price. Pure.

Times are Unix seconds (UTC), durations are seconds, prices are USD. A price that is not known is None, never 0.
What is billed: https://docs.runpod.io/serverless/pricing (from when a worker starts until it has stopped) and
https://docs.runpod.io/serverless/workers/overview (a worker that initialises, such as pulls its image, is free).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from bridge.core.prices import Prices, price_at

DAY = 86_400.0
"""s of a UTC day: Unix time has no leap seconds."""

UNKNOWN = "unknown"
"""The key of what is not known, such as the repository of a job that the ledger no longer has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What is known of the use of one submission's worker.

    Args:
        route: its name.
        endpoint: RunPod's id.
        created_at: Unix seconds.
        began: Unix seconds, when the bridge first saw its worker run; None if it never did.
        ended: Unix seconds, when the bridge saw the end; None while the submission is open.
        boot: s from the start of its worker until the worker had the request; None if the worker did not say.
        delay: s that the request waited for a worker; None if RunPod did not say.
        execution: s that its worker had the request; None if RunPod did not say.
        took_job: its runner had a job.
        job_began: Unix seconds, when that job began; None if it is not known.
        job: s that the job ran; None if it still runs or that is not known.
        gpu_type: of the worker; None if it did not say.
        repository: of the job that its runner took, or that it was requested for; None if that is no longer known.
        workflow: of the same job.
        peak_memory_mb: the most GPU memory that the job used, in 10^6 bytes; None if the worker did not say.
    """

    route: str
    endpoint: str
    created_at: float
    began: float | None = None
    ended: float | None = None
    boot: float | None = None
    delay: float | None = None
    execution: float | None = None
    took_job: bool = False
    job_began: float | None = None
    job: float | None = None
    gpu_type: str | None = None
    repository: str | None = None
    workflow: str | None = None
    peak_memory_mb: int | None = None


def seconds_paid(usage: Usage, now: float) -> float:
    """The time that RunPod bills for a submission until `now` (Unix seconds).

    That is the time in which its worker had the request, and what the worker says that its start took. Until RunPod
    has told the time, it is the time since the worker was first seen. A request that waits for a worker costs nothing.
    """
    boot = usage.boot or 0.0
    if usage.ended is not None and usage.execution is not None:
        return usage.execution + boot
    if usage.began is None:
        return 0.0
    return max(0.0, (now if usage.ended is None else usage.ended) - usage.began) + boot


def paid_between(usage: Usage, start: float, end: float, now: float) -> float:
    """The part of `seconds_paid` that lies between two times (Unix seconds)."""
    paid = seconds_paid(usage, now)
    first = _first_paid(usage, paid)
    return max(0.0, min(first + paid, end) - max(first, start))


def _first_paid(usage: Usage, paid: float) -> float:
    """Unix seconds, when the time began that is paid."""
    if usage.delay is not None:
        return usage.created_at + usage.delay - (usage.boot or 0.0)
    if usage.ended is not None:
        return usage.ended - paid
    return usage.created_at if usage.began is None else usage.began - (usage.boot or 0.0)


def price_of(usage: Usage, prices: Prices) -> float | None:
    """USD per hour of the worker of a submission, as it was known when it was requested; None if it is not known."""
    return price_at(prices, usage.endpoint, usage.created_at, usage.gpu_type)


def cost_of(usage: Usage, prices: Prices, now: float) -> float | None:
    """USD of a submission until `now` (Unix seconds); None if its price is not known."""
    seconds = seconds_paid(usage, now)
    if not seconds:
        return 0.0
    price = price_of(usage, prices)
    return None if price is None else seconds / 3600 * price


class By(StrEnum):
    """What costs are summed by."""

    REPOSITORY = "repository"
    WORKFLOW = "workflow"
    ROUTE = "route"
    ENDPOINT = "endpoint"
    GPU = "gpu"
    DAY = "day"


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The cost of the submissions of one key, such as one repository.

    Args:
        key: such as the repository's name; the workflow's key has its repository, the day's is `YYYY-MM-DD`.
        seconds: that are paid.
        seconds_without_job: of these, the time in which no job ran: start, waiting, clean-up, and runners without job.
        seconds_without_price: of these, the time whose price is not known.
        known_usd: the cost of the time whose price is known.
        jobs: how many runners had a job.
    """

    key: str
    seconds: float
    seconds_without_job: float
    seconds_without_price: float
    known_usd: float
    jobs: int

    @property
    def usd(self) -> float | None:
        """The whole cost; None if a part of it has no known price."""
        return None if self.seconds_without_price else self.known_usd

    @property
    def usd_per_job(self) -> float | None:
        """None if there is no job, or the cost is not known."""
        return None if self.usd is None or not self.jobs else self.usd / self.jobs

    @property
    def share_without_job(self) -> float | None:
        """From 0 to 1; None if nothing is paid."""
        return self.seconds_without_job / self.seconds if self.seconds else None


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a submission's paid time: all of it, or that of one day."""

    seconds: float
    seconds_without_job: float
    price: float | None
    jobs: int


def summarise(usages: Iterable[Usage], prices: Prices, by: By, now: float, since: float = 0.0) -> tuple[Summary, ...]:
    """Sum up what submissions cost.

    Args:
        usages: the submissions.
        prices: as known, by endpoint.
        by: what to sum by.
        now: Unix seconds; what runs is estimated until then.
        since: Unix seconds; time that was paid before does not count.

    Returns:
        By day, the earliest first; else the most expensive first.
    """
    parts: dict[str, list[_Part]] = defaultdict(list)
    for usage in usages:
        for key, start, end in _spans(usage, by, since, now):
            if (part := _part(usage, prices, start, end, now)) is not None:
                parts[key].append(part)
    found = (_summed(key, of_key) for key, of_key in parts.items())
    if by is By.DAY:
        return tuple(sorted(found, key=lambda summary: summary.key))
    return tuple(sorted(found, key=lambda summary: (-summary.known_usd, -summary.seconds, summary.key)))


def total(usages: Iterable[Usage], prices: Prices, now: float, since: float = 0.0) -> Summary:
    """The same as `summarise`, in one sum, whose key is `total`."""
    parts = (_part(usage, prices, since, now, now) for usage in usages)
    return _summed("total", [part for part in parts if part is not None])


_KEYS: Mapping[By, Callable[[Usage], str | None]] = {
    By.REPOSITORY: lambda usage: usage.repository,
    By.WORKFLOW: lambda usage: f"{usage.repository}: {usage.workflow or UNKNOWN}" if usage.repository else None,
    By.ROUTE: lambda usage: usage.route,
    By.ENDPOINT: lambda usage: usage.endpoint,
    By.GPU: lambda usage: usage.gpu_type,
}


def _spans(usage: Usage, by: By, since: float, now: float) -> Iterator[tuple[str, float, float]]:
    """The keys of a submission, each with the times (Unix seconds) between which its paid time counts for the key."""
    if by is not By.DAY:
        yield _KEYS[by](usage) or UNKNOWN, since, now
        return
    paid = seconds_paid(usage, now)
    first = _first_paid(usage, paid)
    day = midnight(max(first, since))
    while day <= min(first + paid, now):
        yield day_of(day), max(day, since), min(day + DAY, now)
        day += DAY


def _part(usage: Usage, prices: Prices, start: float, end: float, now: float) -> _Part | None:
    """What a submission adds between two times; None if it adds nothing."""
    paid = seconds_paid(usage, now)
    within = paid_between(usage, start, end, now)
    counts = usage.took_job and start <= _first_paid(usage, paid) < end
    if not within and not counts:
        return None
    idle = max(0.0, paid - _job_seconds(usage, now)) / paid if paid else 0.0
    return _Part(within, within * idle, price_of(usage, prices), int(counts))


def _job_seconds(usage: Usage, now: float) -> float:
    if not usage.took_job:
        return 0.0
    if usage.job is not None:
        return usage.job
    end = now if usage.ended is None else usage.ended
    return 0.0 if usage.job_began is None else max(0.0, end - usage.job_began)


def _summed(key: str, parts: Sequence[_Part]) -> Summary:
    return Summary(
        key=key,
        seconds=sum(part.seconds for part in parts),
        seconds_without_job=sum(part.seconds_without_job for part in parts),
        seconds_without_price=sum(part.seconds for part in parts if part.price is None),
        known_usd=sum(part.seconds / 3600 * part.price for part in parts if part.price is not None),
        jobs=sum(part.jobs for part in parts),
    )


def amount(usd: float) -> str:
    """USD for a person: small amounts with more digits."""
    return f"{usd:.2f}" if usd >= 1 or not usd else f"{usd:.4f}"


def midnight(at: float) -> float:
    """Unix seconds, when the UTC day of `at` (Unix seconds) began."""
    return at // DAY * DAY


def day_of(at: float) -> str:
    """The UTC day of `at` (Unix seconds), as `YYYY-MM-DD`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


@dataclass(frozen=True, kw_only=True, slots=True)
class Bill:
    """What RunPod billed for an endpoint.

    Args:
        endpoint: RunPod's id.
        day: UTC, as `YYYY-MM-DD`.
        usd: all that was billed.
        usage_usd: of this, for the time of workers; the rest is for disk and fees, which the estimate does not have.
    """

    endpoint: str
    day: str
    usd: float
    usage_usd: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The estimate for an endpoint and a day, beside the bill.

    Args:
        endpoint: RunPod's id.
        day: UTC, as `YYYY-MM-DD`.
        estimated: USD; None if a price is not known.
        billed: USD for the time of workers.
        other: USD for disk and fees.
    """

    endpoint: str
    day: str
    estimated: float | None
    billed: float
    other: float

    @property
    def difference(self) -> float | None:
        """USD by which the bill is over the estimate; None if the estimate is not known."""
        return None if self.estimated is None else self.billed - self.estimated


def reconcile(
    usages: Iterable[Usage], prices: Prices, bills: Iterable[Bill], now: float, since: float = 0.0
) -> tuple[Comparison, ...]:
    """Compare what submissions cost by the estimate with what RunPod billed, for each endpoint and day.

    Args:
        usages: the submissions.
        prices: as known, by endpoint.
        bills: of RunPod; those of endpoints that no submission used do not count.
        now: Unix seconds.
        since: Unix seconds, a UTC midnight.
    """
    of_endpoint: dict[str, list[Usage]] = defaultdict(list)
    for usage in usages:
        of_endpoint[usage.endpoint].append(usage)
    estimates = {
        (endpoint, summary.key): summary.usd
        for endpoint, used in of_endpoint.items()
        for summary in summarise(used, prices, By.DAY, now, since)
    }
    billed = {(bill.endpoint, bill.day): bill for bill in bills if bill.endpoint in of_endpoint}
    return tuple(
        Comparison(
            endpoint=endpoint,
            day=day,
            estimated=estimates.get((endpoint, day), 0.0),
            billed=bill.usage_usd if bill else 0.0,
            other=bill.usd - bill.usage_usd if bill else 0.0,
        )
        for endpoint, day in sorted(estimates.keys() | billed.keys())
        for bill in [billed.get((endpoint, day))]
    )
