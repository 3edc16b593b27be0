"""`make mutants`: mutation tests of bridge/core. Does a test fail for each small change to the code that decides?

A change that no test notices is a survivor. `tests/mutants.md` explains the survivors. The command lists them, and
fails if one is not explained there, or if an explanation has no survivor any more. About two thirds of the changes do
not need a test, because mypy rejects them: None instead of a number, for example. Tests that measure time (marker
`timed`) and tests with random values do not run here. Patterns limit the command to some functions:

    python -m tests.mutants 'bridge.core.settle*'
"""

import fnmatch
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
EXPLANATIONS = ROOT / "tests" / "mutants.md"
CAUGHT = {"killed", "caught by type check", "timeout"}
"""What mutmut says of a change that is noticed. It ends in `timeout` if it makes a loop endless."""


class Change(NamedTuple):
    """One change to the code, without line numbers, so that other edits do not matter.

    Args:
        function: such as `bridge.core.plan._settle`.
        before: the changed lines, each without its indentation.
        after: what they become.
    """

    function: str
    before: tuple[str, ...]
    after: tuple[str, ...]

    def __str__(self) -> str:
        lines = [*(f"- {line}" for line in self.before), *(f"+ {line}" for line in self.after)]
        return "\n".join([f"## `{self.function}`", "", "```diff", *lines, "```"])


def mutmut(*arguments: str, quiet: bool = True) -> str:
    """Run mutmut, with the type checker of the same environment; its output."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = [sys.executable, "-m", "mutmut", *arguments]
    output = subprocess.PIPE if quiet else None
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path}, stdout=output, text=True, check=True)
    return done.stdout or ""


def function_of(mutant: str) -> str:
    """The function of a mutant: `bridge.core.m.x_f__mutmut_1`, of a method `bridge.core.m.xǁClassǁf__mutmut_1`."""
    module, _, name = mutant.partition("__mutmut_")[0].rpartition(".")
    return f"{module}.{name.removeprefix('xǁ').replace('ǁ', '.') if 'ǁ' in name else name.removeprefix('x_')}"


def change_of(mutant: str) -> Change:
    """What a mutant changes."""
    diff = [line for line in mutmut("show", mutant).splitlines() if not line.startswith(("---", "+++"))]
    before, after = (tuple(line[1:].strip() for line in diff if line.startswith(sign)) for sign in "-+")
    return Change(function_of(mutant), before, after)


def survivors(patterns: Iterable[str]) -> set[Change]:
    """The changes that no test notices."""
    states = (line.strip().rsplit(": ", 1) for line in mutmut("results", "--all", "true").splitlines() if ": " in line)
    found = [name for name, state in states if state not in CAUGHT and any(fnmatch.fnmatch(name, p) for p in patterns)]
    with ThreadPoolExecutor(2) as pool:
        return set(pool.map(change_of, found))


def explained(text: str) -> Iterator[Change]:
    """The changes in tests/mutants.md. A diff may have several, with an empty line between them."""
    for function, section in re.findall(r"^## `(\S+)`\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL):
        for diff, reason in re.findall(r"^```diff\n(.*?)^```\n(.*?)(?=^```diff|\Z)", section, re.MULTILINE | re.DOTALL):
            if not reason.strip():
                raise SystemExit(f"{EXPLANATIONS.name}: a change of {function} has no explanation below it")
            for block in diff.strip().split("\n\n"):
                lines = block.splitlines()
                before, after = (tuple(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
                yield Change(function, before, after)


def main(patterns: list[str]) -> int:
    """Run the mutants that match the patterns, all by default; the exit status."""
    if not patterns:
        shutil.rmtree(ROOT / "mutants", ignore_errors=True)  # it has the results of earlier tests
    mutmut("run", "--max-children", os.environ.get("WORKERS", "2"), *patterns, quiet=False)
    patterns = patterns or ["*"]
    found = survivors(patterns)
    known = {c for c in explained(EXPLANATIONS.read_text()) if any(fnmatch.fnmatch(c.function, p) for p in patterns)}
    for change in sorted(found & known):
        print(f"No test notices this change, as {EXPLANATIONS.name} explains:\n\n{change}\n")
    for change in sorted(found - known):
        print(f"No test notices this change, and {EXPLANATIONS.name} does not explain it:\n\n{change}\n")
    for change in sorted(known - found):
        print(f"Remove this explanation from {EXPLANATIONS.name}, a test notices the change:\n\n{change}\n")
    print(f"{len(found)} changes that no test notices, {len(found - known)} of them not explained")
    return 1 if found ^ known else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
