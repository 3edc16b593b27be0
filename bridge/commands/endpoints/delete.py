"""`bridge endpoints delete`: what would be lost, and the deletion."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bridge.commands.endpoints.work import delete_once
from bridge.config.endpoints import write_ids
from bridge.config.management import ManagementConfig
from bridge.core.endpoints import Endpoint, is_ours
from bridge.core.submissions import Submission
from bridge.errors import BridgeError, ConfigError
from bridge.ledger import Ledger
from bridge.runpod.management import Management


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """One endpoint that is to be deleted.

    Args:
        name: as given.
        id: RunPod's, None if the endpoint is already gone.
        ours: whether this bridge created it.
        running: workers that run a job.
        open: submissions that the ledger has there.
        routes: that still use it.
    """

    name: str
    id: str | None
    ours: bool
    running: int
    open: tuple[Submission, ...]
    routes: tuple[str, ...]

    def problems(self, *, force: bool) -> Iterator[str]:
        """Why it is not deleted."""
        if self.id and not self.ours:
            yield f"{self.name}: {self.id} was not created by this bridge; delete it in RunPod's console"
        elif (self.open or self.running) and not force:
            yield from self.losses()
            yield f"{self.name}: not deleted, because RunPod would cancel this; wait, or add --force"

    def losses(self) -> Iterator[str]:
        """What the deletion ends, one line each."""
        for submission in self.open:
            job = submission.held_job_id or submission.job_id
            verb = "runs" if submission.held_job_id else "waits for"
            yield (
                f"{self.name}: runner {submission.name} ({submission.state}) {verb} job {job}, "
                f"request {submission.request_id or 'not known'}"
            )
        if self.running:
            yield f"{self.name}: RunPod reports {self.running} workers with a job"
        for route in self.routes:
            yield f"{self.name}: route {route} uses it; change bridge.toml, or the route's jobs wait"


async def deletions(settings: ManagementConfig, client: Management, names: Sequence[str]) -> list[Deletion]:
    """Look up what each deletion means.

    Raises:
        ConfigError: a name is unknown, or several endpoints have it.
        BridgeError: RunPod or the ledger could not be read.
    """
    existing = await client.endpoints()
    found = [(name, _found(settings, existing, name)) for name in dict.fromkeys(names)]
    submissions = await _open_submissions(settings)
    return [
        Deletion(
            name=name,
            id=endpoint.id if endpoint else None,
            ours=endpoint is None or is_ours(endpoint, settings.mark(name), settings.ids.get(name)),
            running=await client.running_workers(endpoint.id) if endpoint else 0,
            open=tuple(s for s in submissions if endpoint and s.endpoint == endpoint.id),
            routes=settings.routes.get(name, ()),
        )
        for name, endpoint in found
    ]


def _found(settings: ManagementConfig, existing: Sequence[Endpoint], name: str) -> Endpoint | None:
    recorded = settings.ids.get(name)
    candidates = [e for e in existing if e.id == recorded] or [e for e in existing if e.settings.name == name]
    if len(candidates) > 1:
        ids = ", ".join(endpoint.id for endpoint in candidates)
        raise ConfigError(f"{name}: {len(candidates)} endpoints have this name ({ids}); delete one in RunPod's console")
    if not candidates and recorded is None:
        raise ConfigError(f"{name}: RunPod has no endpoint of this name; `bridge endpoints plan` lists them")
    return candidates[0] if candidates else None


async def _open_submissions(settings: ManagementConfig) -> tuple[Submission, ...]:
    ledger = Ledger.open_existing(settings.database_url, time.time)
    try:
        return await ledger.read(lambda transaction: transaction.open_submissions())
    finally:
        ledger.close()


async def delete_endpoints(
    settings: ManagementConfig, client: Management, found: Sequence[Deletion], report: Callable[[str], None]
) -> list[str]:
    """Delete the endpoints, and forget their ids; what could not be done."""
    ids, problems = dict(settings.ids), []
    for each in found:
        try:
            if each.id:
                await delete_once(each.id, client)
        except BridgeError as error:
            problems.append(f"{each.name}: {error}")
            continue
        if ids.pop(each.name, None):
            write_ids(settings.path, ids)
        report(f"{each.name}: {'deleted' if each.id else 'was already gone'}")
    return problems
