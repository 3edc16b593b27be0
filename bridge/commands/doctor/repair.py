"""What `--fix` may do about an endpoint: restore what RunPod reduced."""

from dataclasses import replace
from pathlib import Path

from bridge.commands.doctor.check import Check, Repair, Status
from bridge.commands.doctor.clients import management
from bridge.commands.doctor.runpod_endpoint import WORKERS_MAX, Seen
from bridge.config.management import load_management
from bridge.core.endpoints import Change, Endpoint, EndpointSettings
from bridge.errors import OutcomeUnknown
from bridge.runpod.management import Management


def with_repair(check: Check, seen: Seen, path: Path | None) -> Check:
    """The check, with the repair of a reduced `workers_max` if the endpoint has a table that says what it should be."""
    wanted, now = seen.wanted, seen.actual.settings.workers_max
    if check.id != WORKERS_MAX or check.status is Status.OK or wanted is None or now >= wanted.workers_max:
        return check

    async def work() -> str:
        return await _restore(wanted, seen.actual, path)

    question = f"Set workers_max of endpoint {seen.name} from {now} to {wanted.workers_max}?"
    return replace(check, repair=Repair(question=question, work=work))


async def _restore(wanted: EndpointSettings, actual: Endpoint, path: Path | None) -> str:
    change = Change(setting=WORKERS_MAX.rpartition(".")[2], before="", after="")
    async with management(load_management(path)) as client:
        try:
            await client.update(actual.id, wanted, (change,))
        except OutcomeUnknown:
            if not await _is_restored(client, actual.id, wanted):
                raise
    return f"workers_max of endpoint {wanted.name} is {wanted.workers_max}"


async def _is_restored(client: Management, id_: str, wanted: EndpointSettings) -> bool:
    now = await client.endpoint(id_)
    return now is not None and now.settings.workers_max == wanted.workers_max
