"""Cancels one request for a person, as a pass withdraws one."""

from collections.abc import Callable

from bridge.controller.apply import Applier
from bridge.controller.ports import GitHub, Ledger, RunPod
from bridge.core import cancelling
from bridge.core.scope import Scope
from bridge.core.submissions import State, Submission


async def cancel(  # noqa: PLR0913 - its ports
    submission: Submission,
    by: str,
    *,
    scope: Scope,
    github: GitHub,
    runpod: RunPod,
    ledger: Ledger,
    clock: Callable[[], float],
) -> str | None:
    """Cancel the request of a submission, if it provably holds no job.

    Args:
        submission: as last read.
        by: who cancels it.
        scope: what the bridge serves.
        github: the client.
        runpod: the client.
        ledger: to write to.
        clock: Unix seconds.

    Returns:
        What did not work, in one line; None if the request is cancelled.

    Raises:
        BridgeError: the runners of its target could not be read, or the ledger failed; nothing was cancelled.
    """
    if refusal := cancelling.refusal(submission, clock()):
        return refusal
    unlisted = submission.runner_id is None and submission.state is not State.WITHDRAWN
    listed = await github.runners(submission.pool.target) if unlisted else ()
    applier = Applier(github, runpod, ledger, scope, refusals={}, clock=clock)
    await applier.apply([], [cancelling.withdrawal(submission, listed, by)], [])
    names = (submission.name,)
    (after,) = await ledger.read(lambda transaction: transaction.named_submissions(names))
    problems = "; ".join(map(str, applier.problems))
    told = cancelling.outcome(submission, after)
    return f"{told}: {problems}" if told and problems else told
