"""`bridge jobs`: the open jobs, and why each waits."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.commands.ledger_access import with_ledger
from bridge.commands.options import AsJson, ConfigPath
from bridge.core.model import JobStatus

if TYPE_CHECKING:
    from bridge.commands.composition import Bridge

SHOWN = ("id", "repository", "name", "status", "why")
"""The columns of the table."""


def jobs(
    config: ConfigPath = None,
    as_json: AsJson = False,
    repository: Annotated[str | None, typer.Option(help="Only jobs of this repository (owner/name).")] = None,
    status: Annotated[JobStatus | None, typer.Option(help="Only jobs with this status in GitHub.")] = None,
) -> None:
    """List the open jobs in the ledger, and for each its runner or the reason why it waits.

    Failed jobs that may be re-run are listed, too.
    """
    rows = with_ledger(config, _rows)

    from bridge.commands.report import matching, print_rows

    print_rows(matching(rows, repository=repository, status=status), SHOWN, as_json=as_json)


async def _rows(bridge: "Bridge") -> list[dict[str, Any]]:
    from bridge.commands.report import lost_jobs, queued_jobs, started_jobs

    decision = await bridge.reconciler.explain()
    kept = ("id", "repository", "name", "labels", "route", "why")
    queued = [{**{key: row[key] for key in kept}, "status": JobStatus.QUEUED} for row in queued_jobs(decision)]
    return [*queued, *started_jobs(decision), *lost_jobs(decision)]
