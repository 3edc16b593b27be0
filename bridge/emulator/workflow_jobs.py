"""The jobs of one workflow as the GitHub emulator takes them."""

import graphlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bridge.emulator.expressions import Context, Unevaluable, Variant, holds, literal, stubs, variants
from bridge.emulator.jobs import JobResult, JobSpec

MAX_NAME = 100
"""Characters that GitHub leaves of a name with matrix values."""

_MESSAGE_KEYS = frozenset({"continue-on-error", "env", "outputs", "steps", "timeout-minutes"})
"""Keys of a job that its runner is told; the others were dealt with before it was queued."""

_FOREIGN_CHECKOUT = frozenset({"repository", "ref", "ssh-key"})
_NEEDS = re.compile(r"\$\{\{[^}]*\bneeds\b")

Job = Mapping[str, Any]
"""A job as the workflow has it."""


class WorkflowError(Exception):
    """A workflow that GitHub would refuse."""


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """A variant of a job, with all that its message is made from."""

    key: str
    id: str
    job: Job
    variant: Variant
    needs: Mapping[str, tuple[str, ...]]  # by job id, the keys of its variants
    workflow: Mapping[str, Any]
    context: Context
    unsupported: str | None = None


def job_specs(workflow: Mapping[str, Any], context: Context) -> tuple[JobSpec, ...]:
    """A workflow's jobs in the order of its file, each matrix expanded.

    Raises:
        WorkflowError: its jobs' needs are no order.
    """
    jobs: Mapping[str, Job] = workflow["jobs"]
    planned: dict[str, tuple[_Planned, ...]] = {}
    for job_id in _in_order_of_need(jobs):
        planned[job_id] = tuple(_plan(job_id, workflow, context, planned))
    return tuple(_spec(each) for job_id in jobs for each in planned[job_id])


def _in_order_of_need(jobs: Mapping[str, Job]) -> Iterable[str]:
    unknown = {need for job in jobs.values() for need in _needs(job)} - jobs.keys()
    if unknown:
        raise WorkflowError(f"a job needs '{min(unknown)}', which does not exist")
    try:
        return tuple(graphlib.TopologicalSorter({key: _needs(jobs[key]) for key in jobs}).static_order())
    except graphlib.CycleError as error:
        raise WorkflowError(f"its jobs need each other: {' -> '.join(error.args[1])}") from error


def _plan(
    job_id: str, workflow: Mapping[str, Any], context: Context, planned: Mapping[str, tuple[_Planned, ...]]
) -> Iterator[_Planned]:
    job: Job = workflow["jobs"][job_id]
    unsupported = _unsupported(job) or _unsupported_need(job, planned)
    found: tuple[Variant, ...] = (Variant(name=_display_name(job_id, job), runs_on=job.get("runs-on")),)
    if not unsupported:
        try:
            found = _variants(job_id, job, context)
        except Unevaluable as error:
            unsupported = f"it cannot be evaluated: {error}"
    for number, variant in enumerate(found, 1):
        yield _Planned(
            key=f"{job_id}/{number}" if len(found) > 1 else job_id,
            id=job_id,
            job=job,
            variant=variant,
            needs={need: tuple(each.key for each in planned[need]) for need in _needs(job)},
            workflow=workflow,
            context=context,
            unsupported=unsupported,
        )


def _spec(planned: _Planned) -> JobSpec:
    return JobSpec(
        key=planned.key,
        name=re.sub(r"[\r\n]+", " ", planned.variant.name),  # runners print it in one line
        labels=_labels(planned.variant.runs_on),
        needs=tuple(key for keys in planned.needs.values() for key in keys),
        message=partial(_message, planned),
        unsupported=planned.unsupported,
    )


def _message(planned: _Planned, results: Mapping[str, JobResult]) -> Mapping[str, object] | None:
    needs = {need: _combined([results[key] for key in keys]) for need, keys in planned.needs.items()}
    condition: object = "${{ always() }}"
    try:
        if not _is_wanted(planned, needs):
            return None
    except Unevaluable:  # its runner fails it, and says why
        condition = planned.job["if"]
    jobs = {**stubs(needs), planned.id: _only_job(planned) | {"if": condition}}
    return {
        "workflow": {"name": planned.workflow.get("name", ""), "on": planned.context.event, "jobs": jobs},
        "job": planned.id,
        "event": planned.context.event,
        "ref": planned.context.ref,
    }


def _is_wanted(planned: _Planned, needs: Mapping[str, JobResult]) -> bool:
    if "if" in planned.job:
        return holds(planned.job["if"], needs, planned.context)
    return all(result.conclusion == "success" for result in needs.values())


def _only_job(planned: _Planned) -> dict[str, object]:
    """The job as its runner gets it: decided, of one combination, on this machine.

    What the workflow sets for all its jobs is set here, so that the stubs go without.
    """
    job, workflow, matrix = planned.job, planned.workflow, planned.variant.matrix
    return {
        **{key: value for key, value in job.items() if key in _MESSAGE_KEYS},
        "env": {**workflow.get("env", {}), **job.get("env", {})},
        "defaults": {"run": {**workflow.get("defaults", {}).get("run", {}), **job.get("defaults", {}).get("run", {})}},
        "needs": list(planned.needs),
        "runs-on": "self-hosted",
        **({"strategy": {"matrix": {"include": [literal(matrix)]}}} if matrix else {}),
    }


def _combined(results: Sequence[JobResult]) -> JobResult:
    """How the variants of one job ended together; of outputs of one name the last stays."""
    conclusions = {result.conclusion for result in results}
    worst = next(each for each in ("failure", "cancelled", "success", "skipped") if each in conclusions)
    outputs = {name: value for result in results for name, value in result.outputs.items()}
    return JobResult(conclusion=worst, outputs=outputs)


def _variants(job_id: str, job: Job, context: Context) -> tuple[Variant, ...]:
    name, runs_on, strategy = _display_name(job_id, job), job.get("runs-on"), job.get("strategy")
    matrix = (strategy or {}).get("matrix")
    if matrix is None and "${{" not in f"{name}{runs_on}":
        return (Variant(name=name, runs_on=runs_on),)
    found = variants(name, runs_on, {"matrix": matrix} if matrix else None, context)
    if matrix is not None and not all(variant.matrix for variant in found):
        raise Unevaluable("its matrix is empty")
    if matrix is None or "${{" in name:
        return found
    return tuple(
        Variant(name=_with_values(name, each.matrix, matrix), runs_on=each.runs_on, matrix=each.matrix)
        for each in found
    )


def _display_name(job_id: str, job: Job) -> str:
    return str(job.get("name", job_id))


def _with_values(name: str, values: Mapping[str, object], matrix: object) -> str:
    """`build (a, b)`: the values in the order of the matrix, as GitHub shows them."""
    order = _matrix_keys(matrix)
    keys = sorted(values, key=lambda key: (order.index(key) if key in order else len(order), key))
    full = f"{name} ({', '.join(text for key in keys for text in _texts(values[key]))})"
    return full if len(full) <= MAX_NAME else full[: MAX_NAME - 3] + "..."


def _matrix_keys(matrix: object) -> list[str]:
    """The keys in the order of the file; none of a matrix that is an expression."""
    if not isinstance(matrix, Mapping):
        return []
    included = matrix.get("include", ())
    extra = (key for entry in included if isinstance(entry, Mapping) for key in entry)
    own = (key for key in matrix if key not in ("include", "exclude"))
    return list(dict.fromkeys([*own, *extra]))


def _texts(value: object) -> Iterator[str]:
    """The scalars within a matrix value, as GitHub writes them."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, bool):
        yield str(value).lower()
    elif value not in (None, ""):
        yield str(value)


def _labels(runs_on: object) -> tuple[str, ...]:
    if isinstance(runs_on, Mapping):
        return _labels(runs_on.get("labels"))
    if isinstance(runs_on, list):
        return tuple(label for each in runs_on for label in _labels(each))
    return () if runs_on is None else (str(runs_on),)


def _needs(job: Job) -> tuple[str, ...]:
    needs = job.get("needs", ())
    return (needs,) if isinstance(needs, str) else tuple(needs)


def _unsupported(job: Job) -> str | None:
    """Why the stand-in cannot run a job, if it cannot."""
    if "uses" in job:
        return f"it calls the reusable workflow {job['uses']}"
    if "container" in job:
        return "it runs in a container"
    if "services" in job:
        return "it needs service containers"
    matrix = (job.get("strategy") or {}).get("matrix")
    if _NEEDS.search(f"{matrix}{job.get('runs-on')}{job.get('name')}"):
        return "its matrix, name or runs-on depends on the outputs of another job"
    return next((reason for step in job.get("steps", ()) if (reason := _unsupported_step(step))), None)


def _unsupported_step(step: Job) -> str | None:
    uses = step.get("uses")
    if not uses:
        return None
    if not re.fullmatch(r"actions/checkout@.+", str(uses)):
        return f"a step uses {uses}; only run: and actions/checkout work here"
    if _FOREIGN_CHECKOUT & (step.get("with") or {}).keys():
        return "a step checks out something else than the run's own commit"
    return None


def _unsupported_need(job: Job, planned: Mapping[str, tuple[_Planned, ...]]) -> str | None:
    blocked = (need for need in _needs(job) if planned[need][0].unsupported)
    return next((f"it needs '{need}', which cannot run here" for need in blocked), None)
