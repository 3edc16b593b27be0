"""`bridge retry`: lets the bridge request a runner for a job again."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.commands.ledger_access import NO_LEDGER, finish, with_ledger
from bridge.commands.options import ConfigPath

if TYPE_CHECKING:
    from bridge.commands.composition import Bridge


def retry(
    job: Annotated[int, typer.Argument(help="The job's id, as `bridge jobs` lists it.")], config: ConfigPath = None
) -> None:
    """Forget a job's failed attempts and all refusals, so that the next pass requests a runner for it again."""

    async def forget(bridge: "Bridge") -> str | None:
        if not bridge.ledger.is_stored:
            return NO_LEDGER
        if await bridge.ledger.transact(lambda transaction: transaction.retry(job, time.time())):
            return None
        return f"the ledger has no open job {job}; `bridge jobs` lists the open jobs"

    done = f"job {job}: its failed attempts and all refusals are forgotten; the next pass requests a runner again"
    finish(with_ledger(config, forget), done)
