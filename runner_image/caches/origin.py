"""Decides which cache a job may use, by the event of its run. Pure."""

import re
from collections.abc import Mapping
from typing import Any

_NAME = re.compile(r"[a-z0-9_-]{1,100}/(?!\.{1,2}$)[a-z0-9._-]{1,100}")


def folder_of(repository: str) -> str | None:
    """The folder of a repository below the root of the caches, `owner/name`; None if this is no repository's name.

    Args:
        repository: as in GITHUB_REPOSITORY. GitHub ignores its case.
    """
    name = repository.lower()
    return name if _NAME.fullmatch(name) else None


def is_private(repository: str, event_name: str, event: object) -> bool:
    """Whether a job gets a cache of its own, because its code may come from a fork.

    Events: https://docs.github.com/actions/reference/workflows-and-actions/events-that-trigger-workflows

    Args:
        repository: that the job runs in.
        event_name: as in GITHUB_EVENT_NAME.
        event: the content of GITHUB_EVENT_PATH; None if it cannot be read.
    """
    if not isinstance(event, Mapping):
        return True
    if isinstance(event.get("workflow_run"), Mapping):
        return not _is_own(event["workflow_run"].get("head_repository"), repository)
    if isinstance(event.get("pull_request"), Mapping):
        head = event["pull_request"].get("head")
        return not isinstance(head, Mapping) or not _is_own(head.get("repo"), repository)
    if isinstance(event.get("issue"), Mapping) and event["issue"].get("pull_request"):
        return True  # a comment on a pull request, which does not say where its head is
    return event_name.startswith(("pull_request", "workflow_run"))


def _is_own(head: Any, repository: str) -> bool:
    """Whether a head is in this repository. The repository of a deleted fork is null."""
    name = head.get("full_name") if isinstance(head, Mapping) else None
    return isinstance(name, str) and name.lower() == repository.lower()
