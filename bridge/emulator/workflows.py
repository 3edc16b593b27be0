"""Reads the workflows of a local git repository as runs for the emulated GitHub.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax
"""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from bridge.emulator.act import invalid
from bridge.emulator.expressions import Context, Unevaluable, variants
from bridge.emulator.filters import not_applied, triggers
from bridge.emulator.job_variants import WorkflowError
from bridge.emulator.jobs import RunSpec
from bridge.emulator.workflow_jobs import job_specs

FOLDER = ".github/workflows/"

DETACHED = "detached"
"""The branch of a commit if no branch is checked out."""


def runs_of(repository: Path, event: str = "push", *, full_name: str | None = None) -> tuple[RunSpec, ...]:
    """The runs that `event` triggers for the checked-out commit; a file that cannot be read is a run without jobs.

    Args:
        repository: a git repository.
        event: such as push or workflow_dispatch.
        full_name: owner/name, for the `github` context.

    Raises:
        WorkflowError: there is no commit.
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
    commit = _Commit(repository=repository, sha=sha, branch=branch)
    runs = (_run(path, commit, context) for path in commit.workflows())
    return tuple(run for run in runs if run)


@dataclass(frozen=True, kw_only=True)
class _Commit:
    """A commit of a local repository."""

    repository: Path
    sha: str
    branch: str

    def workflows(self) -> Iterator[str]:
        """The paths of its workflows."""
        names = _git(self.repository, "ls-tree", "-z", "--full-tree", "--name-only", self.sha, FOLDER).split("\0")
        return (name for name in names if name.endswith((".yml", ".yaml")))

    def text(self, path: str) -> str:
        return _git(self.repository, "show", f"{self.sha}:{path}")

    def workflow(self, path: str) -> Mapping[str, Any]:
        """A workflow that another one calls; raises WorkflowError if it is missing or invalid."""
        if path not in self.workflows():
            raise WorkflowError("there is no such file")
        text = self.text(path)
        workflow = _read(text)
        if workflow is None:
            raise WorkflowError("the file is empty")
        _check(text, workflow)
        return workflow

    def changed(self) -> Sequence[str]:
        """The paths that differ from its first parent, as in a push of this one commit."""
        options = ("--root", "--no-commit-id", "--name-only", "--no-renames", "-r", "-z", "--diff-merges=first-parent")
        return _git(self.repository, "diff-tree", *options, self.sha).split("\0")[:-1]


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


def _run(path: str, commit: _Commit, context: Context) -> RunSpec | None:
    """The run of a workflow; None if the event does not trigger it.

    GitHub, too, adds a failed run without jobs for a file that is invalid.
    """
    run = RunSpec(workflow=path, path=path, event=context.event, sha=commit.sha, branch=commit.branch, jobs=())
    try:
        text = commit.text(path)
        workflow = _read(text)
        if workflow is None or not triggers(workflow.get("on"), context.event, commit.branch, commit.changed):
            return None
        _check(text, workflow)
        context = replace(context, workflow=str(workflow.get("name", path)), inputs=_inputs(workflow["on"], context))
        return replace(
            run,
            workflow=context.workflow,
            jobs=job_specs(workflow, path, context, commit.workflow),
            concurrency=_concurrency(workflow.get("concurrency"), context),
            not_applied=not_applied(workflow["on"], context.event),
        )
    except WorkflowError as error:
        return replace(run, unsupported=" ".join(str(error).split()))


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


def _read(text: str) -> Mapping[str, Any] | None:
    """A workflow as GitHub parses it; None if the file has nothing but comments, which GitHub ignores."""
    try:
        text.encode()
        workflow = yaml.load(text, _Loader)  # noqa: S506  # a SafeLoader
    except UnicodeEncodeError:
        raise WorkflowError("the file is not UTF-8") from None
    except yaml.YAMLError as error:
        raise WorkflowError(_in_one_line(error)) from error
    if workflow is None:
        return None
    if not isinstance(workflow, dict) or not isinstance(workflow.get("jobs"), dict) or not workflow["jobs"]:
        raise WorkflowError("the workflow has no jobs")
    return workflow


def _check(text: str, workflow: Mapping[str, Any]) -> None:
    """Reject a workflow as GitHub would: by its schema, and by three rules that act does not check.

    Raises:
        WorkflowError: with the position or the job.
    """
    if error := invalid(_for_act(text, workflow)):
        raise WorkflowError(error)
    for job_id, job in workflow["jobs"].items():
        if "uses" not in job and not job.get("runs-on"):
            raise WorkflowError(f"job {job_id}: runs-on is missing")
        if "needs" in job and job["needs"] is None:
            raise WorkflowError(f"job {job_id}: needs is empty")
        if isinstance(strategy := job.get("strategy"), Mapping) and strategy.get("max-parallel") == 0:
            raise WorkflowError(f"job {job_id}: max-parallel must be at least 1")


def _for_act(text: str, workflow: Mapping[str, Any]) -> str:
    """The text without the strategies that are expressions: GitHub allows them, act does not.

    https://docs.github.com/en/actions/reference/workflows-and-actions/contexts#context-availability
    """
    jobs = {job_id: _without_expression(job) for job_id, job in workflow["jobs"].items()}
    return text if jobs == workflow["jobs"] else json.dumps({**workflow, "jobs": jobs})


def _without_expression(job: object) -> object:
    if not isinstance(job, dict):
        return job
    return {key: value for key, value in job.items() if key != "strategy" or not _is_expression(value)}


def _is_expression(value: object) -> bool:
    return isinstance(value, str) and "${{" in value


def _in_one_line(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error).partition("\n")[0]


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
