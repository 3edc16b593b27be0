"""GitHub's JSON for the model, complete enough for clients generated from GitHub's OpenAPI description.

https://github.com/github/rest-api-description
"""

from typing import Any

from bridge.emulator.github.access import App
from bridge.emulator.github.model import GroupRules
from bridge.emulator.github.state import GitHubState, Job, Repository, Run, Runner, iso
from bridge.emulator.github.steps import steps

EPOCH = "2026-01-01T00:00:00Z"

FORKS = 10**9
"""Added to a repository's id for the id of its fork; the model's own ids are smaller."""

_REPOSITORY_URLS = (
    "archive assignees blobs branches collaborators comments commits compare contents contributors deployments "
    "downloads events forks git_commits git_refs git_tags hooks issue_comment issue_events issues keys labels "
    "languages merges milestones notifications pulls releases stargazers statuses subscribers subscription tags "
    "teams trees"
).split()

_USER_URLS = ("followers following gists starred subscriptions organizations repos events received_events").split()


def user(login: str, user_id: int, kind: str, api: str) -> dict[str, Any]:
    """A user or organisation."""
    base = f"{api}/users/{login}"
    return {
        "login": login,
        "id": user_id,
        "node_id": f"U_{user_id}",
        "avatar_url": f"{base}/avatar",
        "gravatar_id": "",
        "url": base,
        "html_url": base,
        "type": kind,
        "site_admin": False,
        **{f"{name}_url": f"{base}/{name}" for name in _USER_URLS},
    }


def owner(state: GitHubState, name: str, api: str) -> dict[str, Any]:
    """The owner of repositories."""
    if name in state.organisations:
        return user(name, state.organisations[name], "Organization", api)
    return user(name, 1, "User", api)


_ORGANISATION_URLS = ("repos", "events", "hooks", "issues", "members", "public_members", "avatar")


def organisation(name: str, number: int, url: str) -> dict[str, Any]:
    """An organisation inside a membership."""
    named = {"login": name, "id": number, "node_id": f"O_{number}", "url": url, "description": None}
    return {**named, **{f"{each}_url": f"{url}/{each}" for each in _ORGANISATION_URLS}}


def minimal_repository(state: GitHubState, repository: Repository, api: str) -> dict[str, Any]:
    """A repository inside a run."""
    base = f"{api}/repos/{repository.full_name}"
    return {
        "id": repository.id,
        "node_id": f"R_{repository.id}",
        "name": repository.name,
        "full_name": repository.full_name,
        "owner": owner(state, repository.owner, api),
        "private": repository.private,
        "html_url": base,
        "description": None,
        "fork": False,
        "url": base,
        **{f"{name}_url": f"{base}/{name}" for name in _REPOSITORY_URLS},
        # GitHub's description has these in `minimal-repository`, too, so /orgs/{org}/repos shows which are archived.
        "archived": repository.archived,
        "disabled": repository.disabled,
        "visibility": "private" if repository.private else "public",
    }


def fork(state: GitHubState, repository: Repository, api: str) -> dict[str, Any]:
    """A fork of a repository, by another user."""
    made = Repository(id=FORKS + repository.id, owner="contributor", name=repository.name, private=repository.private)
    return {**minimal_repository(state, made, api), "fork": True}


def full_repository(state: GitHubState, repository: Repository, api: str) -> dict[str, Any]:
    """A repository in a listing."""
    base = f"{api}/repos/{repository.full_name}"
    counts = ("forks", "forks_count", "open_issues", "open_issues_count", "stargazers_count", "watchers")
    switches = ("has_downloads", "has_issues", "has_pages", "has_projects", "has_wiki", "has_discussions")
    return {
        **minimal_repository(state, repository, api),
        **dict.fromkeys((*counts, "watchers_count", "size"), 0),
        **dict.fromkeys(switches, False),
        **{f"{name}_url": base for name in ("clone", "git", "ssh", "svn")},
        "created_at": EPOCH,
        "updated_at": EPOCH,
        "pushed_at": EPOCH,
        "default_branch": "main",
        "homepage": None,
        "language": None,
        "license": None,
        "mirror_url": None,
    }


def _settings_of(state: GitHubState, name: str, api: str) -> str:
    """The page of an owner's settings. https://docs.github.com/rest/apps/installations"""
    web = api.removesuffix("/api/v3")
    return f"{web}/organizations/{name}/settings" if name in state.organisations else f"{web}/settings"


def installation(state: GitHubState, app: App, api: str) -> dict[str, Any]:
    """The installation of the App."""
    base = f"{api}/app/installations/{app.installation_id}"
    account = owner(state, app.owner, api)
    return {
        "id": app.installation_id,
        "account": account,
        "repository_selection": "all" if app.repositories is None else "selected",
        "access_tokens_url": f"{base}/access_tokens",
        "repositories_url": f"{api}/installation/repositories",
        "html_url": f"{_settings_of(state, app.owner, api)}/installations/{app.installation_id}",
        "app_id": app.app_id,
        "app_slug": app.slug,
        "client_id": app.client_id,
        "target_id": account["id"],
        "target_type": account["type"],
        "permissions": app.permissions,
        "events": app.events,
        "created_at": EPOCH,
        "updated_at": EPOCH,
        "single_file_name": None,
        "suspended_by": account if app.suspended else None,
        "suspended_at": EPOCH if app.suspended else None,
    }


def run(state: GitHubState, made: Run, api: str) -> dict[str, Any]:
    """A workflow run."""
    of = state.repositories[made.repository]
    repository = minimal_repository(state, of, api)
    base = f"{repository['url']}/actions/runs/{made.id}"
    urls = ("jobs", "logs", "check_suite", "artifacts", "cancel", "rerun", "workflow")
    return {
        "id": made.id,
        "name": made.spec.workflow,
        "node_id": f"WFR_{made.id}",
        "head_branch": made.spec.branch,
        "head_sha": made.spec.sha,
        "path": made.spec.path,
        "display_title": made.spec.workflow,
        "run_number": made.number,
        "run_attempt": made.attempt,
        "event": made.spec.event,
        "status": made.status,
        "conclusion": made.conclusion,
        "workflow_id": 1,
        "check_suite_id": made.id,
        "check_suite_node_id": f"CS_{made.id}",
        "url": base,
        "html_url": _run_page(made.repository, made.id, api),
        **{f"{name}_url": f"{base}/{name}" for name in urls},
        "previous_attempt_url": f"{base}/attempts/{made.attempt - 1}" if made.attempt > 1 else None,
        "pull_requests": [],
        "created_at": iso(made.created_at),
        "updated_at": iso(made.attempt_at or made.created_at),
        "run_started_at": iso(made.attempt_at or made.created_at),
        "actor": repository["owner"],
        "triggering_actor": repository["owner"],
        "head_commit": _commit(made),
        "repository": repository,
        "head_repository": fork(state, of, api) if made.spec.fork else repository,
    }


def _run_page(repository: str, run_id: int, api: str) -> str:
    """A run's page: https://docs.github.com/rest/actions/workflow-runs#get-a-workflow-run has it as `html_url`."""
    return f"{api.removesuffix('/api/v3')}/{repository}/actions/runs/{run_id}"


def _commit(made: Run) -> dict[str, Any]:
    author = {"name": "emulator", "email": "emulator@example.com"}
    return {
        "id": made.spec.sha,
        "tree_id": made.spec.sha,
        "message": made.spec.workflow,
        "timestamp": iso(made.created_at),
        "author": author,
        "committer": author,
    }


def job(state: GitHubState, made: Job, api: str) -> dict[str, Any]:
    """A workflow job. GitHub sets `started_at` even for queued jobs."""
    spec = state.runs[made.run_id].spec
    base = f"{api}/repos/{made.repository}/actions/jobs/{made.id}"
    holder = made.runner if made.acquired else None
    return {
        "id": made.id,
        "run_id": made.run_id,
        "run_url": f"{api}/repos/{made.repository}/actions/runs/{made.run_id}",
        "run_attempt": made.run_attempt,
        "node_id": f"CR_{made.id}",
        "head_sha": spec.sha,
        "head_branch": spec.branch,
        "workflow_name": spec.workflow,
        "url": base,
        "html_url": f"{_run_page(made.repository, made.run_id, api)}/job/{made.id}",
        "check_run_url": f"{base}/check-run",
        "status": made.status,
        "conclusion": made.conclusion,
        "created_at": iso(made.created_at),
        "started_at": iso(made.started_at if made.started_at is not None else made.created_at),
        "completed_at": iso(made.completed_at),
        "name": made.spec.name,
        "steps": steps(made),
        "labels": list(made.spec.labels),
        "runner_id": holder.id if holder else 0,
        "runner_name": holder.name if holder else "",
        "runner_group_id": holder.group_id if holder else 0,
        "runner_group_name": state.groups[holder.group_id] if holder else "",
    }


def runner(state: GitHubState, made: Runner) -> dict[str, Any]:
    """A self-hosted runner."""
    return {
        "id": made.id,
        "name": made.name,
        "os": "unknown" if not made.version else "linux",
        "status": "online" if state.online(made) else "offline",
        "busy": made.job is not None,
        "ephemeral": made.ephemeral,
        "runner_group_id": made.group_id,
        "labels": [{"id": n, "name": label, "type": "custom"} for n, label in enumerate(made.labels, 1)],
    }


def group(state: GitHubState, group_id: int, target: str, api: str) -> dict[str, Any]:
    """A runner group of an organisation."""
    base = f"{api}/{target}/actions/runner-groups/{group_id}"
    rules = state.group_rules.get(group_id, GroupRules())
    selected = {"visibility": "selected", "selected_repositories_url": f"{base}/repositories"}
    return {
        "id": group_id,
        "name": state.groups[group_id],
        **(selected if group_id in state.admitted else {"visibility": "private" if rules.private else "all"}),
        "default": group_id == 1,
        "runners_url": f"{base}/runners",
        "inherited": False,
        "allows_public_repositories": rules.public,
        "restricted_to_workflows": bool(rules.workflows),
        "selected_workflows": list(rules.workflows),
        "workflow_restrictions_read_only": False,
    }
