"""What the dashboard needs of the ledger and of GitHub's sign-in."""

from collections.abc import Collection, Mapping
from typing import Protocol

from bridge.core.budget import Spent
from bridge.core.history import JobRecord, Waits
from bridge.core.prices import Prices
from bridge.core.submissions import Submission


class Overview(Protocol):
    """What is read of the ledger beside the plan; see `bridge.ledger.overview`."""

    def finished(
        self, *, since: float, repository: str | None, route: str | None, limit: int, offset: int
    ) -> tuple[int, ...]: ...
    def count_finished(self, *, since: float, repository: str | None, route: str | None) -> int: ...
    def records(self, job_ids: Collection[int]) -> tuple[JobRecord, ...]: ...
    def waits(self, since: float) -> Mapping[str, Waits]: ...


class Costs(Protocol):
    """What is read of the ledger about money; see `bridge.ledger.costs`."""

    def spent_by_repository(self, since: float, now: float) -> tuple[tuple[str | None, Spent], ...]: ...
    def prices(self) -> Prices: ...


class Transaction(Protocol):
    """The ledger within one transaction that only reads."""

    @property
    def costs(self) -> Costs: ...

    def open_submissions(self) -> tuple[Submission, ...]: ...
    def runners_read_at(self) -> Mapping[str, float]: ...
    def overview(self) -> Overview: ...


class GitHubSignIn(Protocol):
    """Signs a person in with GitHub; see `bridge.github.sign_in`. `person` may raise a BridgeError."""

    def address(self, *, state: str, challenge: str, redirect: str) -> str: ...
    async def person(self, code: str, *, verifier: str, redirect: str) -> str: ...
