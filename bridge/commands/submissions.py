"""`bridge submissions`: the runners that the bridge has requested."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bridge.commands.listing import Listing, Watch, show
from bridge.commands.options import AsJson, ConfigPath
from bridge.core.submissions import State

if TYPE_CHECKING:
    from bridge.commands.composition import Bridge
    from bridge.core.endpoint_names import EndpointNames
    from bridge.core.submissions import Submission

RECENT = 86_400.0
"""s for which a submission is listed after it has ended."""

SHOWN = ("runner", "state", "since", "route", "result", "why")
"""The columns of the table."""

NOTHING = "no runner is requested, and none has ended within 24 hours; `bridge jobs` shows what waits"


def submissions(
    config: ConfigPath = None,
    as_json: AsJson = False,
    watch: Watch = False,
    route: Annotated[str | None, typer.Option(help="Only runners of this route.")] = None,
    state: Annotated[State | None, typer.Option(help="Only runners in this state.")] = None,
) -> None:
    """List the requested runners: the open ones, and those that ended within the last day."""
    wanted = {"route": route, "state": state}
    listing = Listing(read=_rows, shown=SHOWN, wanted=wanted, nothing=NOTHING, as_json=as_json)
    show(config, listing, watch=watch)


async def _rows(bridge: "Bridge") -> list[dict[str, Any]]:
    since = time.time() - RECENT
    rows = await bridge.ledger.read(lambda transaction: transaction.submissions(since=since, names=()))
    names = bridge.scope.endpoint_names
    return [row(each, names) for each in sorted(rows, key=lambda submission: (submission.created_at, submission.name))]


def row(submission: "Submission", names: "EndpointNames") -> dict[str, Any]:
    """A submission for programs; `names` of the endpoints."""
    return {
        "runner": submission.name,
        "route": submission.pool.route,
        "target": submission.pool.target,
        "endpoint": submission.endpoint,
        "endpoint_name": names.get(submission.endpoint),
        "state": submission.state,
        "since": submission.since,
        "request_id": submission.request_id,
        "job_id": submission.job_id,
        "held_job_id": submission.held_job_id,
        "reason": submission.reason,
        "result": submission.result,
        "why": submission.detail,
    }
