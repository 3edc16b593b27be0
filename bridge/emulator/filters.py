"""Which workflows an event triggers: GitHub's filters of branches and paths. Pure.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#on
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from bridge.emulator.job_variants import WorkflowError

_FILTERS = ("types", "branches", "branches-ignore", "tags", "tags-ignore", "paths", "paths-ignore", "workflows")

_TOKEN = re.compile(r"\*\*/|\*\*|\*|[?+]|\[[A-Za-z0-9-]+\]|\\(?P<escaped>.)|(?P<plain>[^\[\\])", re.DOTALL)
"""The parts of a pattern:

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#filter-pattern-cheat-sheet
"""

_WILD = {"**/": "(?:.+/)?", "**": ".*", "*": "[^/]*"}
"""`**/` also matches nothing: `**/README.md` is an example of that page that matches `README.md`."""

Changed = Callable[[], Sequence[str]]
"""The paths that the pushed commit changed."""


def triggers(on: object, event: str, branch: str, changed: Changed) -> bool:
    """Whether a workflow's `on` includes `event`. For a push, all its filters of branches and paths must admit it.

    Raises:
        WorkflowError: a filter is invalid.
    """
    if isinstance(on, str):
        return on == event
    if isinstance(on, Sequence):
        return event in on
    if not isinstance(on, Mapping) or event not in on:
        return False
    push = _filters(on[event]) if event == "push" else {}
    return _admits_branch(push, branch) and _admits_paths(push, changed)


def not_applied(on: object, event: str) -> tuple[str, ...]:
    """The filters of `event` that the demo ignores, such as `pull_request.types`.

    Only a push is filtered: for other events the demo knows no base branch and no activity.
    """
    if event == "push" or not isinstance(on, Mapping):
        return ()
    given = _filters(on.get(event))
    return tuple(f"{event}.{name}" for name in _FILTERS if name in given)


def _filters(given: object) -> Mapping[str, object]:
    """The filters that are set. A filter without a value is none, as in `tags:` with nothing after it."""
    return {key: value for key, value in given.items() if value is not None} if isinstance(given, Mapping) else {}


def _admits_branch(push: Mapping[str, object], branch: str) -> bool:
    if "branches" in push:
        return _matches(_patterns(push, "branches"), branch)
    if "branches-ignore" in push:
        return not _matches(_patterns(push, "branches-ignore"), branch)
    return not push.keys() & {"tags", "tags-ignore"}


def _admits_paths(push: Mapping[str, object], changed: Changed) -> bool:
    """At least one changed path must match `paths`, or one must not match `paths-ignore`."""
    if "paths" in push:
        patterns = _patterns(push, "paths")
        return any(_matches(patterns, path) for path in changed())
    if "paths-ignore" in push:
        patterns = _patterns(push, "paths-ignore")
        return not all(_matches(patterns, path) for path in changed())
    return True


def _matches(patterns: Sequence[str], name: str) -> bool:
    """Whether the last pattern that matches the name does not start with `!`."""
    matching = [pattern for pattern in patterns if _expression(pattern.removeprefix("!")).fullmatch(name)]
    return bool(matching) and not matching[-1].startswith("!")


def _expression(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile("".join(_parts(pattern)), re.DOTALL)
    except re.error:
        raise _invalid(pattern) from None


def _parts(pattern: str) -> Iterator[str]:
    """The parts of a pattern as a regular expression; `?`, `+` and `[]` mean the same in both."""
    at = 0
    while at < len(pattern):
        found = _TOKEN.match(pattern, at)
        if found is None:
            raise _invalid(pattern)
        at = found.end()
        text = found["escaped"] or found["plain"]
        yield re.escape(text) if text else _WILD.get(found[0], found[0])


def _invalid(pattern: str) -> WorkflowError:
    return WorkflowError(f"push: '{pattern}' is not a valid pattern")


def _patterns(push: Mapping[str, object], key: str) -> Sequence[str]:
    value = push[key]
    patterns = [value] if isinstance(value, str) else value
    if not isinstance(patterns, list) or not all(isinstance(each, str) for each in patterns):
        raise WorkflowError(f"push: {key} must be a list of patterns")
    return patterns
