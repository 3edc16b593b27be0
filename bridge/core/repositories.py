"""Which repositories are served, under the names that they have now, and which jobs of theirs. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from bridge.core.model import Repository, WorkflowJob
from bridge.core.routing import match
from bridge.core.scope import Route, Scope

NAMES_EVERY = 300.0
"""s between two looks at the names of the configured repositories: a call each, not counted while nothing changed."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """Which names belong to one repository: GitHub redirects from the earlier ones.

    Args:
        ids: by any name in lower case, GitHub's id.
        current: by id, owner/name as GitHub spells it now.
        gone: names in lower case of which GitHub knows nothing.
        asked_at: Unix seconds, when GitHub was last asked for all configured ones.
    """

    ids: Mapping[str, int] = field(default_factory=dict)
    current: Mapping[int, str] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    asked_at: float = 0.0

    def learn(self, found: Mapping[str, Repository | None]) -> "Names":
        """With what GitHub answered when asked for some names, None where it knows no such repository."""
        there = {name.lower(): repository for name, repository in found.items() if repository}
        absent = {name.lower() for name, repository in found.items() if not repository}
        known = {name: repository for name, repository in there.items() if repository.id}
        ids = {name: repository.id for name, repository in known.items()}
        spelled = {repository.full_name.lower(): repository.id for repository in known.values()}
        return replace(
            self,
            ids={**self.ids, **ids, **spelled},
            current={**self.current, **{each.id: each.full_name for each in known.values()}},
            gone=(self.gone - there.keys() - spelled.keys()) | absent,
        )

    def now(self, name: str) -> str:
        """The current name of a repository, `name` itself if no other is known."""
        current = self.current.get(self.ids.get(name.lower(), 0), name)
        return name if current.lower() == name.lower() else current

    def of_job(self, job: WorkflowJob) -> WorkflowJob:
        """A job under the current name of its repository."""
        now = self.now(job.repository)
        return job if now == job.repository else replace(job, repository=now)

    def renamed_since(self, before: "Names") -> dict[str, str]:
        """By an earlier name in lower case, the current one, where it differs from that known `before`."""
        now = {old: self.now(old) for old in self.ids}
        return {old: new for old, new in now.items() if new not in (old, before.now(old))}


def configured(scope: Scope) -> tuple[str, ...]:
    """The repositories that the configuration names, owner/name."""
    named = [*scope.repositories, *(name for route in scope.routes for name in sorted(route.repositories))]
    return tuple({name.lower(): name for name in named if name.partition("/")[0].lower() == scope.owner.lower()})


def following(scope: Scope, names: Names) -> Scope:
    """What is served, with the current name of each repository that was renamed."""
    return replace(
        scope,
        repositories=tuple(dict.fromkeys(map(names.now, scope.repositories))),
        routes=tuple(_following(route, names) for route in scope.routes),
    )


def _following(route: Route, names: Names) -> Route:
    renamed = frozenset(names.now(name).lower() for name in route.repositories)
    return route if renamed == route.repositories else replace(route, repositories=renamed)


def is_served(job: WorkflowJob, scope: Scope) -> bool:
    """Whether a job may be for a runner of ours, or has one. Jobs of every source are kept by this rule alone."""
    if job.repository.partition("/")[0].lower() != scope.owner.lower():
        return False
    if scope.repositories and job.repository.lower() not in {name.lower() for name in scope.repositories}:
        return False
    ours = (job.runner_name or "").startswith(f"{scope.prefix}-")
    return ours or isinstance(match(job.labels, job.repository, scope.routes), Route)


def is_routed(repository: str, scope: Scope) -> bool:
    """Whether some route serves jobs of a repository."""
    return any(not route.repositories or repository.lower() in route.repositories for route in scope.routes)


def routed(repositories: Iterable[str], scope: Scope) -> tuple[str, ...]:
    """Those of some repositories of which a route serves jobs."""
    return tuple(name for name in repositories if is_routed(name, scope))
