"""The job message: everything that a runner needs to run a job, as GitHub builds it from the workflow.

Src/Sdk/DTPipelines/Pipelines/AgentJobRequestMessage.cs of actions/runner; the least that ran was seen.
"""

import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from bridge.emulator.github.model import Job, Run
from bridge.emulator.github.runner_protocol.identity import guid, orchestration_id
from bridge.emulator.github.runner_protocol.templates import condition, data, token
from bridge.emulator.github.state import GitHubState

WORKSPACE = "emulator.workspace"
"""A variable that GitHub does not have: where the stand-in clones the repository from."""

_ESCAPED = re.compile(r"[^A-Za-z0-9_]")


def job_message(job: Job, state: GitHubState, base_url: str, job_token: str) -> dict[str, Any]:
    """The message for one job.

    Args:
        job: in progress.
        state: the model.
        base_url: of the emulator.
        job_token: with which the Worker authenticates.
    """
    run, body = state.runs[job.run_id], _body(job)
    secrets = state.secrets[job.repository]
    environment = body.get("env")
    return {
        "messageType": "RunnerJobRequest",
        "plan": _plan(job),
        "timeline": {"id": guid("timeline", job.id)},
        "jobId": guid("job", job.id),
        "jobDisplayName": job.spec.name,
        "jobName": "__default",
        "requestId": job.id,
        "billingOwnerId": job.repository.partition("/")[0],
        "resources": {"endpoints": [_endpoint(base_url, job_token)]},
        "contextData": {name: data(value) for name, value in _contexts(job, run, base_url).items()},
        "variables": _variables(job, run, base_url, secrets),
        "mask": [{"type": "regex", "value": re.escape(value)} for value in secrets.values()],
        "steps": _steps(body.get("steps") or ()),
        "environmentVariables": [token(environment)] if environment else [],
        "defaults": [token(body["defaults"])] if (body.get("defaults") or {}).get("run") else [],
        "fileTable": [run.spec.path],
        "jobOutputs": token(body["outputs"]) if body.get("outputs") else None,
        "workspace": {},
    }


def _body(job: Job) -> Mapping[str, Any]:
    workflow: Any = job.message.get("workflow") or {}
    found: Mapping[str, Any] = (workflow.get("jobs") or {}).get(job.message.get("job")) or {}
    return found


def _plan(job: Job) -> dict[str, Any]:
    return {
        "scopeIdentifier": guid("scope", 0),
        "planType": "actions",
        "version": 0,
        "planId": guid("plan", job.id),
        "artifactUri": None,
        "definition": None,
        "owner": None,
    }


def _endpoint(base_url: str, job_token: str) -> dict[str, Any]:
    return {
        "name": "SystemVssConnection",
        "url": f"{base_url}/_run/",
        "isReady": True,
        "isShared": False,
        "data": {"FeedStreamUrl": f"ws://{urlsplit(base_url).netloc}/_feed"},
        "authorization": {"scheme": "OAuth", "parameters": {"AccessToken": job_token}},
    }


def _contexts(job: Job, run: Run, base_url: str) -> dict[str, Any]:
    """https://docs.github.com/actions/reference/workflows-and-actions/contexts"""
    message: Mapping[str, Any] = job.message
    workflow = message.get("workflow") or {}
    return {
        "github": _github(job, run, base_url),
        "needs": message.get("needs") or {},
        "inputs": _inputs(workflow.get("on"), str(message.get("event"))),
        "vars": {},
        "strategy": _strategy(job, run),
        "matrix": message.get("matrix") or None,
    }


def _github(job: Job, run: Run, base_url: str) -> dict[str, Any]:
    owner = job.repository.partition("/")[0]
    ref = str(job.message.get("ref") or "")
    workflow: Any = job.message.get("workflow") or {}
    return {
        "actor": owner,
        "api_url": f"{base_url}/api/v3",
        "base_ref": "",
        "event": {"ref": ref, "after": run.spec.sha, "repository": _repository(job, run)},
        "event_name": run.spec.event,
        "graphql_url": f"{base_url}/api/graphql",
        "head_ref": "",
        "job": str(job.message.get("job")),
        "ref": ref,
        "ref_name": re.sub(r"^refs/(heads|tags)/", "", ref),
        "ref_type": "tag" if ref.startswith("refs/tags/") else "branch",
        "repository": job.repository,
        "repository_owner": owner,
        "run_attempt": str(job.run_attempt),
        "run_id": str(run.id),
        "run_number": str(run.number),
        "server_url": base_url,
        "sha": run.spec.sha,
        "triggering_actor": owner,
        "workflow": workflow.get("name") or run.spec.workflow,
        "workflow_ref": f"{job.repository}/{run.spec.path}@{ref}",
        "workflow_sha": run.spec.sha,
    }


def _repository(job: Job, run: Run) -> dict[str, str]:
    """The repository in the event; its `clone_url` is the local folder."""
    name = job.repository.partition("/")[2]
    cloned = {"clone_url": run.workspace.resolve().as_uri()} if run.workspace else {}
    return {"full_name": job.repository, "name": name, **cloned}


def _inputs(on: object, event: str) -> dict[str, Any]:
    """The defaults of the inputs that the event declares: nobody gives other values here."""
    declared = (on.get(event) or {}).get("inputs") or {} if isinstance(on, Mapping) else {}
    return {name: (settings or {}).get("default", "") for name, settings in declared.items()}


def _strategy(job: Job, run: Run) -> dict[str, Any]:
    strategy = job.spec.strategy
    siblings = [spec.key for spec in run.spec.jobs if spec.strategy == strategy] if strategy else [job.spec.key]
    return {
        "fail-fast": strategy.fail_fast if strategy else True,
        "job-index": siblings.index(job.spec.key),
        "job-total": len(siblings),
        "max-parallel": (strategy and strategy.max_parallel) or len(siblings),
    }


def _variables(job: Job, run: Run, base_url: str, secrets: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    plain = {
        "system.github.job": str(job.message.get("job")),
        "system.github.results_endpoint": f"{base_url}/_results/",
        "system.github.launch_endpoint": f"{base_url}/",
        "system.runnerEnvironment": "self-hosted",
        "system.orchestrationId": orchestration_id(job),
        **({WORKSPACE: str(run.workspace)} if run.workspace else {}),
    }
    hidden = {"system.github.token": f"ghs_{uuid.uuid4().hex}", **secrets}
    return {name: {"value": value} for name, value in plain.items()} | {
        name: {"value": value, "isSecret": True} for name, value in hidden.items()
    }


def _steps(steps: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    names: dict[str, int] = {}
    return [_step(step, _context_name(step, names)) for step in steps]


def _context_name(step: Mapping[str, Any], names: dict[str, int]) -> str:
    """The name in the `steps` context. A step without an id gets one that no workflow can use, such as `__run_2`."""
    if "id" in step:
        return str(step["id"])
    base = "__" + _ESCAPED.sub("_", str(step["uses"]).partition("@")[0] if "uses" in step else "run")
    names[base] = names.get(base, 0) + 1
    return base if names[base] == 1 else f"{base}_{names[base]}"


def _step(step: Mapping[str, Any], name: str) -> dict[str, Any]:
    """https://docs.github.com/actions/reference/workflows-and-actions/workflow-syntax#jobsjob_idsteps"""
    found = {
        "type": "action",
        "id": str(uuid.uuid4()),
        "name": name,
        "contextName": name,
        "reference": _reference(step.get("uses")),
        "condition": condition(step.get("if")),
        "inputs": token(_step_inputs(step)),
    }
    optional = {
        "displayNameToken": step.get("name"),
        "environment": step.get("env"),
        "timeoutInMinutes": step.get("timeout-minutes"),
        "continueOnError": step.get("continue-on-error"),
    }
    return found | {key: token(value) for key, value in optional.items() if value is not None}


def _reference(uses: object) -> dict[str, str]:
    if uses is None:
        return {"type": "script"}
    if str(uses).startswith("./"):
        return {"type": "repository", "repositoryType": "self", "path": str(uses)}
    place, _, ref = str(uses).partition("@")
    owner, name, *path = (*place.split("/", 2), "")[:3]
    found = {"type": "repository", "repositoryType": "GitHub", "name": f"{owner}/{name}", "ref": ref}
    return found | ({"path": path[0]} if path and path[0] else {})


def _step_inputs(step: Mapping[str, Any]) -> dict[str, Any]:
    if "uses" in step:
        return dict(step.get("with") or {})
    names = {"script": "run", "shell": "shell", "workingDirectory": "working-directory"}
    return {name: step[key] for name, key in names.items() if key in step}
