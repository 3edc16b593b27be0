"""What GitHub refuses in a workflow before it runs any of it, as far as the emulator would stumble over it."""

import re
from collections.abc import Mapping
from typing import Any

from bridge.emulator.workflow_jobs import WorkflowError

Kinds = type | tuple[type, ...]

_WORKFLOW: Mapping[str, Kinds] = {"env": Mapping, "defaults": Mapping}
_JOB: Mapping[str, Kinds] = {
    "defaults": Mapping,
    "env": Mapping,
    "continue-on-error": (bool, str),
    "needs": (str, list),
    "outputs": Mapping,
    "steps": list,
    "strategy": Mapping,
    "timeout-minutes": (int, float, str),
}
_STRATEGY: Mapping[str, Kinds] = {"matrix": (Mapping, str), "max-parallel": (int, str), "fail-fast": (bool, str)}
_DYNAMIC = frozenset({"continue-on-error", "timeout-minutes", "max-parallel", "fail-fast"})
"""Keys whose value is a text only where that is an expression."""

_STEP: Mapping[str, Kinds] = {"env": (Mapping, str), "with": Mapping}
_FILTERS = ("branches", "branches-ignore", "tags", "tags-ignore")


def check(workflow: Mapping[str, Any]) -> None:
    """Look a workflow over that has jobs.

    Raises:
        WorkflowError: GitHub would refuse it.
    """
    _check_kinds(workflow, _WORKFLOW, "")
    _check_kinds(workflow.get("defaults", {}), {"run": Mapping}, "defaults: ")
    on = workflow.get("on")
    if isinstance(on, Mapping):
        _check_push(on.get("push"))
        _check_inputs(on.get("workflow_dispatch"))
    for job_id, job in workflow["jobs"].items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", str(job_id)):
            raise WorkflowError(f"'{job_id}' is no name for a job")
        _check_job(job, f"job {job_id}: ")


def _check_inputs(dispatch: object) -> None:
    if dispatch is None:
        return
    if not isinstance(dispatch, Mapping):
        raise WorkflowError("workflow_dispatch: it is no mapping")
    inputs = dispatch.get("inputs") or {}
    if not isinstance(inputs, Mapping) or not all(isinstance(each, Mapping | None) for each in inputs.values()):
        raise WorkflowError("workflow_dispatch: inputs is of a wrong kind")


def _check_push(push: object) -> None:
    if push is None:
        return
    if not isinstance(push, Mapping):
        raise WorkflowError("push: it is no mapping")
    _check_kinds(push, dict.fromkeys(_FILTERS, (str, list)), "push: ")
    for name in push.keys() & _FILTERS:
        _check_texts(push[name], f"push: {name}")


def _check_job(job: object, where: str) -> None:
    if not isinstance(job, Mapping):
        raise WorkflowError(f"{where}it is empty, or no mapping")
    _check_kinds(job, _JOB, where)
    _check_kinds(job.get("defaults", {}), {"run": Mapping}, f"{where}defaults: ")
    _check_kinds(job.get("strategy", {}), _STRATEGY, f"{where}strategy: ")
    if job.get("strategy", {}).get("max-parallel") in (0, False):
        raise WorkflowError(f"{where}strategy: max-parallel allows no job")
    _check_texts(job.get("needs", ()), f"{where}needs")
    if "uses" not in job and job.get("runs-on") in (None, "", []):
        raise WorkflowError(f"{where}it has no runs-on")
    for step in job.get("steps", ()):
        if not isinstance(step, Mapping):
            raise WorkflowError(f"{where}a step is no mapping")
        _check_kinds(step, _STEP, f"{where}a step: ")


def _check_texts(value: Any, where: str) -> None:
    if not all(isinstance(each, str) for each in value):
        raise WorkflowError(f"{where} is no list of texts")


def _check_kinds(holder: Mapping[str, Any], kinds: Mapping[str, Kinds], where: str) -> None:
    for name in holder.keys() & kinds.keys():
        if holder[name] is None:
            raise WorkflowError(f"{where}{name} is empty")
        is_plain_text = isinstance(holder[name], str) and "${{" not in holder[name]
        if not isinstance(holder[name], kinds[name]) or (name in _DYNAMIC and is_plain_text):
            raise WorkflowError(f"{where}{name} is of a wrong kind")
