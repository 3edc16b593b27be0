"""GitHub's JSON -> our values. Lenient: only what is needed must be there."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from bridge.core.model import JitConfig, JobStatus, RegistrationToken, Repository, Runner, WaitingRun, WorkflowJob

Raw = Mapping[str, Any]
_STATUSES = frozenset(JobStatus)


def _clean(text: Any) -> str:
    """A text that any database can hold: PostgreSQL refuses NUL, and half a surrogate pair is no text."""
    return str(text).replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _text(value: Any) -> str | None:
    return _clean(value) if value else None


def moment(text: str | None) -> float | None:
    """Unix seconds of a timestamp, with or without fractions, in any zone."""
    return datetime.fromisoformat(text).timestamp() if text else None


def repositories(raw: Any) -> Iterable[Repository]:
    """Of `/installation/repositories` or `/orgs/{org}/repos`; archived and disabled ones left out."""
    listed = raw["repositories"] if isinstance(raw, dict) else raw
    return [repository(each) for each in listed if not (each.get("archived") or each.get("disabled"))]


def repository(raw: Raw) -> Repository:
    """Of `/repos/{owner}/{repo}`, or of a listing."""
    return Repository(id=int(raw.get("id") or 0), full_name=str(raw["full_name"]), public=not raw.get("private", True))


def runs(raw: Raw) -> Iterable[Raw]:
    """Of `/actions/runs`: what its jobs do not say themselves."""
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
    """Of a run as `runs` gives it."""
    created = moment(run["created_at"]) or 0.0
    return WaitingRun(
        id=run["id"],
        repository=repository,
        created_at=created,
        updated_at=moment(run["updated_at"]) or created,
        details=run,
    )


def fork(run: Raw) -> bool:
    """Of a run: whether it comes from a fork. The head of a fork that has been deleted is null."""
    head, base = run.get("head_repository"), run.get("repository")
    return not (head and base) or head.get("full_name") != base.get("full_name")


def jobs(raw: Raw, repository: str, run: Raw) -> Iterable[WorkflowJob]:
    """Of `/actions/runs/{id}/jobs`. One whose status GitHub has since invented is not queued, and hides no other."""
    return [job(each, repository, run) for each in raw["jobs"] if each["status"] in _STATUSES]


def job(raw: Raw, repository: str, run: Raw) -> WorkflowJob:
    """Of `/actions/jobs/{id}`, or of a run's listing or an event with the same shape.

    Args:
        raw: the job.
        repository: owner/name.
        run: as `runs` gives it, or empty.
    """
    created = moment(raw.get("created_at") or raw.get("started_at") or run.get("created_at"))
    return WorkflowJob(
        id=int(raw["id"]),
        run_id=int(raw["run_id"]),
        repository=repository,
        name=_clean(raw["name"]),
        workflow_name=_text(raw.get("workflow_name") or run.get("name")),
        labels=tuple(_clean(label) for label in raw.get("labels") or ()),
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
        public=bool(run.get("public")),
        fork=run.get("fork"),
    )


def runners(raw: Raw) -> Iterable[Runner]:
    """Of `/actions/runners`."""
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
    """Of `/actions/runner-groups`: name in lower case, and id."""
    return [(str(each["name"]).lower(), int(each["id"])) for each in raw["runner_groups"]]


def jit_config(raw: Raw) -> JitConfig:
    """Of `generate-jitconfig`."""
    return JitConfig(runner_id=int(raw["runner"]["id"]), encoded=str(raw["encoded_jit_config"]))


def registration_token(raw: Raw) -> RegistrationToken:
    """Of `registration-token`."""
    return RegistrationToken(token=str(raw["token"]), expires_at=moment(raw["expires_at"]) or 0.0)
