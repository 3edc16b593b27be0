"""Which repositories are served, under their current names. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from bridge.core.model import Repository, WorkflowJob
from bridge.core.scope import Route, Scope


@dataclass(frozen=True, kw_only=True)
class Names:
    """The earlier and current names of repositories. GitHub redirects from the earlier ones.

    Args:
        ids: by earlier or current name in lower case, GitHub's id of the repository.
        current: by id, owner/name as GitHub spells it.
        gone: names in lower case that GitHub does not know.
        asked_at: Unix seconds, when all configured names were last looked up.
    """

    ids: Mapping[str, int] = field(default_factory=dict)
    current: Mapping[int, str] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    asked_at: float = 0.0

    def learn(self, found: Mapping[str, Repository | None]) -> "Names":
        """Add GitHub's answers by the name that was looked up; None for a name that it does not know."""
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
        """The current name of a repository; `name` itself if no other is known."""
        current = self.current.get(self.ids.get(name.lower(), 0), name)
        return name if current.lower() == name.lower() else current

    def of_job(self, job: WorkflowJob) -> WorkflowJob:
        """Return the job with the current name of its repository."""
        now = self.now(job.repository)
        return job if now == job.repository else replace(job, repository=now)

    def renamed_since(self, before: "Names") -> dict[str, str]:
        """By earlier name in lower case, the current name of each repository whose name has changed since `before`."""
        now = {old: self.now(old) for old in self.ids}
        return {old: new for old, new in now.items() if new not in (old, before.now(old))}


def configured(scope: Scope) -> tuple[str, ...]:
    """The repositories that the configuration lists, owner/name."""
    named = [*scope.repositories, *(name for route in scope.routes for name in sorted(route.repositories))]
    return tuple({name.lower(): name for name in named if name.partition("/")[0].lower() == scope.owner.lower()})


def following(scope: Scope, names: Names) -> Scope:
    """Return the scope with the current names of repositories."""
    return replace(
        scope,
        repositories=tuple(dict.fromkeys(map(names.now, scope.repositories))),
        routes=tuple(_following(route, names) for route in scope.routes),
    )


def _following(route: Route, names: Names) -> Route:
    renamed = frozenset(names.now(name).lower() for name in route.repositories)
    return route if renamed == route.repositories else replace(route, repositories=renamed)


def is_routed(repository: str, scope: Scope) -> bool:
    """Whether some route serves jobs of a repository."""
    return any(not route.repositories or repository.lower() in route.repositories for route in scope.routes)


def routed(repositories: Iterable[str], scope: Scope) -> tuple[str, ...]:
    """The repositories whose jobs some route serves."""
    return tuple(name for name in repositories if is_routed(name, scope))
