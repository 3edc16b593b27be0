"""Reusable workflows that a job calls: where they are, their inputs, and their outputs.

https://docs.github.com/en/actions/reference/workflows-and-actions/reusing-workflow-configurations
"""

from collections.abc import Callable, Mapping
from typing import Any

from bridge.emulator.expressions import Context, Unevaluable
from bridge.emulator.job_variants import WorkflowError, evaluated
from bridge.emulator.jobs import JobResult
from bridge.emulator.substitution import substituted

MAX_LEVELS = 10
"""Workflows that may be connected, the first caller included; GitHub Enterprise Server has fewer:

https://docs.github.com/en/actions/how-tos/reuse-automations/reuse-workflows#nesting-reusable-workflows
"""

_LOCAL = "./.github/workflows/"
_DEFAULTS = {"boolean": False, "number": 0, "string": ""}

Files = Callable[[str], Mapping[str, Any]]
"""Reads a workflow of the commit by its path; raises WorkflowError if it is missing or invalid."""


def is_local(uses: object) -> bool:
    """Whether a job calls a workflow of its own repository and commit."""
    return str(uses).startswith(_LOCAL)


def called(uses: str, given: Mapping[str, Any], files: Files, context: Context, chain: tuple[str, ...]) -> Any:
    """The workflow that a job calls, with its inputs in place of the expressions that use them.

    Args:
        uses: such as ./.github/workflows/x.yml.
        given: the job's `with`, evaluated.
        files: reads the repository's workflows.
        context: of the run.
        chain: paths of the workflows that led here.

    Raises:
        WorkflowError: it cannot be called so.
        Unevaluable: the default of an input is invalid.
    """
    path = uses.removeprefix("./")
    if path in chain:
        raise WorkflowError("the workflow calls itself")
    if len(chain) >= MAX_LEVELS:
        raise WorkflowError(f"more than {MAX_LEVELS} levels of workflows")
    workflow = files(path)
    if "concurrency" in workflow:
        raise WorkflowError("it has a concurrency group")
    return substituted(workflow, "inputs", _inputs(_interface(workflow).get("inputs") or {}, given, context))


def _interface(workflow: Mapping[str, Any]) -> Mapping[str, Any]:
    """The `on.workflow_call` of a workflow; `on` may also be a name, or a list of names."""
    on = workflow.get("on")
    if on == "workflow_call" or (isinstance(on, list) and "workflow_call" in on):
        return {}
    if not isinstance(on, Mapping) or "workflow_call" not in on:
        raise WorkflowError("it has no workflow_call trigger")
    return on["workflow_call"] or {}


def _inputs(declared: Mapping[str, Any], given: Mapping[str, Any], context: Context) -> dict[str, object]:
    unknown = next((name for name in given if name not in declared), None)
    if unknown is not None:
        raise WorkflowError(f"it has no input {unknown}")
    missing = next((name for name, each in declared.items() if each.get("required") and name not in given), None)
    if missing is not None:
        raise WorkflowError(f"its input {missing} is missing")
    defaults = {name: each.get("default", _DEFAULTS.get(each.get("type"))) for name, each in declared.items()}
    return {**evaluated(defaults, context), **given}


def outputs(workflow: Mapping[str, Any], results: Mapping[str, JobResult], context: Context) -> dict[str, str]:
    """The outputs of a called workflow whose jobs have these results, by job id; none if they cannot be evaluated."""
    declared = _interface(workflow).get("outputs") or {}
    jobs = {key: {"result": each.conclusion, "outputs": dict(each.outputs)} for key, each in results.items()}
    values = {name: each.get("value", "") for name, each in declared.items()}
    try:
        found = evaluated(substituted(values, "jobs", jobs), context)
    except Unevaluable:
        return {}
    return {name: _text(value) for name, value in found.items()}


def _text(value: object) -> str:
    """An output as text: https://docs.github.com/en/actions/reference/workflows-and-actions/expressions#operators."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
