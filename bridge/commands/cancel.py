"""`bridge cancel`: cancels one request that holds no job."""

from typing import TYPE_CHECKING, Annotated

import typer

from bridge.commands.ledger_access import NO_LEDGER, finish, who, with_ledger
from bridge.commands.options import ConfigPath

if TYPE_CHECKING:
    from bridge.commands.composition import Bridge


def cancel(
    submission: Annotated[str, typer.Argument(metavar="RUNNER", help="Its name, as `bridge submissions` lists it.")],
    config: ConfigPath = None,
) -> None:
    """Cancel a request whose runner has no job: delete the runner in GitHub, then cancel the request at RunPod.

    If its job is still queued, the next pass requests a runner again; `bridge pause` prevents that.
    Exit status: 0 cancelled, 1 not cancelled (the line says why), 2 the configuration cannot work.
    """

    async def work(bridge: "Bridge") -> str | None:
        if not bridge.ledger.is_stored:
            return NO_LEDGER
        names = (submission.strip(),)
        found = await bridge.ledger.read(lambda transaction: transaction.named_submissions(names))
        if not found:
            return f"the ledger has no runner {submission[:100]!r}; `bridge submissions` lists the runners"
        return await bridge.reconciler.cancel(found[0], who())

    finish(with_ledger(config, work), f"runner {submission.strip()}: cancelled")
