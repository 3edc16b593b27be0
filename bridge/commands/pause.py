"""`bridge pause`: a route gets no new requests."""

from typing import TYPE_CHECKING, Annotated

import typer

from bridge.commands.ledger_access import NO_LEDGER, finish, who, with_ledger
from bridge.commands.options import ConfigPath, RouteName

if TYPE_CHECKING:
    from bridge.commands.composition import Bridge


def pause(
    route: RouteName,
    config: ConfigPath = None,
    reason: Annotated[str | None, typer.Option(help="Why, for those who read the list of routes.")] = None,
) -> None:
    """Send no new requests for a route until `bridge resume`. What runs or is requested goes on.

    All bridges that share the ledger follow it. Exit status: 0 paused, 1 there is no such route or no ledger.
    """

    async def begin(bridge: "Bridge") -> str | None:
        from bridge.core.pauses import Pause, one_line

        known = [each.name for each in bridge.scope.routes]
        if not bridge.ledger.is_stored:
            return NO_LEDGER
        if route not in known:
            return f"the configuration has no route {route[:100]!r}; its routes: {', '.join(known)}"
        given = Pause(route=route, at=bridge.clock(), by=who(), reason=one_line(reason or "") or None)
        stands = await bridge.ledger.transact(lambda transaction: transaction.pause(given))
        return None if stands == given else f"route {route} is already paused by {stands.by}"

    finish(with_ledger(config, begin), f"route {route}: paused; `bridge resume {route}` ends the pause")
