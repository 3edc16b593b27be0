"""A local git repository's workflows as runs for the GitHub emulator. https://docs.github.com/en/actions/reference"""

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from bridge.emulator.expressions import Context, Unevaluable, variants
from bridge.emulator.jobs import RunSpec
from bridge.emulator.workflow_checks import check
from bridge.emulator.workflow_jobs import WorkflowError, job_specs

FOLDER = ".github/workflows/"

DETACHED = "detached"
"""The branch that a commit is said to be of when none is checked out."""

_GLOB = {"**": ".*", "*": "[^/]*", ".": r"\."}
"""GitHub's filter patterns as regular expressions; `?`, `+` and `[]` mean the same in both."""


def runs_of(repository: Path, event: str = "push", *, full_name: str | None = None) -> tuple[RunSpec, ...]:
    """The runs that `event` triggers on the commit that is checked out.

    Args:
        repository: a git repository.
        event: such as push or workflow_dispatch.
        full_name: owner/name, for the `github` context.

    Raises:
        WorkflowError: there is no commit, or a workflow that GitHub would refuse.
        FileNotFoundError: git or act is not installed.
    """
    sha = _git(repository, "rev-parse", "--verify", "--quiet", "HEAD", silent="it has no commit").strip()
    branch = _branch(repository)
    context = Context(
        event=event,
        ref=f"refs/heads/{branch}",
        sha=sha,
        repository=full_name or f"owner/{repository.resolve().name}",
    )
    names = _git(repository, "ls-tree", "-z", "--full-tree", "--name-only", sha, FOLDER).split("\0")
    paths = (name for name in names if name.endswith((".yml", ".yaml")))
    runs = (_run(path, _git(repository, "show", f"{sha}:{path}"), context, branch) for path in paths)
    return tuple(run for run in runs if run)


def top_level(path: Path) -> Path:
    """The repository that a folder is part of; a bare one is its own.

    Raises:
        WorkflowError: it is part of none.
        FileNotFoundError: git is not installed.
    """
    if _git(path, "rev-parse", "--is-bare-repository").strip() == "true":
        return path.resolve()
    return Path(_git(path, "rev-parse", "--show-toplevel").removesuffix("\n"))


def _branch(repository: Path) -> str:
    try:
        return _git(repository, "symbolic-ref", "--quiet", "--short", "HEAD").strip()
    except WorkflowError:
        return DETACHED


def _run(path: str, text: str, context: Context, branch: str) -> RunSpec | None:
    try:
        workflow = _read(text)
        check(workflow)
        if not triggers(workflow.get("on"), context.event, branch):
            return None
        context = replace(context, workflow=str(workflow.get("name", path)), inputs=_inputs(workflow["on"], context))
        jobs = job_specs(workflow, context)
        concurrency = _concurrency(workflow.get("concurrency"), context)
    except WorkflowError as error:
        raise WorkflowError(f"{path}: {error}") from error
    return RunSpec(
        workflow=context.workflow,
        path=path,
        event=context.event,
        sha=context.sha,
        branch=branch,
        jobs=jobs,
        concurrency=concurrency,
    )


def _inputs(on: object, context: Context) -> Mapping[str, object]:
    """What a workflow that is dispatched by hand declares; each input then has its default."""
    if context.event != "workflow_dispatch" or not isinstance(on, Mapping):
        return {}
    return (on[context.event] or {}).get("inputs") or {}


def _concurrency(given: object, context: Context) -> str | None:
    """The group of a run, evaluated."""
    group = given.get("group") if isinstance(given, Mapping) else given
    if not isinstance(group, str) or "${{" not in group:
        return None if group is None else str(group)
    try:
        (found,) = variants(group, {}, None, context)
    except Unevaluable as error:
        raise WorkflowError(f"concurrency cannot be evaluated: {' '.join(str(error).split())}") from error
    return found.name


def _read(text: str) -> Mapping[str, Any]:
    try:
        text.encode()
        workflow = yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader
    except UnicodeEncodeError:
        raise WorkflowError("it is not UTF-8") from None
    except yaml.YAMLError as error:
        raise WorkflowError(_in_one_line(error)) from error
    if not isinstance(workflow, dict) or not isinstance(workflow.get("jobs"), dict) or not workflow["jobs"]:
        raise WorkflowError("it has no jobs")
    return workflow


def _in_one_line(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error).partition("\n")[0]


def triggers(on: object, event: str, branch: str) -> bool:
    """Whether a workflow's `on` answers to `event`; of its filters those for pushed branches count."""
    if isinstance(on, str):
        return on == event
    if isinstance(on, Sequence):
        return event in on
    if not isinstance(on, Mapping) or event not in on:
        return False
    return event != "push" or _admits(on[event] or {}, branch)


def _admits(push: Mapping[str, Sequence[str]], branch: str) -> bool:
    if "branches" in push:
        return _matches(_listed(push["branches"]), branch)
    if "branches-ignore" in push:
        return not _matches(_listed(push["branches-ignore"]), branch)
    return not push.keys() & {"tags", "tags-ignore"}


def _matches(patterns: Sequence[str], branch: str) -> bool:
    """Whether the last pattern that meets the branch is not one with `!`."""
    met = [pattern for pattern in patterns if _expression(pattern.removeprefix("!")).fullmatch(branch)]
    return bool(met) and not met[-1].startswith("!")


def _expression(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile("".join(_GLOB.get(part, part) for part in re.split(r"(\*\*|\*|\.)", pattern)))
    except re.error:
        raise WorkflowError(f"'{pattern}' is no pattern") from None


def _listed(value: str | Sequence[str]) -> Sequence[str]:
    return (value,) if isinstance(value, str) else value


def _git(repository: Path, *arguments: str, silent: str = "git failed") -> str:
    """What git prints; an error is its own first line, or what it means that it says nothing."""
    command = ["git", "-C", str(repository), *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False)
    if done.returncode:
        why = done.stderr.strip().partition("\n")[0]
        raise WorkflowError(f"{repository}: {why or silent}")
    return done.stdout


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core schema, as GitHub reads it: `on`, `yes` and dates are text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  # as PyYAML has it

    def construct_integer(self, node: yaml.ScalarNode) -> Any:
        """Read a decimal, `0x` or `0o` number."""
        return int(node.value, 0)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_integer)
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)
