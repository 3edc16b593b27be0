"""`bridge retry`: lets the bridge request a runner for a job again."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.commands.ledger_access import NO_LEDGER, finish, with_ledger
from bridge.commands.options import ConfigPath

if TYPE_CHECKING:
    from bridge.commands.composition import Bridge


def retry(
    job: Annotated[str, typer.Argument(metavar="JOB", help="The job's URL or id.")], config: ConfigPath = None
) -> None:
    """Forget a job's failed attempts and all refusals, so that the next pass requests a runner for it again."""
    from bridge.core.reference import parse

    reference = parse(job)
    if reference is None or reference.job_id is None:
        finish(f"{job[:200]!r} is no job: give the URL or the id of a job", "")
        return
    id_ = reference.job_id

    async def forget(bridge: "Bridge") -> str | None:
        if not bridge.ledger.is_stored:
            return NO_LEDGER
        if await bridge.ledger.transact(lambda transaction: transaction.retry(id_, time.time())):
            return None
        return f"the ledger has no open job {id_}; `bridge jobs` lists the open jobs"

    done = f"job {id_}: its failed attempts and all refusals are forgotten; the next pass requests a runner again"
    finish(with_ledger(config, forget), done)
