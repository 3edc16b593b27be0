"""What a page asks for: the overview, one list of jobs, or one job. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import urlencode

from bridge.core.model import LONGEST_NAME

ON_OVERVIEW, ON_LIST = 10, 50
"""Jobs of each list on the overview, and on a page of one list."""

LAST_PAGE = 10_000

LARGEST_ID = 2**63 - 1
"""GitHub's ids are 64 bits wide, as are the ledger's columns."""


class Group(StrEnum):
    """The lists of jobs."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """What a page asks for.

    Args:
        job: the id of one job; None for the overview or a list.
        group: the only list that is shown; None for all.
        repository: only jobs of this one (owner/name).
        route: only jobs of this one.
        page: of the list, from 1.
    """

    job: int | None = None
    group: Group | None = None
    repository: str | None = None
    route: str | None = None
    page: int = 1

    @property
    def is_overview(self) -> bool:
        """Whether it asks for the whole overview."""
        return self.job is None and self.group is None

    @property
    def groups(self) -> tuple[Group, ...]:
        """The lists that are shown."""
        return tuple(Group) if self.group is None else (self.group,)

    @property
    def per_page(self) -> int:
        """The most jobs of a list on this page."""
        return ON_OVERVIEW if self.group is None else ON_LIST

    @property
    def offset(self) -> int:
        """How many jobs of a list are on earlier pages."""
        return (self.page - 1) * self.per_page

    @property
    def is_filtered(self) -> bool:
        """Whether jobs are left out because of their repository or route."""
        return self.repository is not None or self.route is not None

    @property
    def query(self) -> str:
        """The query of the page's address, with its `?`; empty for the overview."""
        given = {"jobs": self.group, "repository": self.repository, "route": self.route}
        pairs = {name: str(value) for name, value in given.items() if value is not None}
        if self.page > 1:
            pairs["page"] = str(self.page)
        return f"?{urlencode(pairs)}" if pairs else ""

    @property
    def path(self) -> str:
        """The page's address on the server."""
        return f"/{self.query}" if self.job is None else f"/jobs/{self.job}"

    def of_group(self, group: Group | None) -> "Query":
        """The first page of another list, with the same filters."""
        return replace(self, group=group, page=1)

    def of_route(self, route: str) -> "Query":
        """The same lists, only with jobs of this route."""
        return replace(self, route=route, page=1)

    def of_page(self, page: int) -> "Query":
        """Another page of the same list."""
        return replace(self, page=page)


def read(query: Mapping[str, str]) -> Query:
    """The query that an address asks. What it does not understand is left out.

    Args:
        query: the parameters of the address.
    """
    asked = query.get("jobs")
    group = Group(asked) if asked in set(Group) else None
    page = query.get("page", "")
    number = int(page) if page.isascii() and page.isdecimal() and len(page) <= len(str(LAST_PAGE)) else 1
    return Query(
        group=group,
        repository=_filter(query.get("repository")),
        route=_filter(query.get("route")),
        page=min(max(number, 1), LAST_PAGE) if group else 1,
    )


def job_id(text: str) -> int | None:
    """The id in an address; None for one that no job can have. Python refuses to read a number of 5,000 digits."""
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(LARGEST_ID))):
        return None
    return int(text) if 0 < int(text) <= LARGEST_ID else None


def _filter(value: str | None) -> str | None:
    """A text to compare with; None for none, or for one that no name can be: PostgreSQL refuses NUL."""
    return value if value and len(value) <= LONGEST_NAME and value.isprintable() else None
