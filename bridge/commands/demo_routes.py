"""The routes of `demo` and `emulate`: all lead to the one emulated endpoint."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import ValidationError

from bridge.config import environment, file
from bridge.config.environment import Environment
from bridge.config.file import RouteTable, first_problem
from bridge.config.routes import routes
from bridge.core.routing import Unmatched, match
from bridge.core.scope import Route
from bridge.emulator.cloud import ENDPOINT, OWNER
from bridge.emulator.jobs import JobSpec
from bridge.errors import ConfigError

DEFAULT = "default"
"""The name of the route that `--label` makes."""


def tables(labels: Sequence[str], named: Sequence[str], config: Path | None) -> list[RouteTable]:
    """The routes that the options set; the bridge's default if there are none.

    Args:
        labels: of a route called default.
        named: routes as NAME=label,label.
        config: bridge.toml, of which only the labels of its routes matter.

    Raises:
        ConfigError: one line that names the option or the setting.
    """
    if config and (labels or named):
        raise ConfigError("--config: cannot be used with --label or --route; put the routes into the file")
    given = _of_file(config) if config else _of_options(labels, named)
    return given or [_emulated(RouteTable(name=DEFAULT), None)]


def checked(given: list[RouteTable]) -> tuple[Route, ...]:
    """The routes, checked as the bridge checks them; raises ConfigError."""
    return routes(given, environment.combined(file.File()), OWNER)


def document(given: Sequence[RouteTable]) -> str:
    """The routes as bridge.toml. A TOML string may have the escapes of JSON: https://toml.io/en/v1.0.0#string."""
    return "\n".join(["[[route]]\n" + "".join(_settings(table)) for table in given])


def _settings(table: RouteTable) -> Iterator[str]:
    for key, value in table.model_dump(exclude_defaults=True, exclude_none=True).items():
        yield f"{key} = {json.dumps(value)}\n"


def route_of(job: JobSpec, repository: str, among: Sequence[Route]) -> str | None:
    """The name of the route that would serve a job; None if none does, or its labels are not known."""
    if any("${{" in label for label in job.labels):
        return None
    found = match(job.labels, repository, among)
    return None if isinstance(found, Unmatched) else found.name


def _of_file(config: Path) -> list[RouteTable]:
    """The routes of a file. What belongs to real endpoints, repositories and groups does not exist here."""
    content = file.read(config)
    return [_emulated(table, content.bridge.labels) for table in content.route or [RouteTable(name=DEFAULT)]]


def _emulated(table: RouteTable, labels: list[str] | None) -> RouteTable:
    return RouteTable(
        name=table.name,
        labels=table.labels or labels or Environment.model_fields["bridge_labels"].default,
        endpoint=ENDPOINT,
        unlabelled=table.unlabelled,
        generic_jobs=table.generic_jobs,
        rerun_lost_jobs=table.rerun_lost_jobs,
    )


def _of_options(labels: Sequence[str], named: Sequence[str]) -> list[RouteTable]:
    own = [_parsed("--label", DEFAULT, labels)] if labels else []
    return [*own, *(_named(text) for text in named)]


def _named(text: str) -> RouteTable:
    name, separator, labels = text.partition("=")
    if not separator:
        raise ConfigError("--route: must be NAME=label,label, such as large=gpu,a100")
    return _parsed("--route", name, [label.strip() for label in labels.split(",")])


def _parsed(option: str, name: str, labels: Sequence[str]) -> RouteTable:
    try:
        return RouteTable(name=name, labels=list(labels), endpoint=ENDPOINT)
    except ValidationError as error:
        raise ConfigError(f"{option}: {first_problem(error)}") from None
