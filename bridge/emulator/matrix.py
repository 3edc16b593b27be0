"""The combinations of a matrix, and their names, as GitHub computes them. Pure.

https://docs.github.com/en/actions/how-tos/write-workflows/choose-what-workflows-do/run-job-variations
The rules that the page does not state follow the matrix builder in the source of https://github.com/actions/runner.
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_NAME = 100
"""Characters after which GitHub cuts a name with matrix values."""

_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_PREFIXED = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")


class MatrixError(Exception):
    """GitHub would reject this matrix. The message has one line."""


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One job of a matrix.

    Args:
        values: its `matrix` context.
        named: the values that its name shows, in order; those that `include` added to a combination are not shown.
    """

    values: Mapping[str, Any]
    named: tuple[Any, ...]

    def name(self, job: str) -> str:
        """The job's name with the values, as GitHub shows it: `build (a, b)`; the job's name alone without values."""
        shown = ", ".join(text for value in self.named for text in _texts(value))
        full = f"{job} ({shown})" if shown else job
        return full if len(full) <= MAX_NAME else full[: MAX_NAME - 3] + "..."


def combinations(matrix: object) -> tuple[Combination, ...]:
    """The combinations of a matrix, in GitHub's order.

    Args:
        matrix: as in the workflow, with all expressions evaluated.

    Raises:
        MatrixError: GitHub would reject it.
    """
    if not isinstance(matrix, Mapping):
        raise MatrixError("the matrix is not a mapping")
    vectors = {key: _vector(key, value) for key, value in matrix.items() if key not in ("include", "exclude")}
    included = [_entry("include", each) for each in _entries("include", matrix)]
    excluded = [_excluding(each, vectors) for each in _entries("exclude", matrix)]
    product = [dict(zip(vectors, values, strict=True)) for values in itertools.product(*vectors.values()) if vectors]
    kept = [each for each in product if not any(_matches(entry, each) for entry in excluded)]
    found = *(_extended(each, included) for each in kept), *_additional(kept, included, vectors)
    if not found:
        raise MatrixError("the matrix is empty")
    return found


def _vector(key: str, value: object) -> Sequence[Any]:
    if not isinstance(value, list):
        raise MatrixError(f"the matrix key {key} is not a list")
    if not value:
        raise MatrixError(f"the matrix is empty: {key} has no values")
    return value


def _entries(key: str, matrix: Mapping[str, Any]) -> Sequence[Any]:
    entries = matrix.get(key) or []
    if not isinstance(entries, list):
        raise MatrixError(f"{key} of the matrix is not a list")
    return entries


def _entry(key: str, entry: object) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping) or not entry:
        raise MatrixError(f"{key} of the matrix has an entry that is not a mapping with values")
    return entry


def _excluding(entry: object, vectors: Mapping[str, object]) -> Mapping[str, Any]:
    checked = _entry("exclude", entry)
    unknown = next((key for key in checked if key not in vectors), None)
    if unknown is not None:
        raise MatrixError(f"exclude of the matrix has the key {unknown}, which the matrix does not have")
    return checked


def _extended(own: Mapping[str, Any], included: Sequence[Mapping[str, Any]]) -> Combination:
    """A combination with what `include` adds to it: it never overwrites the matrix's own values."""
    extra = {
        key: value
        for entry in included
        if _matches(_filter(entry, own), own)
        for key, value in entry.items()
        if key not in own
    }
    return Combination(values={**own, **extra}, named=tuple(own.values()))


def _additional(
    kept: Sequence[Mapping[str, Any]], included: Sequence[Mapping[str, Any]], vectors: Mapping[str, object]
) -> Iterator[Combination]:
    """A combination for each entry of `include` that was added to none. The matrix's own keys come first."""
    for entry in included:
        own = _filter(entry, vectors)
        if not any(_matches(own, each) for each in kept):
            values = {**own, **entry}
            yield Combination(values=values, named=tuple(values.values()))


def _filter(entry: Mapping[str, Any], own: Mapping[str, object]) -> Mapping[str, Any]:
    """The part of an `include` entry that decides which combinations it is added to."""
    return {key: value for key, value in entry.items() if key in own}


def _matches(wanted: object, given: object) -> bool:
    """Whether each leaf of `wanted` equals the value at the same place of `given`; a missing value is null."""
    if isinstance(wanted, Mapping):
        return all(
            _matches(value, given.get(key) if isinstance(given, Mapping) else None) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return all(_matches(value, _item(given, index)) for index, value in enumerate(wanted))
    return equal(wanted, given)


def _item(given: object, index: int) -> object:
    return given[index] if isinstance(given, list) and index < len(given) else None


def equal(left: object, right: object) -> bool:
    """GitHub's `==` for a scalar and any other value.

    Strings are compared without case; values of different types as numbers:
    https://docs.github.com/en/actions/reference/workflows-and-actions/expressions#operators
    """
    if left is None and right is None:
        return True
    if isinstance(left, str) and isinstance(right, str):
        return left.upper() == right.upper()
    return _number(left) == _number(right)


def _number(value: object) -> float:
    """A value as GitHub coerces it to a number; NaN, which equals nothing, for lists and mappings."""
    if value is None:
        return 0.0
    if isinstance(value, bool | int | float):
        return float(value)
    text = value.strip() if isinstance(value, str) else "NaN"
    if _PREFIXED.fullmatch(text):
        return float(int(text, 0))
    if _NUMBER.fullmatch(text):
        return float(text)
    return math.nan if text else 0.0


def _texts(value: object) -> Iterator[str]:
    """The scalars in a matrix value, as GitHub writes them; null and the empty string are left out."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, bool):
        yield str(value).lower()
    elif isinstance(value, int | float):
        yield f"{value:.15g}".upper()  # as .NET's format G15
    elif isinstance(value, str) and value:
        yield value
