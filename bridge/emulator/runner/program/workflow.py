"""The job message as a workflow for act, which evaluates its expressions and runs its steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .assignment import Assignment
from .job import Job

WORKSPACE = "emulator.workspace"
"""A variable of the emulated GitHub: the repository to clone. The official runner clones with actions/checkout."""

_SCRIPT_KEYS = {"script": "run", "shell": "shell", "workingDirectory": "working-directory"}


def assignment(job: Job, runner_name: str, work: Path) -> Assignment:
    """What the Worker runs."""
    github = job.context("github")
    return Assignment(
        runner_name=runner_name,
        work=work,
        repository=github["repository"],
        workspace=job.variable(WORKSPACE) or None,
        sha=github["sha"],
        ref=github.get("ref") or "",
        event=github["event_name"],
        payload=github.get("event") or {},
        workflow=workflow(job),
        job=job.variable("system.github.job"),
    )


def workflow(job: Job) -> dict[str, object]:
    """The workflow, with stubs for the jobs that this one needs."""
    github, needs, inputs = job.context("github"), job.context("needs") or {}, job.context("inputs") or {}
    stubs = {name: stub(each["result"], each.get("outputs") or {}) for name, each in needs.items()}
    event = github["event_name"]
    return {
        "name": literal(github["workflow"]),
        "on": {event: {"inputs": {name: _declared(value) for name, value in inputs.items()}}} if inputs else event,
        "jobs": {**stubs, job.variable("system.github.job"): _job(job, list(needs))},
    }


def _job(job: Job, needs: list[str]) -> dict[str, object]:
    message, matrix = job.message, job.context("matrix")
    environment = [value(each) for each in message.get("environmentVariables") or ()]
    defaults = [value(each) for each in message.get("defaults") or ()]
    outputs = message.get("jobOutputs")
    found = {
        "runs-on": "self-hosted",
        "needs": needs,
        "if": "${{ always() }}",  # the server has evaluated the job's condition
        "steps": [step(each) for each in message.get("steps") or ()],
        **({"defaults": defaults[-1]} if defaults else {}),
        **({"outputs": value(outputs)} if outputs else {}),
        **({"strategy": {"matrix": {"include": [literal(matrix)]}}} if matrix else {}),
    }
    merged = {key: each for one in environment if isinstance(one, Mapping) for key, each in one.items()}
    whole = next((one for one in environment if isinstance(one, str)), merged)
    return {**found, "env": whole} if whole else found


def step(message: Mapping[str, Any]) -> dict[str, object]:
    """A step of the workflow."""
    name, reference = str(message.get("contextName") or ""), message["reference"]
    inputs = value(message.get("inputs") or {"type": 2, "map": []})
    found: dict[str, object] = {"if": f"${{{{ {message['condition']} }}}}"}
    if not name.startswith("__"):  # the server gave it
        found["id"] = name
    if reference["type"] == "script":
        found |= {_SCRIPT_KEYS[key]: each for key, each in inputs.items() if key in _SCRIPT_KEYS}
    else:
        found |= {"uses": place(reference), **({"with": inputs} if inputs else {})}
    keys = {
        "displayNameToken": "name",
        "environment": "env",
        "timeoutInMinutes": "timeout-minutes",
        "continueOnError": "continue-on-error",
    }
    return found | {key: value(message[given]) for given, key in keys.items() if message.get(given) is not None}


def place(reference: Mapping[str, str]) -> str:
    """The `uses` of an action."""
    if reference.get("repositoryType") == "self":
        return reference["path"]
    path = f"/{reference['path']}" if reference.get("path") else ""
    return f"{reference['name']}{path}@{reference['ref']}"


def value(token: Any) -> Any:
    """A template token as in a workflow."""
    if not isinstance(token, Mapping):
        return token
    if token["type"] == 3:
        return f"${{{{ {token['expr']} }}}}"
    if token["type"] == 2:
        return {value(item["Key"]): value(item["Value"]) for item in token["map"]}
    return [value(each) for each in token["seq"]]


def literal(given: object) -> object:
    """Escape the strings of a JSON value, so that they evaluate to themselves in a workflow."""
    if isinstance(given, str):
        return given.replace("${{", "${{ '${{' }}")
    if isinstance(given, Mapping):
        return {key: literal(each) for key, each in given.items()}
    if isinstance(given, Sequence):
        return [literal(each) for each in given]
    return given


def stub(conclusion: str, outputs: Mapping[str, str], needs: Sequence[str] = ()) -> dict[str, object]:
    """A job that ends with this conclusion and these outputs.

    act has no cancelled jobs. They become skipped jobs, for which `success()` and `failure()` are false, too.
    """
    return {
        "runs-on": "self-hosted",
        "needs": list(needs),
        "if": "${{ always() }}" if conclusion in ("success", "failure") else False,
        "outputs": literal(outputs),
        "steps": [{"run": "exit 1" if conclusion == "failure" else ":"}],
    }


def _declared(given: object) -> dict[str, object]:
    if isinstance(given, bool):
        return {"type": "boolean", "default": given}
    return {"default": literal(given)}
