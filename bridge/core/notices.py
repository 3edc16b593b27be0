"""What people are told by a message: a job given up, an open breaker, an endpoint without workers, a budget. Pure.

The ledger keeps which condition was reported when. So a condition that lasts is reported once, by one of several copies
of the bridge, and a restart repeats nothing. Times are Unix seconds (UTC).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby

from bridge.core.actions import Plan
from bridge.core.breaker import OPENS_AT
from bridge.core.budget import WARN_AT, Budget
from bridge.core.cost import DAY, amount, day_of
from bridge.core.endpoint_names import EndpointNames, with_id
from bridge.core.model import EndpointHealth, WorkflowJob
from bridge.core.steps import line, span
from bridge.core.submissions import State, Streak, Submission

QUIET = 3_600.0
"""s from one report of a condition to the next of the same condition, if it ends and begins again."""

MOST_PER_HOUR = 20
"""Messages of all kinds in one hour. What must wait is reported later, if it lasts."""

MOST_LINES = 10
"""Conditions that one message names; it counts the others."""

CUT_AFTER = 600.0
"""s that a request must have waited at an endpoint without any worker until that is reported."""


class NoticeKind(StrEnum):
    """What is reported."""

    GIVEN_UP = "given up"
    BREAKER = "breaker"
    NO_WORKERS = "no workers"
    BUDGET_WARNING = "budget warning"
    BUDGET_REACHED = "budget reached"


TITLES = {
    NoticeKind.GIVEN_UP: "Jobs that get no more runners until `bridge retry`",
    NoticeKind.BREAKER: "Endpoints whose workers keep failing: they get single requests as tries",
    NoticeKind.NO_WORKERS: "Endpoints without any worker, at which requests wait",
    NoticeKind.BUDGET_WARNING: "Budgets that are nearly used up",
    NoticeKind.BUDGET_REACHED: "Budgets that are used up: new requests wait",
}

ConditionKey = tuple[str, str]
"""The kind of a condition, and what it is about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """Something that a person should know of, as long as it lasts.

    Args:
        about: the id of a job or an endpoint, or the name and the day of a budget.
        what: one line for a person; may have names from outside.
        url: a page about it; None for none.
        subject: the part of the line that links to that page.
    """

    kind: NoticeKind
    about: str
    what: str
    url: str | None = None
    subject: str = ""

    @property
    def key(self) -> ConditionKey:
        """What the ledger keeps of it."""
        return self.kind, self.about


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """What a pass has seen that may have to be reported.

    Args:
        plan: of the pass.
        jobs: of its snapshot.
        endpoint_names: by endpoint id.
        streaks: by endpoint id.
        health: by endpoint id.
        waiting_since: by endpoint id, Unix seconds since when its oldest request waits for a worker.
        budgets: that are configured.
    """

    plan: Plan
    jobs: Sequence[WorkflowJob] = ()
    endpoint_names: EndpointNames = field(default_factory=dict)
    streaks: Mapping[str, Streak] = field(default_factory=dict)
    health: Mapping[str, EndpointHealth] = field(default_factory=dict)
    waiting_since: Mapping[str, float] = field(default_factory=dict)
    budgets: Sequence[Budget] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One message, for conditions of one kind.

    Args:
        conditions: all that it reports, also those that it only counts.
    """

    kind: NoticeKind
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Notices:
    """What to send now, and what to forget.

    Args:
        ended: keys of conditions that have ended, and may be reported again.
    """

    messages: tuple[Message, ...] = ()
    ended: tuple[ConditionKey, ...] = ()


def waiting_since(submissions: Iterable[Submission]) -> dict[str, float]:
    """By endpoint id, Unix seconds since when its oldest request waits for a worker."""
    found: dict[str, float] = {}
    for each in submissions:
        if each.state is State.SUBMITTED:
            found[each.endpoint] = min(each.since, found.get(each.endpoint, each.since))
    return found


def conditions(seen: Standing, now: float) -> tuple[Condition, ...]:
    """What a person should know of, sorted by kind.

    Args:
        seen: by the pass.
        now: Unix seconds.
    """
    return (*_given_up(seen), *_breakers(seen), *_without_workers(seen, now), *_budgets(seen))


def notices(before: Mapping[ConditionKey, float], after: Sequence[Condition], now: float) -> Notices:
    """Decide what to report.

    Args:
        before: by key of each condition that was reported, and has not been forgotten, Unix seconds of the report.
        after: all conditions that last now, sorted by kind.
        now: Unix seconds.
    """
    lasting = {each.key for each in after}
    ended = tuple(sorted(key for key, at in before.items() if key not in lasting and at <= now - QUIET))
    recent = {(kind, at) for (kind, _), at in before.items() if at > now - QUIET}
    new = [each for each in after if each.key not in before]
    messages = [Message(kind=kind, conditions=tuple(of)) for kind, of in groupby(new, lambda each: each.kind)]
    return Notices(messages=tuple(messages[: max(0, MOST_PER_HOUR - len(recent))]), ended=ended)


def slack_text(message: Message) -> str:
    """The message in Slack's format, https://docs.slack.dev/messaging/formatting-message-text/.

    Names from outside can neither make a link nor mention anybody.
    """
    shown = [f"• {_linked(each)}" for each in message.conditions[:MOST_LINES]]
    more = len(message.conditions) - len(shown)
    return "\n".join([f"*{TITLES[message.kind]}*", *shown, *([f"and {more} more"] if more else [])])


def _linked(condition: Condition) -> str:
    what = escaped(condition.what)
    if not condition.url or not condition.url.startswith("https://") or set(condition.url) & set("<>| \n\t"):
        return f"{escaped(condition.subject)}: {what}" if condition.subject else what
    # Slack ends the address at the first bar, and the text at the bracket.
    return f"<{condition.url.replace('&', '&amp;')}|{escaped(condition.subject or condition.url)}>: {what}"


def escaped(text: str) -> str:
    """A text from outside as one line without markup. Some services that take Slack's messages know `@all`."""
    joined = line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return joined.replace("@", "@\N{ZERO WIDTH SPACE}")


def _given_up(seen: Standing) -> Iterator[Condition]:
    why = {skip.job_id: skip.why for skip in seen.plan.skips}
    given_up = set(seen.plan.given_up)
    for job in sorted(seen.jobs, key=lambda each: each.id):
        if job.id in given_up:
            yield Condition(
                kind=NoticeKind.GIVEN_UP,
                about=str(job.id),
                subject=f"job {job.id} ({job.repository}, {job.name})",
                what=why.get(job.id) or "given up",
                url=job.html_url,
            )


def _breakers(seen: Standing) -> Iterator[Condition]:
    for endpoint, streak in sorted(seen.streaks.items()):
        if streak.failures >= OPENS_AT:
            name = with_id(endpoint, seen.endpoint_names)
            what = f"endpoint {name}: {streak.failures} failures in a row, the last one: {streak.reason}"
            yield Condition(kind=NoticeKind.BREAKER, about=endpoint, what=what)


def _without_workers(seen: Standing, now: float) -> Iterator[Condition]:
    """Endpoints whose maximum RunPod has probably set to 0.

    `/health` does not say the maximum. An endpoint for which RunPod finds no machine shows its workers as throttled.
    RunPod cuts an endpoint to 0 if nobody has used it for 7 days, or its workers keep failing.
    """
    for endpoint, since in sorted(seen.waiting_since.items()):
        workers = seen.health[endpoint].workers if endpoint in seen.health else {}
        if workers and not any(workers.values()) and since <= now - CUT_AFTER:
            what = (
                f"endpoint {with_id(endpoint, seen.endpoint_names)}: a request has waited for {span(now - since)}, and "
                "RunPod shows no worker in any state; RunPod may have set its maximum to 0: run `bridge doctor`, which "
                "checks it"
            )
            yield Condition(kind=NoticeKind.NO_WORKERS, about=endpoint, what=what)


def _budgets(seen: Standing) -> Iterator[Condition]:
    return iter(sorted(_used(seen.budgets), key=lambda each: list(NoticeKind).index(each.kind)))


def _used(budgets: Iterable[Budget]) -> Iterator[Condition]:
    for budget in budgets:
        if budget.share >= WARN_AT:
            yield Condition(
                kind=NoticeKind.BUDGET_REACHED if budget.share >= 1 else NoticeKind.BUDGET_WARNING,
                about=f"{budget.name}, {day_of(budget.resets_at - DAY)}",
                what=f"{budget.name}: {amount(budget.used)} of {amount(budget.usd)} USD used today (UTC)",
            )
