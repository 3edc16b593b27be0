"""Turns the jobs of one workflow, and of the workflows that it calls, into jobs for the emulated GitHub.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#jobs
"""

import graphlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bridge.emulator.calls import Files, called, is_local, outputs
from bridge.emulator.expressions import Context, Ended, Unevaluable, Variant, holds, literal, stubs
from bridge.emulator.job_settings import Job, group_of, labels_of, needs_of
from bridge.emulator.job_variants import Expanded, WorkflowError, expanded, minutes, unexpanded
from bridge.emulator.jobs import JobResult, JobSpec, Strategy
from bridge.emulator.matrix import MatrixError
from bridge.emulator.unsupported import Reason, depends_on_outputs, reason_against

_MESSAGE_KEYS = frozenset({"env", "outputs", "steps"})
"""Keys of a job that its runner gets. GitHub itself handles the others."""

Results = Mapping[str, JobResult]
"""The results of ended jobs, by the key of their JobSpec."""


@dataclass(frozen=True, kw_only=True)
class _Earlier:
    """A job that another job needs."""

    keys: tuple[str, ...]  # of everything that it consists of
    needs: tuple[str, ...]
    result: Callable[[Results], JobResult]

    def ended(self, results: Results) -> Ended:
        return Ended(result=self.result(results), needs=self.needs)


class _Condition:
    """The `if` of a job. All its variants share it, so that act evaluates it only once."""

    def __init__(self, job: Job, before: Mapping[str, _Earlier], context: Context) -> None:
        self._job = job
        self._earlier = before
        self._context = context
        self._before: Mapping[str, Ended] | None = None
        self._answer: bool | None = None

    def holds(self, results: Results) -> bool | None:
        """Whether the job runs after these results; None if the condition cannot be evaluated."""
        before = {job_id: earlier.ended(results) for job_id, earlier in self._earlier.items()}
        if self._before != before:
            self._before, self._answer = before, self._evaluate(before)
        return self._answer

    def _evaluate(self, before: Mapping[str, Ended]) -> bool | None:
        if "if" not in self._job:
            return all(ended.result.conclusion == "success" for ended in before.values())
        try:
            return holds(self._job["if"], needs_of(self._job), before, self._context)
        except Unevaluable:
            return None


@dataclass(frozen=True, kw_only=True)
class _Scope:
    """A workflow, and how it was called.

    Args:
        workflow: with its inputs in place.
        context: of the run.
        files: reads the other workflows of the repository.
        chain: paths of the workflows that led here, its own last.
        prefix: of the keys of its jobs.
        title: of the names of its jobs.
        conditions: of the jobs that called it.
        needs: keys that its jobs without `needs` wait for.
        unsupported: why no job in it can run here.
    """

    workflow: Mapping[str, Any]
    context: Context
    files: Files
    chain: tuple[str, ...]
    prefix: str = ""
    title: str = ""
    conditions: tuple[_Condition, ...] = ()
    needs: tuple[str, ...] = ()
    unsupported: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """A variant of a job, with everything that its message consists of."""

    key: str
    id: str
    job: Job
    variant: Variant
    strategy: Strategy | None
    before: Mapping[str, _Earlier]  # by job id: the jobs that it needs, directly or not
    condition: _Condition
    scope: _Scope
    unsupported: str | None


@dataclass(frozen=True, kw_only=True)
class _Group:
    """All that one job of a workflow consists of, and what other jobs see of it."""

    jobs: tuple[_Planned, ...]
    earlier: _Earlier
    before: Mapping[str, _Earlier]

    @property
    def unsupported(self) -> str | None:
        return next((each.unsupported for each in self.jobs if each.unsupported), None)


Groups = Mapping[str, _Group]


def job_specs(workflow: Mapping[str, Any], path: str, context: Context, files: Files) -> tuple[JobSpec, ...]:
    """The jobs of a workflow in the order of the file, each matrix and each local reusable workflow expanded.

    Args:
        workflow: as parsed.
        path: of its file in the repository.
        context: of the run.
        files: reads the workflows that it calls.

    Raises:
        WorkflowError: a needed job does not exist, or jobs need each other.
    """
    scope = _Scope(workflow=workflow, context=context, files=files, chain=(path,))
    return tuple(_spec(each) for group in _groups(scope).values() for each in group.jobs)


def _groups(scope: _Scope) -> Groups:
    """The jobs of one workflow by id, in the order of the file."""
    jobs: Mapping[str, Job] = scope.workflow["jobs"]
    planned: dict[str, _Group] = {}
    for job_id in _in_order_of_need(jobs):
        planned[job_id] = _group(job_id, scope, planned)
    return {job_id: planned[job_id] for job_id in jobs}


def _in_order_of_need(jobs: Mapping[str, Job]) -> Iterable[str]:
    unknown = {need for job in jobs.values() for need in needs_of(job)} - jobs.keys()
    if unknown:
        raise WorkflowError(f"a job needs '{min(unknown)}', but there is no such job")
    try:
        return tuple(graphlib.TopologicalSorter({key: needs_of(jobs[key]) for key in jobs}).static_order())
    except graphlib.CycleError as error:
        raise WorkflowError(f"jobs need each other: {' -> '.join(error.args[1])}") from error


def _group(job_id: str, scope: _Scope, planned: Groups) -> _Group:
    """Plan a job: its variants, or for each of them the jobs of the workflow that it calls."""
    job: Job = scope.workflow["jobs"][job_id]
    found, reason = _expand(job_id, job, scope, planned)
    before = _before(job, planned)
    condition = _Condition(job, before, scope.context)
    if not reason and not before:
        condition.holds({})  # now, because act would delay the emulator later
    variants = [
        _Planned(
            key=f"{scope.prefix}{job_id}/{number}" if len(found.variants) > 1 else f"{scope.prefix}{job_id}",
            id=job_id,
            job=job,
            variant=variant,
            strategy=_strategy(f"{scope.prefix}{job_id}", found.strategy),
            before=before,
            condition=condition,
            scope=scope,
            unsupported=reason,
        )
        for number, variant in enumerate(found.variants, 1)
    ]
    return _of_calls(variants) if "uses" in job else _of_variants(variants)


def _of_variants(variants: Sequence[_Planned]) -> _Group:
    keys = tuple(each.key for each in variants)
    earlier = _Earlier(keys=keys, needs=needs_of(variants[0].job), result=partial(_combined_of, keys))
    return _Group(jobs=tuple(variants), earlier=earlier, before=variants[0].before)


def _of_calls(callers: Sequence[_Planned]) -> _Group:
    calls = [_call(each) for each in callers]
    jobs = tuple(job for call in calls for job in call.jobs)
    earlier = _Earlier(
        keys=tuple(job.key for job in jobs),
        needs=needs_of(callers[0].job),
        result=lambda results: _combined([call.earlier.result(results) for call in calls]),
    )
    return _Group(jobs=jobs, earlier=earlier, before=callers[0].before)


def _call(caller: _Planned) -> _Group:
    """The jobs of the workflow that one variant of a job calls; the job itself if it cannot be called here."""
    uses = caller.job["uses"]
    if not is_local(uses):
        return _of_variants([replace(caller, unsupported=Reason.REMOTE.of(uses=uses))])
    scope = caller.scope
    given = caller.variant.settings.get("with") or {}
    try:
        workflow = called(uses, given, scope.files, scope.context, scope.chain)
        groups = _groups(_scope_of_call(caller, workflow))
    except (WorkflowError, Unevaluable) as error:
        return _of_variants([replace(caller, unsupported=Reason.CALLED.of(uses=uses, why=error))])
    jobs = tuple(job for group in groups.values() for job in group.jobs)
    result = partial(_result_of_call, workflow, groups, scope.context)
    earlier = _Earlier(keys=tuple(job.key for job in jobs), needs=(), result=result)
    return _Group(jobs=jobs, earlier=earlier, before=caller.before)


def _scope_of_call(caller: _Planned, workflow: Mapping[str, Any]) -> _Scope:
    scope = caller.scope
    return replace(
        scope,
        workflow=workflow,
        chain=(*scope.chain, caller.job["uses"].removeprefix("./")),
        prefix=f"{caller.key}/",
        title=f"{scope.title}{caller.variant.name} / ",
        conditions=(*scope.conditions, caller.condition),
        needs=_direct(caller),
        unsupported=caller.unsupported,
    )


def _result_of_call(workflow: Mapping[str, Any], groups: Groups, context: Context, results: Results) -> JobResult:
    ended = {job_id: group.earlier.result(results) for job_id, group in groups.items()}
    conclusion = _combined(list(ended.values())).conclusion
    return JobResult(conclusion=conclusion, outputs=outputs(workflow, ended, context))


def _expand(job_id: str, job: Job, scope: _Scope, planned: Groups) -> tuple[Expanded, str | None]:
    """Expand a job as far as possible; why it cannot run here, or None."""
    reason = scope.unsupported or reason_against(job) or _unsupported_need(job, planned)
    if depends_on_outputs(job):
        return unexpanded(job_id, job), reason
    try:
        return expanded(job_id, job, scope.context), reason
    except Unevaluable as error:
        return unexpanded(job_id, job), reason or Reason.EXPRESSION.of(why=error)
    except MatrixError as error:
        return unexpanded(job_id, job), reason or Reason.MATRIX.of(why=error)


def _unsupported_need(job: Job, planned: Groups) -> str | None:
    blocked = next((need for need in needs_of(job) if planned[need].unsupported), None)
    return blocked and Reason.NEED.of(need=blocked)


def _before(job: Job, planned: Groups) -> Mapping[str, _Earlier]:
    """All jobs that a job needs, directly or not; each after the jobs that it needs."""
    found: dict[str, _Earlier] = {}
    for need in needs_of(job):
        found |= planned[need].before
        found[need] = planned[need].earlier
    return found


def _direct(planned: _Planned) -> tuple[str, ...]:
    """The keys that a job waits for. The first jobs of a called workflow wait for what their caller waits for."""
    own = tuple(key for need in needs_of(planned.job) for key in planned.before[need].keys)
    return own or planned.scope.needs


def _spec(planned: _Planned) -> JobSpec:
    settings = planned.variant.settings
    return JobSpec(
        key=planned.key,
        name=re.sub(
            r"[\r\n]+", " ", f"{planned.scope.title}{planned.variant.name}"
        ),  # the runner prints it on one line
        labels=labels_of(settings.get("runs-on")),
        group=group_of(settings.get("runs-on")),
        needs=_direct(planned),
        message=partial(_message, planned),
        strategy=planned.strategy,
        timeout=None if planned.unsupported else minutes(settings),
        tolerated=settings.get("continue-on-error") is True,
        unsupported=planned.unsupported,
    )


def _strategy(job_id: str, strategy: Mapping[str, Any]) -> Strategy | None:
    if "matrix" not in strategy:
        return None
    return Strategy(
        job_id=job_id,
        max_parallel=strategy.get("max-parallel"),
        fail_fast=strategy.get("fail-fast", True),
    )


def _message(planned: _Planned, results: Results) -> Mapping[str, object] | None:
    answers = [condition.holds(results) for condition in (*planned.scope.conditions, planned.condition)]
    if False in answers or None in answers[:-1]:
        return None
    # The runner evaluates a condition that failed here again: it fails the job, and the job's log says why.
    condition: object = planned.job["if"] if answers[-1] is None else "${{ always() }}"
    context = planned.scope.context
    needs = {need: Ended(result=planned.before[need].result(results)) for need in needs_of(planned.job)}
    jobs = {**stubs(needs), planned.id: _only_job(planned) | {"if": condition}}
    return {
        "workflow": {"name": literal(context.workflow), "on": context.on, "jobs": jobs},
        "job": planned.id,
        "event": context.event,
        "ref": context.ref,
    }


def _only_job(planned: _Planned) -> dict[str, object]:
    """The job as its runner gets it: for one combination of the matrix, and for this machine.

    The workflow's own `env` and `defaults` are merged into the job, so that they do not apply to the stubs.
    """
    job, workflow, matrix = planned.job, planned.scope.workflow, planned.variant.matrix
    return {
        **{key: value for key, value in job.items() if key in _MESSAGE_KEYS},
        "env": {**workflow.get("env", {}), **_env(planned)},
        "defaults": {"run": {**workflow.get("defaults", {}).get("run", {}), **job.get("defaults", {}).get("run", {})}},
        "needs": list(needs_of(job)),
        "runs-on": "self-hosted",
        **({"strategy": {"matrix": {"include": [literal(matrix)]}}} if matrix else {}),
    }


def _env(planned: _Planned) -> Mapping[str, object]:
    """The `env` of a job, which may be one expression. An evaluated value must not be evaluated again."""
    found = planned.variant.settings.get("env")
    return {str(key): literal(value) for key, value in found.items()} if found else planned.job.get("env") or {}


def _combined_of(keys: Iterable[str], results: Results) -> JobResult:
    return _combined([results[key] for key in keys])


def _combined(results: Sequence[JobResult]) -> JobResult:
    """The combined result of the variants of a job. Of outputs with the same name, the last one counts."""
    conclusions = {result.conclusion for result in results}
    worst = next(each for each in ("failure", "cancelled", "success", "skipped") if each in conclusions)
    found = {name: value for result in results for name, value in result.outputs.items()}
    return JobResult(conclusion=worst, outputs=found)
