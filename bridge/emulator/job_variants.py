"""The variants of a job: one for each combination of its matrix, with its settings evaluated."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bridge.emulator.expressions import Context, Unevaluable, Variant, literal, variants
from bridge.emulator.job_settings import Job, display_name, settings_of
from bridge.emulator.matrix import combinations

MAX_MATRIX = 256
"""Jobs in a matrix: https://docs.github.com/en/actions/reference/limits"""


class WorkflowError(Exception):
    """GitHub would reject this workflow."""


@dataclass(frozen=True, kw_only=True)
class Expanded:
    """A job after its expressions were evaluated.

    Args:
        variants: one for each combination; one if there is no matrix.
        strategy: the job's `strategy`.
    """

    variants: tuple[Variant, ...]
    strategy: Mapping[str, Any]


def unexpanded(job_id: str, job: Job) -> Expanded:
    """A job with its expressions as they are in the workflow."""
    return Expanded(variants=(Variant(name=display_name(job_id, job), settings=settings_of(job)),), strategy={})


def expanded(job_id: str, job: Job, context: Context) -> Expanded:
    """Compute a job's matrix, and evaluate its name and settings for each combination.

    Raises:
        Unevaluable: an expression is invalid, or a timeout is not a number.
        MatrixError: GitHub would reject the matrix.
        WorkflowError: the matrix has too many jobs.
    """
    strategy = evaluated(job.get("strategy") or {}, context)
    if not isinstance(strategy, Mapping):
        raise Unevaluable("the strategy is not a mapping")
    if "matrix" in strategy:
        found = _of_matrix(job_id, job, strategy["matrix"], context)
    else:
        found = _evaluated(display_name(job_id, job), settings_of(job), None, context)
    for each in found:
        minutes(each.settings)
    return Expanded(variants=found, strategy=strategy)


def _of_matrix(job_id: str, job: Job, matrix: object, context: Context) -> tuple[Variant, ...]:
    name, settings, found = display_name(job_id, job), settings_of(job), combinations(matrix)
    if len(found) > MAX_MATRIX:
        raise WorkflowError(f"job {job_id}: the matrix has {len(found)} jobs; the limit is {MAX_MATRIX}")
    if "${{" not in f"{name}{settings}":
        return tuple(Variant(name=each.name(name), settings=settings, matrix=each.values) for each in found)
    strategy = {"matrix": {"include": [literal(each.values) for each in found]}}
    named = zip(_evaluated(name, settings, strategy, context), found, strict=True)
    if "${{" in name:
        return tuple(replace(variant, matrix=each.values) for variant, each in named)
    return tuple(replace(variant, name=each.name(name), matrix=each.values) for variant, each in named)


def _evaluated(name: str, settings: Mapping[str, Any], strategy: object, context: Context) -> tuple[Variant, ...]:
    if strategy is None and "${{" not in f"{name}{settings}":
        return (Variant(name=name, settings=settings),)
    return variants(name, settings, strategy, context)


def evaluated(value: object, context: Context) -> Any:
    """A JSON value of a workflow with its expressions evaluated, outside of any matrix.

    Raises:
        Unevaluable: an expression is invalid.
    """
    if "${{" not in json.dumps(value):
        return value
    (found,) = variants("", {"value": value}, None, context)
    return found.settings["value"]


def minutes(settings: Mapping[str, Any]) -> float | None:
    """The timeout of a job in minutes; None if it has none.

    Raises:
        Unevaluable: it is not a number.
    """
    timeout = settings.get("timeout-minutes")
    try:
        return None if timeout is None else float(timeout)
    except (TypeError, ValueError):
        raise Unevaluable(f"timeout-minutes is not a number: {timeout}") from None
