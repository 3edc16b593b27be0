"""Prints how long the functions and files of bridge/ and runner_image/ are; fails if one is too long.

A function's length is that of its body: without decorators, signature and docstring, with the functions in it.
"""

import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("bridge", "runner_image")
LONGEST_BODY, LONGEST_FILE = 40, 400
"""Lines."""

EXEMPT = ("bridge/ledger/migrations/versions/",)
"""A migration lists its tables, and does not change once it is released."""

Sizes = list[tuple[int, str]]
"""The number of lines of each thing, and its place."""


def bodies(path: Path) -> Iterator[tuple[int, str]]:
    """The length of each function's body in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            place = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
            yield (node.end_lineno or first.lineno) - first.lineno + 1, place


def measured() -> tuple[Sizes, Sizes]:
    """The sizes of all functions, and of all files."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    paths = [path for path in paths if not str(path.relative_to(ROOT)).startswith(EXEMPT)]
    functions = [size for path in paths for size in bodies(path)]
    return functions, [(len(path.read_text().splitlines()), str(path.relative_to(ROOT))) for path in paths]


def main() -> int:
    """Print the sizes and what is too long; the exit status."""
    functions, files = measured()
    median = statistics.median(lines for lines, _ in functions)
    print(f"functions: median {median:g}, maximum {max(functions)[0]} lines; files: maximum {max(files)[0]} lines")
    long = [size for size in functions if size[0] > LONGEST_BODY] + [size for size in files if size[0] > LONGEST_FILE]
    for lines, place in sorted(long, reverse=True):
        print(f"{place}: {lines} lines; split it: at most {LONGEST_BODY} for a body, {LONGEST_FILE} for a file")
    return 1 if long else 0


if __name__ == "__main__":
    sys.exit(main())
