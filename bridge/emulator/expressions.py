"""Evaluates workflow expressions with act, in generated jobs that only print values.

https://docs.github.com/en/actions/reference/workflows-and-actions/expressions
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.emulator.act import find_act
from bridge.emulator.jobs import JobResult
from bridge.emulator.runner.program import act
from bridge.emulator.runner.program.assignment import Assignment
from bridge.emulator.runner.program.workflow import literal, stub

TIMEOUT = 60.0
"""s for one evaluation. Normally it takes 0.1 s."""

_HOST = "self-hosted"
_PROBE = "probe"
_PRINT = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('PROBE_')}))"
_WHOLE = re.compile(r"\s*\$\{\{((?:(?!\$\{\{).)*)\}\}\s*", re.DOTALL)
"""A string that is exactly one expression. Its value need not be a string."""


class Unevaluable(Exception):
    """act could not evaluate an expression. The message is act's."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """The `github` context of a run.

    Args:
        event: that triggered it.
        ref: such as refs/heads/main.
        sha: 40 hex digits.
        repository: owner/name.
        workflow: the workflow's name.
        inputs: that `on.workflow_dispatch` declares, if that is the event.
    """

    event: str
    ref: str
    sha: str
    repository: str
    workflow: str = ""
    inputs: Mapping[str, object] = field(default_factory=dict)

    @property
    def on(self) -> object:
        """The `on` of a generated workflow."""
        return {self.event: {"inputs": self.inputs}} if self.inputs else self.event


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The result of a job, and the jobs that it needed."""

    result: JobResult
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A job for one combination of its matrix.

    Args:
        name: its `name`, evaluated.
        settings: such as `runs-on`, evaluated.
        matrix: the combination; empty without a matrix.
    """

    name: str
    settings: Mapping[str, Any]
    matrix: Mapping[str, object] = field(default_factory=dict)


def variants(name: str, settings: Mapping[str, object], strategy: object, context: Context) -> tuple[Variant, ...]:
    """The variants of a job, in the order of its matrix.

    Args:
        name: may contain expressions.
        settings: JSON values by name, such as `runs-on`; may contain expressions.
        strategy: as in the workflow, None without one.

    Raises:
        Unevaluable: an expression is invalid.
    """
    leaves = list(_leaves(settings))
    probes = {f"PROBE_{index}": _as_json(leaf) for index, leaf in enumerate(leaves)}
    job = {
        "runs-on": _HOST,
        **({"strategy": strategy} if strategy else {}),
        "steps": [
            {
                "env": {**probes, "PROBE_NAME": name, "PROBE_MATRIX": "${{ toJSON(matrix) }}"},
                "run": f'"$BRIDGE_PYTHON" -I -c "{_PRINT}"',
            }
        ],
    }
    lines = _run({_PROBE: job}, _PROBE, context)
    return tuple(_variant(json.loads(line), settings, leaves) for line in _printed(lines))


def holds(condition: object, needs: Sequence[str], before: Mapping[str, Ended], context: Context) -> bool:
    """Whether a job's `if` lets it run.

    Args:
        condition: as in the workflow.
        needs: keys of the jobs that it needs.
        before: the results of these jobs, and of all jobs that they needed, by key.

    Raises:
        Unevaluable: the condition is invalid.
    """
    decision = {"runs-on": _HOST, "needs": list(needs), "if": condition, "steps": [{"run": ":"}]}
    key = "_" + max(before, key=len, default="")
    jobs, summary = act.with_summary({"jobs": {**stubs(before), key: decision}}, key)
    log = act.Log(key, summary)
    errors = "".join(log.read(line) for line in _run(jobs["jobs"], summary, context))
    if not log.printed:
        raise Unevaluable(errors.strip())
    return log.outcome()["result"] != "Skipped"


def stubs(before: Mapping[str, Ended]) -> dict[str, object]:
    """Jobs that end with the same results and outputs as these."""
    return {key: stub(ended.result.conclusion, ended.result.outputs, ended.needs) for key, ended in before.items()}


def _run(jobs: object, job: str, context: Context) -> list[str]:
    """Run one generated job; returns act's log."""
    with tempfile.TemporaryDirectory() as directory:
        assignment = Assignment(
            runner_name=_PROBE,
            work=Path(directory),
            repository=context.repository,
            workspace=None,
            sha=context.sha,
            ref=context.ref,
            event=context.event,
            payload={},
            workflow={},
            job=job,
        )
        assignment.checkout.mkdir(parents=True)
        path = Path(directory) / "workflow.yml"
        path.write_bytes(act.document({"name": literal(context.workflow), "on": context.on, "jobs": jobs}))
        return _logged(act.command(str(find_act()), job, path, assignment, ""), directory)


def _logged(command: Sequence[str], directory: str) -> list[str]:
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": directory, "BRIDGE_PYTHON": sys.executable},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unevaluable(f"act did not finish within {TIMEOUT:g} s") from None
    return done.stdout.splitlines()


def _printed(lines: Sequence[str]) -> list[str]:
    """The output of the probe for each combination, in the order of act's numbers."""
    log = act.Log("", "")
    errors = "".join(log.read(line) for line in lines)
    if errors:
        raise Unevaluable(errors.strip())
    entries = [entry for entry in map(json.loads, lines) if entry.get("raw_output")]
    return [entry["msg"] for entry in sorted(entries, key=lambda entry: _number(entry["job"]))]


def _number(act_name: str) -> int:
    """The number in act's name for a job: `workflow/probe-2` is the second combination. A single one has no number."""
    found = re.search(r"-([0-9]+)\s*$", act_name)
    return int(found[1]) if found else 0


def _variant(printed: Mapping[str, str], settings: Mapping[str, object], leaves: Sequence[str]) -> Variant:
    values = iter(
        json.loads(printed[f"PROBE_{index}"]) if _WHOLE.fullmatch(leaf) else printed[f"PROBE_{index}"]
        for index, leaf in enumerate(leaves)
    )
    return Variant(
        name=printed["PROBE_NAME"],
        settings={key: _replaced(value, values) for key, value in settings.items()},
        matrix=json.loads(printed["PROBE_MATRIX"]) or {},
    )


def _as_json(text: str) -> str:
    whole = _WHOLE.fullmatch(text)
    return f"${{{{ toJSON({whole[1]}) }}}}" if whole else text


def _leaves(value: object) -> Iterator[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _leaves(each)
    elif isinstance(value, Sequence):
        for each in value:
            yield from _leaves(each)


def _replaced(value: object, strings: Iterator[object]) -> object:
    """The same value with its strings replaced, in the order of `_leaves`."""
    if isinstance(value, str):
        return next(strings)
    if isinstance(value, Mapping):
        return {key: _replaced(each, strings) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [_replaced(each, strings) for each in value]
    return value
