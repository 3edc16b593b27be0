"""Turns the jobs of one workflow into jobs for the emulated GitHub.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#jobs
"""

import graphlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bridge.emulator.expressions import Context, Ended, Unevaluable, Variant, holds, variants
from bridge.emulator.jobs import JobResult, JobSpec, Strategy

MAX_NAME = 100
"""Characters after which GitHub cuts a name with matrix values."""

MAX_MATRIX = 256
"""Jobs in a matrix: https://docs.github.com/en/actions/reference/limits"""

_MESSAGE_KEYS = frozenset({"env", "outputs", "steps"})
"""Keys of a job that its runner gets. GitHub itself handles the others."""

_EVALUATED = ("runs-on", "timeout-minutes", "continue-on-error")
"""Keys of a job, besides its name, that may contain expressions."""

_FOREIGN_CHECKOUT = frozenset({"repository", "ref", "ssh-key"})
_NEEDS = re.compile(r"\$\{\{[^}]*\bneeds\b")
_UNKNOWN_CONTEXTS = re.compile(
    r"\bstrategy\.(?:job-index|job-total|max-parallel|fail-fast)\b|toJSON\(\s*strategy\b|\bgithub\.event\.inputs\b"
)

Job = Mapping[str, Any]
"""A job as in the workflow file."""


class WorkflowError(Exception):
    """GitHub would reject this workflow."""


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """A variant of a job, with everything that its message consists of."""

    key: str
    id: str
    job: Job
    variant: Variant
    before: Mapping[str, "_Earlier"]  # by job id: the jobs that it needs, directly or not
    condition: "_Condition"
    workflow: Mapping[str, Any]
    context: Context
    unsupported: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Earlier:
    """A job that another job needs."""

    keys: tuple[str, ...]  # of its variants
    needs: tuple[str, ...]

    def ended(self, results: Mapping[str, JobResult]) -> Ended:
        """The combined result of all its variants."""
        return Ended(result=_combined([results[key] for key in self.keys]), needs=self.needs)


class _Condition:
    """The `if` of a job. All its variants share it, so that act evaluates it only once."""

    def __init__(self, job: Job, context: Context) -> None:
        self._job = job
        self._context = context
        self._before: Mapping[str, Ended] | None = None
        self._answer: bool | None = None
        self.error = ""

    def holds(self, before: Mapping[str, Ended]) -> bool | None:
        """Whether the job runs after these results; None if the condition cannot be evaluated."""
        if self._before != before:
            self._before, self._answer = before, self._evaluate(before)
        return self._answer

    def _evaluate(self, before: Mapping[str, Ended]) -> bool | None:
        if "if" not in self._job:
            return all(ended.result.conclusion == "success" for ended in before.values())
        try:
            return holds(self._job["if"], _needs(self._job), before, self._context)
        except Unevaluable as error:
            self.error = str(error)
            return None


def job_specs(workflow: Mapping[str, Any], context: Context) -> tuple[JobSpec, ...]:
    """The jobs of a workflow in the order of the file, each matrix expanded.

    Raises:
        WorkflowError: a needed job does not exist, or jobs need each other.
    """
    jobs: Mapping[str, Job] = workflow["jobs"]
    planned: dict[str, tuple[_Planned, ...]] = {}
    for job_id in _in_order_of_need(jobs):
        planned[job_id] = tuple(_plan(job_id, workflow, context, planned))
    return tuple(_spec(each) for job_id in jobs for each in planned[job_id])


def _in_order_of_need(jobs: Mapping[str, Job]) -> Iterable[str]:
    unknown = {need for job in jobs.values() for need in _needs(job)} - jobs.keys()
    if unknown:
        raise WorkflowError(f"a job needs '{min(unknown)}', but there is no such job")
    try:
        return tuple(graphlib.TopologicalSorter({key: _needs(jobs[key]) for key in jobs}).static_order())
    except graphlib.CycleError as error:
        raise WorkflowError(f"jobs need each other: {' -> '.join(error.args[1])}") from error


def _plan(
    job_id: str, workflow: Mapping[str, Any], context: Context, planned: Mapping[str, tuple[_Planned, ...]]
) -> Iterator[_Planned]:
    job: Job = workflow["jobs"][job_id]
    unsupported = _unsupported(job) or _unsupported_need(job, planned)
    found: tuple[Variant, ...] = (Variant(name=_display_name(job_id, job), settings=_settings(job)),)
    if not unsupported:
        try:
            found = _variants(job_id, job, context)
        except Unevaluable as error:
            unsupported = f"an expression cannot be evaluated: {error}"
    condition = _Condition(job, context)
    if not unsupported and not _needs(job):
        condition.holds({})  # now, because act would delay the emulator later
    for number, variant in enumerate(found, 1):
        yield _Planned(
            key=f"{job_id}/{number}" if len(found) > 1 else job_id,
            id=job_id,
            job=job,
            variant=variant,
            before=_before(job, planned),
            condition=condition,
            workflow=workflow,
            context=context,
            unsupported=unsupported,
        )


def _before(job: Job, planned: Mapping[str, tuple[_Planned, ...]]) -> Mapping[str, _Earlier]:
    """All jobs that a job needs, directly or not; each after the jobs that it needs."""
    found: dict[str, _Earlier] = {}
    for need in _needs(job):
        variants_of = planned[need]
        found |= variants_of[0].before
        found[need] = _Earlier(keys=tuple(each.key for each in variants_of), needs=_needs(variants_of[0].job))
    return found


def _spec(planned: _Planned) -> JobSpec:
    settings = planned.variant.settings
    needs = _needs(planned.job)
    return JobSpec(
        key=planned.key,
        name=re.sub(r"[\r\n]+", " ", planned.variant.name),  # the runner prints it on one line
        labels=_labels(settings.get("runs-on")),
        group=_group(settings.get("runs-on")),
        needs=tuple(key for need in needs for key in planned.before[need].keys),
        message=partial(_message, planned),
        strategy=_strategy(planned.id, planned.job.get("strategy")),
        timeout=None if planned.unsupported else _minutes(settings),
        tolerated=settings.get("continue-on-error") is True,
        unsupported=planned.unsupported,
    )


def _strategy(job_id: str, strategy: Mapping[str, Any] | None) -> Strategy | None:
    if not strategy or "matrix" not in strategy:
        return None
    return Strategy(
        job_id=job_id,
        max_parallel=strategy.get("max-parallel"),
        fail_fast=strategy.get("fail-fast", True),
    )


def _message(planned: _Planned, results: Mapping[str, JobResult]) -> Mapping[str, object] | None:
    before = {job_id: earlier.ended(results) for job_id, earlier in planned.before.items()}
    holds = planned.condition.holds(before)
    if holds is False:
        return None
    if holds is None:
        return {"error": planned.condition.error}
    needs = {need: before[need].result for need in _needs(planned.job)}
    context = planned.context
    return {
        "workflow": {"name": context.workflow, "on": context.on, "jobs": {planned.id: _only_job(planned)}},
        "job": planned.id,
        "event": context.event,
        "ref": context.ref,
        "needs": {need: {"result": each.conclusion, "outputs": each.outputs} for need, each in needs.items()},
        "matrix": planned.variant.matrix,
    }


def _only_job(planned: _Planned) -> dict[str, object]:
    """The keys of the job that its runner needs, with the workflow's own `env` and `defaults`."""
    job, workflow = planned.job, planned.workflow
    return {
        **{key: value for key, value in job.items() if key in _MESSAGE_KEYS},
        "env": {**workflow.get("env", {}), **job.get("env", {})},
        "defaults": {"run": {**workflow.get("defaults", {}).get("run", {}), **job.get("defaults", {}).get("run", {})}},
    }


def _combined(results: Sequence[JobResult]) -> JobResult:
    """The combined result of the variants of a job. Of outputs with the same name, the last one counts."""
    conclusions = {result.conclusion for result in results}
    worst = next(each for each in ("failure", "cancelled", "success", "skipped") if each in conclusions)
    outputs = {name: value for result in results for name, value in result.outputs.items()}
    return JobResult(conclusion=worst, outputs=outputs)


def _variants(job_id: str, job: Job, context: Context) -> tuple[Variant, ...]:
    name, settings, matrix = _display_name(job_id, job), _settings(job), (job.get("strategy") or {}).get("matrix")
    if matrix is None and "${{" not in f"{name}{settings}":
        _minutes(settings)
        return (Variant(name=name, settings=settings),)
    found = variants(name, settings, {"matrix": matrix} if matrix else None, context)
    if matrix is not None and not all(variant.matrix for variant in found):
        raise Unevaluable("the matrix is empty")
    if len(found) > MAX_MATRIX:
        raise WorkflowError(f"job {job_id}: the matrix has {len(found)} jobs; the limit is {MAX_MATRIX}")
    for each in found:
        _minutes(each.settings)
    if matrix is None or "${{" in name:
        return found
    return tuple(replace(each, name=_with_values(name, each.matrix, matrix)) for each in found)


def _minutes(settings: Mapping[str, Any]) -> float | None:
    timeout = settings.get("timeout-minutes")
    try:
        return None if timeout is None else float(timeout)
    except (TypeError, ValueError):
        raise Unevaluable(f"timeout-minutes is not a number: {timeout}") from None


def _settings(job: Job) -> dict[str, Any]:
    return {key: job[key] for key in _EVALUATED if key in job}


def _display_name(job_id: str, job: Job) -> str:
    return str(job.get("name", job_id))


def _with_values(name: str, values: Mapping[str, object], matrix: object) -> str:
    """The name with the values in the order of the matrix, as GitHub shows it: `build (a, b)`."""
    order = _matrix_keys(matrix)
    keys = sorted(values, key=lambda key: (order.index(key) if key in order else len(order), key))
    full = f"{name} ({', '.join(text for key in keys for text in _texts(values[key]))})"
    return full if len(full) <= MAX_NAME else full[: MAX_NAME - 3] + "..."


def _matrix_keys(matrix: object) -> list[str]:
    """The keys in the order of the file; empty if the matrix is an expression."""
    if not isinstance(matrix, Mapping):
        return []
    included = matrix.get("include", ())
    extra = (key for entry in included if isinstance(entry, Mapping) for key in entry)
    own = (key for key in matrix if key not in ("include", "exclude"))
    return list(dict.fromkeys([*own, *extra]))


def _texts(value: object) -> Iterator[str]:
    """The scalars in a matrix value, as GitHub writes them."""
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


def _group(runs_on: object) -> str | None:
    group = runs_on.get("group") if isinstance(runs_on, Mapping) else None
    return None if group is None else str(group)


def _needs(job: Job) -> tuple[str, ...]:
    needs = job.get("needs", ())
    return (needs,) if isinstance(needs, str) else tuple(needs)


def _unsupported(job: Job) -> str | None:
    """Why the stand-in cannot run a job; None if it can."""
    if "uses" in job:
        return f"it calls the reusable workflow {job['uses']}"
    if "container" in job:
        return "it runs in a container"
    if "services" in job:
        return "it needs service containers"
    if "concurrency" in job:
        return "it has a concurrency group"
    strategy = job.get("strategy") or {}
    if _NEEDS.search(f"{strategy.get('matrix')}{_settings(job)}{job.get('name')}"):
        return "its matrix, name, runs-on, timeout or continue-on-error depends on the outputs of another job"
    if "${{" in f"{strategy.get('max-parallel')}{strategy.get('fail-fast')}":
        return "its max-parallel or fail-fast is an expression"
    if unknown := _UNKNOWN_CONTEXTS.search(json.dumps(job)):
        return f"it uses {unknown[0]}"
    return next((reason for step in job.get("steps", ()) if (reason := _unsupported_step(step))), None)


def _unsupported_step(step: Job) -> str | None:
    uses = step.get("uses")
    if not uses or str(uses).startswith("./"):  # an action of the repository itself
        return None
    if not re.fullmatch(r"actions/checkout@.+", str(uses)):
        return f"a step uses {uses}; the demo supports only run:, actions/checkout and actions of the repository itself"
    if _FOREIGN_CHECKOUT & (step.get("with") or {}).keys():
        return "a step checks out something other than the run's commit"
    return None


def _unsupported_need(job: Job, planned: Mapping[str, tuple[_Planned, ...]]) -> str | None:
    blocked = (need for need in _needs(job) if planned[need][0].unsupported)
    return next((f"it needs '{need}', which cannot run here" for need in blocked), None)
