"""Workflow expressions, evaluated by act in generated jobs that only print what they see.

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

TIMEOUT = 60.0
"""s for one evaluation; it takes a tenth of one."""

_HOST = "self-hosted"
_PROBE = "probe"
_PRINT = "import json, os; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('PROBE_')}))"
_WHOLE = re.compile(r"\s*\$\{\{((?:(?!\$\{\{).)*)\}\}\s*", re.DOTALL)
"""A text that is one expression and nothing else: its value need not be a string."""


class Unevaluable(Exception):
    """act could not evaluate an expression; the message is act's."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the `github` context says of a run.

    Args:
        event: what triggered it.
        ref: such as refs/heads/main.
        sha: 40 hex digits.
        repository: owner/name.
        workflow: the workflow's name.
        inputs: what its `on.workflow_dispatch` declares, for that event.
    """

    event: str
    ref: str
    sha: str
    repository: str
    workflow: str = ""
    inputs: Mapping[str, object] = field(default_factory=dict)

    @property
    def on(self) -> object:
        """What a generated workflow is triggered by."""
        return {self.event: {"inputs": self.inputs}} if self.inputs else self.event


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A job that ended, and the jobs that it needed."""

    result: JobResult
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A job with one combination of its matrix.

    Args:
        name: its `name`, evaluated.
        settings: such as `runs-on`, evaluated.
        matrix: empty without one.
    """

    name: str
    settings: Mapping[str, Any]
    matrix: Mapping[str, object] = field(default_factory=dict)


def literal(value: object) -> object:
    """A JSON value whose strings, as part of a workflow, evaluate to themselves."""
    if isinstance(value, str):
        return value.replace("${{", "${{ '${{' }}")
    if isinstance(value, Mapping):
        return {key: literal(each) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [literal(each) for each in value]
    return value


def variants(name: str, settings: Mapping[str, object], strategy: object, context: Context) -> tuple[Variant, ...]:
    """A job's variants, in the order of its matrix.

    Args:
        name: may hold expressions.
        settings: JSON values by name, such as `runs-on`; may hold expressions.
        strategy: as in the workflow, None without one.

    Raises:
        Unevaluable: one of them is wrong.
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
        before: how they ended, and all that they needed in turn, by key.

    Raises:
        Unevaluable: it is wrong.
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
    """Jobs that end as these did, with the same outputs.

    act knows no cancelled one: it is told as skipped, for which `success()` and `failure()` are false, too.
    """
    return {key: _stub(ended.result, ended.needs) for key, ended in before.items()}


def _stub(result: JobResult, needs: Sequence[str]) -> dict[str, object]:
    return {
        "runs-on": _HOST,
        "needs": list(needs),
        "if": "${{ always() }}" if result.conclusion in ("success", "failure") else False,
        "outputs": literal(result.outputs),
        "steps": [{"run": "exit 1" if result.conclusion == "failure" else ":"}],
    }


def _run(jobs: object, job: str, context: Context) -> list[str]:
    """Run one generated job; act's log."""
    with tempfile.TemporaryDirectory() as directory:
        assignment = Assignment(
            runner_name=_PROBE,
            work=Path(directory),
            repository=context.repository,
            workspace=None,
            sha=context.sha,
            ref=context.ref,
            event=context.event,
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
        raise Unevaluable(f"it takes longer than {TIMEOUT:g} s") from None
    return done.stdout.splitlines()


def _printed(lines: Sequence[str]) -> list[str]:
    """What the probe printed, once per combination, in the order of act's numbers for them."""
    log = act.Log("", "")
    errors = "".join(log.read(line) for line in lines)
    if errors:
        raise Unevaluable(errors.strip())
    entries = [entry for entry in map(json.loads, lines) if entry.get("raw_output")]
    return [entry["msg"] for entry in sorted(entries, key=lambda entry: _number(entry["job"]))]


def _number(act_name: str) -> int:
    """`workflow/probe-2` is the second combination; a single one has no number."""
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
    """The same value, its strings replaced in the order of `_leaves`."""
    if isinstance(value, str):
        return next(strings)
    if isinstance(value, Mapping):
        return {key: _replaced(each, strings) for key, each in value.items()}
    if isinstance(value, Sequence):
        return [_replaced(each, strings) for each in value]
    return value
