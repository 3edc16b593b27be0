"""Reads the workflows of a local git repository as runs for the emulated GitHub.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax
"""

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from bridge.emulator.act import invalid
from bridge.emulator.expressions import Context, Unevaluable, variants
from bridge.emulator.jobs import RunSpec
from bridge.emulator.workflow_jobs import WorkflowError, job_specs

FOLDER = ".github/workflows/"

DETACHED = "detached"
"""The branch of a commit if no branch is checked out."""

_GLOB = {"**": ".*", "*": "[^/]*", ".": r"\."}
"""GitHub's filter patterns as regular expressions; `?`, `+` and `[]` mean the same in both.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#filter-pattern-cheat-sheet
"""


def runs_of(repository: Path, event: str = "push", *, full_name: str | None = None) -> tuple[RunSpec, ...]:
    """The runs that `event` triggers for the checked-out commit.

    Args:
        repository: a git repository.
        event: such as push or workflow_dispatch.
        full_name: owner/name, for the `github` context.

    Raises:
        WorkflowError: there is no commit, or GitHub would reject a workflow.
        FileNotFoundError: git or act is not installed.
    """
    sha = _git(repository, "rev-parse", "--verify", "--quiet", "HEAD", silent="the repository has no commit").strip()
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
    """The root of the repository that contains a folder; a bare repository is its own root.

    Raises:
        WorkflowError: the folder is in no repository.
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
        if not triggers(workflow.get("on"), context.event, branch):
            return None
        _check(text, workflow)
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
    """The inputs that a workflow declares for `workflow_dispatch`; here each has its default value."""
    if context.event != "workflow_dispatch" or not isinstance(on, Mapping):
        return {}
    return (on[context.event] or {}).get("inputs") or {}


def _concurrency(given: object, context: Context) -> str | None:
    """The concurrency group of a run, evaluated."""
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
        raise WorkflowError("the file is not UTF-8") from None
    except yaml.YAMLError as error:
        raise WorkflowError(_in_one_line(error)) from error
    if not isinstance(workflow, dict) or not isinstance(workflow.get("jobs"), dict) or not workflow["jobs"]:
        raise WorkflowError("the workflow has no jobs")
    return workflow


def _check(text: str, workflow: Mapping[str, Any]) -> None:
    """Reject a workflow as GitHub would: by its schema, and by three rules that act does not check.

    Raises:
        WorkflowError: with the position or the job.
    """
    if error := invalid(text):
        raise WorkflowError(error)
    for job_id, job in workflow["jobs"].items():
        if "uses" not in job and not job.get("runs-on"):
            raise WorkflowError(f"job {job_id}: runs-on is missing")
        if "needs" in job and job["needs"] is None:
            raise WorkflowError(f"job {job_id}: needs is empty")
        if job.get("strategy", {}).get("max-parallel") == 0:
            raise WorkflowError(f"job {job_id}: max-parallel must be at least 1")


def _in_one_line(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error).partition("\n")[0]


def triggers(on: object, event: str, branch: str) -> bool:
    """Whether a workflow's `on` includes `event`. Only the branch filters of `push` are supported."""
    if isinstance(on, str):
        return on == event
    if isinstance(on, Sequence):
        return event in on
    if not isinstance(on, Mapping) or event not in on:
        return False
    push = on[event] if event == "push" else None
    return not isinstance(push, Mapping) or _admits(push, branch)


def _admits(push: Mapping[str, object], branch: str) -> bool:
    if "branches" in push:
        return _matches(_patterns(push["branches"]), branch)
    if "branches-ignore" in push:
        return not _matches(_patterns(push["branches-ignore"]), branch)
    return not push.keys() & {"tags", "tags-ignore"}


def _matches(patterns: Sequence[str], branch: str) -> bool:
    """Whether the last pattern that matches the branch does not start with `!`."""
    matching = [pattern for pattern in patterns if _expression(pattern.removeprefix("!")).fullmatch(branch)]
    return bool(matching) and not matching[-1].startswith("!")


def _expression(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile("".join(_GLOB.get(part, part) for part in re.split(r"(\*\*|\*|\.)", pattern)))
    except re.error:
        raise WorkflowError(f"push: '{pattern}' is not a valid pattern") from None


def _patterns(value: object) -> Sequence[str]:
    patterns = [value] if isinstance(value, str) else value
    if not isinstance(patterns, list) or not all(isinstance(each, str) for each in patterns):
        raise WorkflowError("push: branches must be a list of patterns")
    return patterns


def _git(repository: Path, *arguments: str, silent: str = "git failed") -> str:
    """The output of git. An error has the first line of git's message, or `silent` if git printed none."""
    command = ["git", "-C", str(repository), *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False)
    if done.returncode:
        why = done.stderr.strip().partition("\n")[0]
        raise WorkflowError(f"{repository}: {why or silent}")
    return done.stdout


class _Loader(yaml.SafeLoader):
    """The core schema of YAML 1.2, as GitHub uses it: `on`, `yes` and dates are strings."""

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
