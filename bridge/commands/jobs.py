"""`bridge jobs`: the open jobs, and why each waits."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.commands.listing import Listing, Watch, show
from bridge.commands.options import AsJson, ConfigPath
from bridge.core.model import JobStatus

if TYPE_CHECKING:
    from bridge.commands.composition import Bridge

SHOWN = ("id", "status", "route", "repository", "name", "why")
"""The columns of the table."""

NOTHING = "no job is queued or running; `bridge dispatch` asks GitHub for new ones"


def jobs(  # noqa: PLR0913, PLR0917 - each is an option of its own
    config: ConfigPath = None,
    as_json: AsJson = False,
    watch: Watch = False,
    repository: Annotated[str | None, typer.Option(help="Only jobs of this repository (owner/name).")] = None,
    status: Annotated[JobStatus | None, typer.Option(help="Only jobs with this status in GitHub.")] = None,
    route: Annotated[str | None, typer.Option(help="Only jobs of this route.")] = None,
) -> None:
    """List the open jobs in the ledger, and for each its runner or the reason why it waits.

    Failed jobs that may be re-run are listed, too.
    """
    wanted = {"repository": repository, "status": status, "route": route}
    listing = Listing(read=_rows, shown=SHOWN, wanted=wanted, nothing=NOTHING, as_json=as_json)
    show(config, listing, watch=watch)


async def _rows(bridge: "Bridge") -> list[dict[str, Any]]:
    from bridge.commands.report import lost_jobs, queued_jobs, started_jobs

    decision = await bridge.reconciler.explain()
    kept = ("id", "repository", "name", "labels", "route", "kind", "why")
    queued = [{**{key: row[key] for key in kept}, "status": JobStatus.QUEUED} for row in queued_jobs(decision)]
    return [*queued, *started_jobs(decision, bridge.scope.routes), *lost_jobs(decision)]
