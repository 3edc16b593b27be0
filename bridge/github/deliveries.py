"""The App's delivery log: every event that GitHub sent, whether or not it arrived.

https://docs.github.com/rest/apps/webhooks

Its cost does not grow with the number of repositories: one call per 100 deliveries, and one for each payload that is
read. If these calls reach a rate limit, new tokens can still be created.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from bridge.core.model import Sent, WorkflowJob
from bridge.errors import Malformed, Rejected, TooManyDeliveries
from bridge.github import payloads
from bridge.github.answers import value_of
from bridge.github.auth import AppAuth
from bridge.github.parse import moment

PAGES = 10
"""The most pages of 100 deliveries that are read at once. Beyond that, a scan of the repositories is cheaper."""

T = TypeVar("T")


class DeliveryLog:
    """Reads the log.

    Args:
        auth: the App.
        pages: the most pages that `since` reads.
    """

    def __init__(self, auth: AppAuth, *, pages: int = PAGES) -> None:
        self._auth = auth
        self._pages = pages
        self._kept: bool | None = None

    async def is_kept(self) -> bool:
        """Whether the App has a webhook for job events, and so a log of them. GitHub is asked once."""
        if self._kept is None:
            self._kept = await self._subscribes() and await self._has_webhook()
        return self._kept

    async def _subscribes(self) -> bool:
        return await self._get("/app", lambda app: "workflow_job" in (app.get("events") or ()))

    async def _has_webhook(self) -> bool:
        try:
            return await self._get("/app/hook/config", lambda config: bool(config.get("url")))
        except Rejected as error:
            if error.status != 404:
                raise
            return False

    async def since(self, at: float) -> tuple[Sent, ...]:
        """The `workflow_job` deliveries since `at` (Unix seconds), newest first.

        Raises:
            TooManyDeliveries: they fill more than `pages` pages.
            AuthError, RateLimited, Unavailable, Rejected: see bridge.errors.
        """
        found: list[Sent] = []
        newest = at
        path = "/app/hook/deliveries?per_page=100"
        for _ in range(self._pages):
            response = await self._auth.read_as_app(path)
            page = value_of(response, lambda raw: list(_sent(raw)))
            newest = max([newest, *(sent.at for sent in page)])
            found += [sent for sent in page if sent.at >= at and sent.event == "workflow_job"]
            path = response.links.get("next", {}).get("url", "")
            if not path or not page or page[-1].at < at:
                return tuple(found)
        raise TooManyDeliveries(
            f"GitHub: the delivery log has more than {self._pages * 100} new deliveries", newest=newest
        )

    async def job(self, delivery_id: int) -> WorkflowJob | None:
        """The job in a delivery's payload; None if it cannot be read."""
        raw = await self._get(f"/app/hook/deliveries/{delivery_id}", dict)
        try:
            return payloads.delivery("workflow_job", raw["request"]["payload"]).job
        except (Malformed, KeyError, TypeError):
            return None

    async def _get(self, path: str, read: Callable[[Any], T]) -> T:
        return value_of(await self._auth.read_as_app(path), read)


def _sent(raw: Iterable[Mapping[str, Any]]) -> Iterator[Sent]:
    return (
        Sent(
            id=int(each["id"]),
            guid=str(each["guid"]),
            event=str(each["event"]),
            at=moment(each["delivered_at"]) or 0,
            action=each.get("action"),
            repository_id=each.get("repository_id"),
        )
        for each in raw
    )
