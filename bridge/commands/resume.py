"""`bridge resume`: ends the pause of a route."""

from typing import TYPE_CHECKING

from bridge.commands.ledger_access import NO_LEDGER, finish, with_ledger
from bridge.commands.options import ConfigPath, RouteName

if TYPE_CHECKING:
    from bridge.commands.composition import Bridge


def resume(route: RouteName, config: ConfigPath = None) -> None:
    """End the pause of a route. Exit status: 0 done, 1 it was not paused."""

    async def end(bridge: "Bridge") -> str | None:
        if not bridge.ledger.is_stored:
            return NO_LEDGER
        ended = await bridge.ledger.transact(lambda transaction: transaction.resume(route))
        return None if ended else f"route {route[:100]!r} is not paused; `bridge routes` lists the routes"

    finish(with_ledger(config, end), f"route {route}: its jobs get runners again from the next pass on")
