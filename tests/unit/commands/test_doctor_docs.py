"""docs/doctor.md has every check that `bridge doctor` makes, and no other."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from bridge.commands.doctor.self_test_answer import NEEDED, OPTIONAL
from tests.support import ROOT

PACKAGE = ROOT / "bridge" / "commands" / "doctor"
MAKERS = {"ok", "warning", "failed", "skipped", "unanswered", "judged", "give"}
"""Functions whose first argument is an id."""


def _ids() -> Iterator[str]:
    """The ids: first arguments of the functions that make checks, and values of names `id_`."""
    yield from (f"self_test.{probe}" for probe in (*NEEDED, *OPTIONAL))
    for path in PACKAGE.glob("*.py"):
        names = vars(importlib.import_module(f"bridge.commands.doctor.{path.stem}"))
        for expression in _expressions(path):
            value = _value(expression, names)
            if isinstance(value, str):
                yield value


def _expressions(path: Path) -> Iterator[ast.expr]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in MAKERS and node.args:
                yield node.args[0]
            elif node.func.id == "_unless":
                yield node.args[1]
        elif isinstance(node, ast.Assign):
            yield from _assigned(node)


def _assigned(node: ast.Assign) -> Iterator[ast.expr]:
    """`id_ = "x"`, or the first of `id_, other = "x", y`."""
    target = node.targets[0]
    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
        target, value = target.elts[0], node.value.elts[0]
    else:
        value = node.value
    if isinstance(target, ast.Name) and target.id == "id_":
        yield value


def _value(expression: ast.expr, names: dict[str, object]) -> object:
    """The value of a literal, a constant of the module, or a text made of these; None for what only a run knows."""
    try:
        return eval(compile(ast.Expression(expression), "id", "eval"), dict(names))
    except NameError:
        return None


def test_every_check_is_documented() -> None:
    _, _, table = (ROOT / "docs" / "doctor.md").read_text().partition("\n## Checks\n")
    rows = re.findall(r"^\| `([a-z_.]+)` \|", table.partition("\n## ")[0], re.MULTILINE)
    assert sorted(rows) == sorted(set(_ids()))


def test_the_symptoms_name_checks_that_exist() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    cells = re.findall(r"^\| ([^|]*doctor[^|]*) \|", page, re.MULTILINE)
    named = {id_ for cell in cells for id_ in re.findall(r"`([a-z_.]+)`", cell)} - {
        "bridge.toml",
        "version_deprecated",
        "workers_min",
    }
    assert len(named) > 20
    assert named <= set(_ids())
