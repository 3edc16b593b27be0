"""`bridge jobs`: the open jobs, and why each waits."""

from typing import TYPE_CHECKING, Any

from bridge.commands.ledger_access import with_ledger
from bridge.commands.options import AsJson, ConfigPath

if TYPE_CHECKING:
    from bridge.commands.composition import Bridge

SHOWN = ("id", "repository", "name", "status", "why")
"""The columns of the table."""


def jobs(config: ConfigPath = None, as_json: AsJson = False) -> None:
    """List the open jobs in the ledger, and for each its runner or the reason why it waits."""
    rows = with_ledger(config, _rows)

    from bridge.commands.report import print_rows

    print_rows(rows, SHOWN, as_json=as_json)


async def _rows(bridge: "Bridge") -> list[dict[str, Any]]:
    from bridge.commands.report import queued_jobs, started_jobs
    from bridge.core.model import JobStatus

    decision = await bridge.reconciler.explain()
    kept = ("id", "repository", "name", "labels", "route", "why")
    queued = [{**{key: row[key] for key in kept}, "status": JobStatus.QUEUED} for row in queued_jobs(decision)]
    return [*queued, *started_jobs(decision)]
