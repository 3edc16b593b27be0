"""The repositories whose jobs are served, and who may use the runner groups of the routes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bridge.commands.doctor.asking import Failure, asked, unanswered
from bridge.commands.doctor.check import Check, failed, ok, skipped, warning
from bridge.commands.doctor.context import Context
from bridge.concurrency import each
from bridge.core.model import Repository
from bridge.core.scope import Route, Scope
from bridge.github.runner_groups import RunnerGroup

SHOWN = 5
"""Names in one line; there may be thousands."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """A runner group, and the repositories that were selected for it (owner/name in lower case), None for all."""

    rules: RunnerGroup
    selected: frozenset[str] | None


async def visible(context: Context) -> Sequence[Repository] | Failure:
    """The repositories that the bridge would serve, as far as the credentials can see them."""
    scope = context.settings.scope
    if context.auth.app or scope.organisation:
        listed = await asked(context.github.repositories(scope.owner))
        return listed if isinstance(listed, Failure) else served(listed, scope)
    found = await asked(each(scope.repositories, context.github.repository))
    return found if isinstance(found, Failure) else [repository for repository in found.values() if repository]


def served(listed: Iterable[Repository], scope: Scope) -> list[Repository]:
    """Those of a list that the configuration names, or all if it names none."""
    wanted = {name.lower() for name in scope.repositories}
    return [each for each in listed if not wanted or each.full_name.lower() in wanted]


def repository_checks(scope: Scope, found: Sequence[Repository], select_at: str) -> list[Check]:
    """Whether the repositories of the configuration can be served.

    Args:
        scope: names the repositories.
        found: those that the credentials can see.
        select_at: where a person selects the repositories.
    """
    id_ = "github.repositories"
    seen = {each.full_name.lower() for each in found}
    named = dict.fromkeys([*scope.repositories, *(name for r in scope.routes for name in sorted(r.repositories))])
    absent = {name.lower(): name for name in named if name.lower() not in seen}
    checks = [
        failed(
            id_,
            "the credentials cannot see it, or it is archived",
            f"select it at {select_at}, or correct its name in the configuration",
            subject=name,
        )
        for name in absent.values()
    ]
    if not found and not checks:
        checks.append(failed(id_, "the credentials can see no repository", f"select some at {select_at}"))
    if found:
        checks.append(ok(id_, f"{_some(each.full_name for each in found)}"))
    return [*checks, *_public(scope.routes, found)]


def _public(routes: Sequence[Route], found: Sequence[Repository]) -> list[Check]:
    names = [each.full_name for each in found if each.public]
    if not names or any(route.allow_public_repositories for route in routes):
        return []
    return [
        warning(
            "github.repositories.public",
            f"jobs of public repositories are refused: {_some(names)}",
            "leave it so, or set allow_public_repositories after you have read who may use your runners in README.md",
        )
    ]


async def group_checks(context: Context, found: Sequence[Repository]) -> list[Check]:
    """Whether each route's runner group exists and admits the repositories.

    Args:
        context: of the run.
        found: the repositories that are served.
    """
    scope = context.settings.scope
    if scope.organisation is None:
        return [repository_group(route) for route in scope.routes]
    listed = await asked(_groups(context, scope.organisation))
    if isinstance(listed, Failure):
        return [unanswered("github.group", listed)]
    return [group_check(route, listed, required(route, scope, found), scope.organisation) for route in scope.routes]


async def _groups(context: Context, organisation: str) -> dict[str, Group]:
    """By name in lower case, the groups that routes name."""
    wanted = {route.runner_group.lower() for route in context.settings.scope.routes}
    rules = {group.name.lower(): group for group in await context.github.runner_groups(organisation)}
    limited = [name for name in wanted & rules.keys() if rules[name].visibility == "selected"]
    selected = await each(limited, lambda name: context.github.group_repositories(organisation, rules[name].id))
    admitted = {name: frozenset(map(str.lower, names)) for name, names in selected.items()}
    return {name: Group(rules=rules[name], selected=admitted.get(name)) for name in wanted & rules.keys()}


def repository_group(route: Route) -> Check:
    """The group of a route whose runners register at single repositories: they have only the default group."""
    if route.runner_group.lower() == "default":
        return ok("github.group", "runners of a repository are in the group Default", subject=route.name)
    return failed(
        "github.group",
        f"runner_group is {route.runner_group}, but runners of a repository have only the group Default",
        "remove runner_group, or set GITHUB_ORG",
        subject=route.name,
    )


@dataclass(frozen=True, kw_only=True)
class Required:
    """The repositories whose jobs a route serves.

    Args:
        names: owner/name.
        public: those that are public.
        explicit: whether the configuration names them.
    """

    names: tuple[str, ...]
    public: tuple[str, ...]
    explicit: bool


def required(route: Route, scope: Scope, found: Sequence[Repository]) -> Required:
    """The repositories whose jobs a route serves, of those that were found."""
    own = [each for each in found if not route.repositories or each.full_name.lower() in route.repositories]
    served = [each for each in own if not each.public or route.allow_public_repositories]
    return Required(
        names=tuple(each.full_name for each in served),
        public=tuple(each.full_name for each in served if each.public),
        explicit=bool(route.repositories or scope.repositories),
    )


def group_check(route: Route, groups: Mapping[str, Group], needs: Required, organisation: str) -> Check:
    """Whether a route's group exists and admits its repositories."""
    id_, name = "github.group", route.runner_group
    group = groups.get(name.lower())
    if group is None:
        fix = "create it in the organization's settings, under Actions, Runner groups, or correct runner_group"
        return failed(id_, f"{organisation} has no runner group {name}", fix, subject=route.name)
    if needs.public and not group.rules.public:
        return failed(
            id_,
            f"the group {name} refuses public repositories: {_some(needs.public)}",
            "allow public repositories in the group, or remove allow_public_repositories",
            subject=route.name,
        )
    if excluded := _excluded(group, needs.names):
        return _closed(route, excluded, explicit=needs.explicit)
    if group.rules.public and not route.allow_public_repositories:
        return warning(
            id_,
            f"the group {name} admits public repositories, whose jobs may take runners of the route",
            "forbid public repositories in the group",
            subject=route.name,
        )
    return ok(id_, _admits(group), subject=route.name)


def _excluded(group: Group, names: Collection[str]) -> list[str]:
    return [] if group.selected is None else [name for name in names if name.lower() not in group.selected]


def _closed(route: Route, excluded: Sequence[str], *, explicit: bool) -> Check:
    line = f"the group {route.runner_group} does not admit {_some(excluded)}"
    fix = "select them in the group; or limit `repositories` of the route: a worker would start and get no job"
    give = failed if explicit else warning
    return give("github.group", line, fix, subject=route.name)


def _admits(group: Group) -> str:
    who = {"private": "all private repositories", "selected": f"{len(group.selected or ())} selected repositories"}
    line = f"the group {group.rules.name} admits {who.get(group.rules.visibility, 'all repositories')}"
    workflows = group.rules.workflows
    return f"{line}, and only the workflows {_some(workflows)}" if workflows else line


def dependent(why: str) -> list[Check]:
    """The checks that need the list of repositories, if there is none."""
    return [skipped("github.repositories", why), *without_repositories(why)]


def without_repositories(why: str) -> list[Check]:
    """The checks of groups and jobs, if they cannot be made."""
    return [skipped("github.group", why), skipped("route.jobs", why)]


def _some(names: Iterable[str]) -> str:
    """The first names, and how many there are."""
    listed = list(names)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more
