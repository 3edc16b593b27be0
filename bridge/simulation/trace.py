"""What happens in a simulation: the arrivals of jobs and the capacity of endpoints, read from CSV."""

import csv
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bridge.errors import ConfigError

MOST_JOBS = 1_000_000
LONGEST = 7 * 86_400.0
"""s that a job may run: GitHub's limit is 5 days on self-hosted runners."""


class Arrival(NamedTuple):
    """A job.

    Args:
        at: s from any origin, when it is queued.
        route: the name of the route that serves it.
        seconds: how long it runs.
    """

    at: float
    route: str
    seconds: float


class Capacity(NamedTuple):
    """From a time on, for how many workers of an endpoint RunPod has machines.

    Args:
        at: s from the same origin as the arrivals.
        endpoint: RunPod's id.
        workers: how many.
    """

    at: float
    endpoint: str
    workers: int


def arrivals(lines: Iterable[str], source: str) -> tuple[Arrival, ...]:
    """Read jobs: a CSV file with the columns `arrival`, `route` and `duration`, in any order.

    Args:
        lines: of the file.
        source: its name, for errors.

    Raises:
        ConfigError: a column or a value is missing or wrong, or there are too many jobs; with the line.
    """
    found: list[Arrival] = []
    for number, row in _rows(lines, source, ("arrival", "route", "duration")):
        if len(found) == MOST_JOBS:
            raise ConfigError(f"{source}: more than {MOST_JOBS} jobs; split it")
        at = _number(row["arrival"], "arrival", source, number)
        seconds = _number(row["duration"], "duration", source, number)
        if not 0 <= seconds <= LONGEST:
            raise ConfigError(f"{source}, line {number}: duration: must be from 0 to {LONGEST:.0f} seconds")
        if not row["route"]:
            raise ConfigError(f"{source}, line {number}: route: is empty; write the name of a route")
        found.append(Arrival(at, row["route"], seconds))
    if not found:
        raise ConfigError(f"{source}: there is no job in it; write a line for each job")
    return tuple(sorted(found))


def capacities(lines: Iterable[str], source: str) -> tuple[Capacity, ...]:
    """Read changes of capacity: a CSV file with the columns `at`, `endpoint` and `workers`.

    Args:
        lines: of the file.
        source: its name, for errors.

    Raises:
        ConfigError: a column or a value is missing or wrong; with the line.
    """
    found = []
    for number, row in _rows(lines, source, ("at", "endpoint", "workers")):
        workers = _number(row["workers"], "workers", source, number)
        if workers < 0 or workers != int(workers):
            raise ConfigError(f"{source}, line {number}: workers: must be a whole number, at least 0")
        found.append(Capacity(_number(row["at"], "at", source, number), row["endpoint"], int(workers)))
    return tuple(sorted(found))


def _rows(lines: Iterable[str], source: str, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(lines)
    try:
        names = [name.strip().lower() for name in reader.fieldnames or ()]
        if missing := [column for column in columns if column not in names]:
            raise ConfigError(f"{source}: has no column {missing[0]}; its first line must be {','.join(columns)}")
        for row in reader:
            values = [*row.values()]
            if None in row or None in values:
                raise ConfigError(f"{source}, line {reader.line_num}: has not as many values as there are columns")
            yield reader.line_num, dict(zip(names, (str(value).strip() for value in values), strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}, line {reader.line_num + 1}: is not CSV: {error}") from None


def _number(text: str, column: str, source: str, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"{source}, line {line}: {column}: must be a number of seconds, such as 12.5")
    return value
