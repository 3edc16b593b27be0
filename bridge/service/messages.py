"""Sends messages to people: see `bridge.core.notices`."""

from collections.abc import Sequence
from typing import Protocol

from bridge.controller.ports import Ledger, Transaction
from bridge.controller.report import Report
from bridge.core.notices import Message, NoticeKind, Notices, Standing, conditions, notices, slack_text
from bridge.service.sender import DEFAULT_TIMING, SenderTiming
from bridge.telemetry import mask

_KINDS = tuple(NoticeKind)


class MessageClient(Protocol):
    """The client of the service that takes messages. A call may raise a BridgeError."""

    async def send(self, text: str) -> None: ...


class Messages:
    """Sends messages about what the last pass has seen.

    Args:
        ledger: knows what was reported.
        client: of the service that takes messages.
        timing: the clock.
    """

    name = "notifications"

    def __init__(self, ledger: Ledger, client: MessageClient, timing: SenderTiming = DEFAULT_TIMING) -> None:
        self._ledger = ledger
        self._client = client
        self._timing = timing
        self._seen: Standing | None = None

    def passed(self, report: Report) -> None:
        """Keep what a pass has seen."""
        decision = report.decision
        self._seen = Standing(
            plan=decision.plan,
            jobs=decision.jobs,
            endpoint_names=decision.endpoint_names,
            streaks=decision.streaks,
            health=decision.health,
            waiting_since=decision.waiting_since,
            budgets=decision.budgets,
        )

    async def send_due(self) -> None:
        """Report each condition that lasts and was not reported."""
        if self._seen is None:
            return
        now = self._timing.clock()
        lasting = conditions(self._seen, now)

        def decided(transaction: Transaction) -> Notices:
            return notices(transaction.sent(_KINDS), lasting, now)

        def noted(transaction: Transaction) -> Notices:
            """Decide again, within the transaction that writes: another copy may have reported meanwhile."""
            decision = decided(transaction)
            for kind, about in decision.ended:
                transaction.forget_sent(kind, [about], now)
            for message in decision.messages:
                transaction.note_sent(message.kind, _about(message), now)
            return decision

        if await self._ledger.read(decided) != Notices():
            await self._send((await self._ledger.transact(noted)).messages, now)

    async def _send(self, messages: Sequence[Message], now: float) -> None:
        left = list(messages)

        def forget(transaction: Transaction) -> None:
            for each in left:
                transaction.forget_sent(each.kind, _about(each), now)

        try:
            while left:
                await self._client.send(mask(slack_text(left[0])))
                left.pop(0)
        except Exception:
            await self._ledger.transact(forget)
            raise


def _about(message: Message) -> list[str]:
    return [each.about for each in message.conditions]
