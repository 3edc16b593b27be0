"""docs/doctor.md has every check that `bridge doctor` makes, and no other."""

import ast
import re
from collections.abc import Iterator

from tests.support import ROOT

MAKERS = {"ok", "warning", "failed", "skipped", "unanswered", "judged", "give", "_unless"}
"""Functions whose first argument is an id; `_unless` has it second."""


def _ids() -> Iterator[str]:
    """The ids: first arguments of the functions that make checks, and values of names `id_`."""
    for path in (ROOT / "bridge" / "commands" / "doctor").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MAKERS:
                yield from _literals(node.args[:2] if node.func.id == "_unless" else node.args[:1])
            elif isinstance(node, ast.Assign):
                yield from _assigned(node)


def _assigned(node: ast.Assign) -> Iterator[str]:
    """`id_ = "x"`, or the first of `id_, other = "x", y`."""
    target = node.targets[0]
    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
        target, value = target.elts[0], node.value.elts[0]
    else:
        value = node.value
    if isinstance(target, ast.Name) and target.id == "id_":
        yield from _literals([value])


def _literals(nodes: list[ast.expr]) -> Iterator[str]:
    return (each.value for each in nodes if isinstance(each, ast.Constant) and isinstance(each.value, str))


def test_every_check_is_documented() -> None:
    _, _, table = (ROOT / "docs" / "doctor.md").read_text().partition("\n## Checks\n")
    rows = re.findall(r"^\| `([a-z_.]+)` \|", table, re.MULTILINE)
    assert sorted(rows) == sorted(set(_ids()))
