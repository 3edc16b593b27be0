"""Dispatchers under test wait as long as they are told to: nothing changes a constant of the bridge behind its back."""

import ast
from collections.abc import Iterator
from pathlib import Path


def _changed(path: Path) -> Iterator[str]:
    """The names of constants that a test module replaces, with `patch.object`, `setattr` or an assignment.

    A name that is computed belongs to a method: `victim.py` plants its fault points so.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("patch.object", "setattr")):
            name = node.args[1]
            yield from [str(name.value)] if isinstance(name, ast.Constant) else []
        targets = node.targets if isinstance(node, ast.Assign) else []
        yield from (target.attr for target in targets if isinstance(target, ast.Attribute) and target.attr.isupper())


def test_no_fault_test_replaces_a_constant_of_the_bridge() -> None:
    found = {name for path in Path(__file__).parent.glob("*.py") for name in _changed(path)}
    assert found == set()
