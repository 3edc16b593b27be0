"""Converts GitHub's JSON to the bridge's values. Only the fields that are needed must be present."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from bridge.core.model import (
    JitConfig,
    JobStatus,
    RegistrationToken,
    Repository,
    Runner,
    WaitingRun,
    WorkflowJob,
    storable,
)

Raw = Mapping[str, Any]
_STATUSES = frozenset(JobStatus)


def _text(value: Any) -> str | None:
    return storable(value) if value else None


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 < value < 2**31 else None


def moment(text: str | None) -> float | None:
    """Unix seconds of a timestamp in ISO 8601, with or without fractions, in any time zone."""
    return datetime.fromisoformat(text).timestamp() if text else None


def repositories(raw: Any) -> Iterable[Repository]:
    """Repositories from `/installation/repositories` or `/orgs/{org}/repos`, without archived and disabled ones."""
    listed = raw["repositories"] if isinstance(raw, dict) else raw
    return [repository(each) for each in listed if not (each.get("archived") or each.get("disabled"))]


def repository(raw: Raw) -> Repository:
    """A repository from `/repos/{owner}/{repo}` or from a listing."""
    return Repository(id=int(raw.get("id") or 0), full_name=str(raw["full_name"]), public=not raw.get("private", True))


def runs(raw: Raw) -> Iterable[Raw]:
    """Runs from `/actions/runs`: the fields that their jobs lack."""
    kept = ("name", "head_branch", "created_at", "updated_at")
    return [
        {
            "id": int(each["id"]),
            **{key: each.get(key) for key in kept},
            "public": not (each.get("repository") or {}).get("private", True),
            "fork": fork(each),
        }
        for each in raw["workflow_runs"]
    ]


def waiting_run(run: Raw, repository: str) -> WaitingRun:
    """A waiting run, from a run as `runs` returns it."""
    created = moment(run["created_at"]) or 0.0
    return WaitingRun(
        id=run["id"],
        repository=repository,
        created_at=created,
        updated_at=moment(run["updated_at"]) or created,
        details=run,
    )


def fork(run: Raw) -> bool:
    """Whether a run comes from a fork. The head repository is null if the fork was deleted."""
    head, base = run.get("head_repository"), run.get("repository")
    return not (head and base) or head.get("full_name") != base.get("full_name")


def failed_steps(raw: Raw) -> Iterable[str]:
    """The names of the steps of a job that failed, in their order."""
    return [storable(step["name"]) for step in raw.get("steps") or () if step.get("conclusion") == "failure"]


def jobs(raw: Raw, repository: str, run: Raw) -> Iterable[WorkflowJob]:
    """Jobs from `/actions/runs/{id}/jobs`. A job with a status that is not known, because it is new, is left out."""
    return [job(each, repository, run) for each in raw["jobs"] if each["status"] in _STATUSES]


def job(raw: Raw, repository: str, run: Raw) -> WorkflowJob:
    """A job from `/actions/jobs/{id}`, or from a listing or an event with the same shape.

    Args:
        raw: the job.
        repository: owner/name.
        run: as `runs` returns it, or empty.
    """
    created = moment(raw.get("created_at") or raw.get("started_at") or run.get("created_at"))
    return WorkflowJob(
        id=int(raw["id"]),
        run_id=int(raw["run_id"]),
        repository=repository,
        name=storable(raw["name"]),
        workflow_name=_text(raw.get("workflow_name") or run.get("name")),
        labels=tuple(storable(label) for label in raw.get("labels") or ()),
        status=JobStatus(raw["status"]),
        conclusion=_text(raw.get("conclusion")),
        runner_id=int(raw.get("runner_id") or 0) or None,
        runner_name=_text(raw.get("runner_name")),
        runner_group=_text(raw.get("runner_group_name")),
        created_at=created or 0.0,
        started_at=moment(raw.get("started_at")),
        completed_at=moment(raw.get("completed_at")),
        head_branch=_text(raw.get("head_branch") or run.get("head_branch")),
        html_url=_text(raw.get("html_url")),
        run_attempt=_positive(raw.get("run_attempt")),
        public=bool(run.get("public")),
        fork=run.get("fork"),
    )


def runners(raw: Raw) -> Iterable[Runner]:
    """Runners from `/actions/runners`."""
    return [
        Runner(
            id=int(each["id"]),
            name=str(each["name"]),
            online=each.get("status") == "online",
            busy=bool(each.get("busy")),
            labels=tuple(str(label["name"]) for label in each.get("labels") or ()),
        )
        for each in raw["runners"]
    ]


def groups(raw: Raw) -> Iterable[tuple[str, int]]:
    """Runner groups from `/actions/runner-groups`: the name in lower case, and the id."""
    return [(str(each["name"]).lower(), int(each["id"])) for each in raw["runner_groups"]]


def jit_config(raw: Raw) -> JitConfig:
    """The answer of `generate-jitconfig`."""
    return JitConfig(runner_id=int(raw["runner"]["id"]), encoded=str(raw["encoded_jit_config"]))


def registration_token(raw: Raw) -> RegistrationToken:
    """The answer of `registration-token`."""
    return RegistrationToken(token=str(raw["token"]), expires_at=moment(raw["expires_at"]) or 0.0)
