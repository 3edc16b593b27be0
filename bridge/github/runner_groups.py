"""Runner groups of an organization: which repositories may use their runners.

https://docs.github.com/rest/actions/self-hosted-runner-groups
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RunnerGroup:
    """A runner group.

    Args:
        name: as GitHub spells it.
        visibility: `all` repositories of the organization, `private` ones, or `selected` ones.
        public: whether public repositories may use it.
        workflows: the only workflows that may use it; empty for all.
    """

    id: int
    name: str
    visibility: str
    public: bool
    workflows: tuple[str, ...] = ()


def runner_groups(raw: Mapping[str, Any]) -> Iterable[RunnerGroup]:
    """The groups in a page of `/orgs/{org}/actions/runner-groups`."""
    return [
        RunnerGroup(
            id=int(each["id"]),
            name=str(each["name"]),
            visibility=str(each.get("visibility", "all")),
            public=bool(each.get("allows_public_repositories")),
            workflows=tuple(map(str, each.get("selected_workflows") or ())) if _is_restricted(each) else (),
        )
        for each in raw["runner_groups"]
    ]


def _is_restricted(raw: Mapping[str, Any]) -> bool:
    return bool(raw.get("restricted_to_workflows"))


def names(raw: Mapping[str, Any]) -> Iterable[str]:
    """The owner/name of each repository in a page."""
    return [str(each["full_name"]) for each in raw["repositories"]]
