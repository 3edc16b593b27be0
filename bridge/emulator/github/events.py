"""The payloads of GitHub's webhooks: https://docs.github.com/webhooks/webhook-events-and-payloads"""

from collections.abc import Sequence
from typing import Any

from bridge.emulator.github import shapes
from bridge.emulator.github.access import App
from bridge.emulator.github.state import GitHubState, Job, Repository, iso

HOOK_ID = 1

PROPERTIES = {f"acme-property-{number:02}": f"what the organisation says of it {number:02}" for number in range(36)}
"""Custom properties of repositories. With them an event is as large as a real one, about 9 KB."""


class Payloads:
    """Builds payloads.

    Args:
        state: the model.
        app: the App that receives them.
    """

    def __init__(self, state: GitHubState, app: App) -> None:
        self._state = state
        self._app = app
        self.api = ""  # the API's base URL, once it is served

    def workflow_job(self, action: str, job: Job) -> dict[str, Any]:
        """An event of a job. Without a runner, its fields are null; in `completed` they are 0 and the empty string.

        https://docs.github.com/webhooks/webhook-events-and-payloads#workflow_job
        """
        repository = self._state.repositories[job.repository]
        shown = shapes.job(self._state, job, self.api)
        if action != "completed" and not shown["runner_id"]:
            shown |= dict.fromkeys(("runner_id", "runner_name", "runner_group_id", "runner_group_name"))
        shown["steps"] = _steps(job, action)
        return {
            "action": action,
            "workflow_job": shown,
            "repository": shapes.full_repository(self._state, repository, self.api) | {"custom_properties": PROPERTIES},
            **self._organisation(repository.owner),
            "sender": self._owner(repository.owner),
            "installation": {"id": self._app.installation_id, "node_id": f"IN_{self._app.installation_id}"},
        }

    def ping(self) -> dict[str, Any]:
        """The first event of a new webhook."""
        return {
            "zen": "Anything added dilutes everything else.",
            "hook_id": HOOK_ID,
            "hook": {
                "type": "App",
                "id": HOOK_ID,
                "name": "web",
                "active": True,
                "events": ["workflow_job"],
                "config": hook_config(self._app),
                "updated_at": shapes.EPOCH,
                "created_at": shapes.EPOCH,
                "app_id": self._app.app_id,
                "deliveries_url": f"{self.api}/app/hook/deliveries",
            },
        }

    def installation(self, action: str) -> dict[str, Any]:
        """The App was installed, suspended or removed."""
        owned = [
            r for r in self._state.repositories.values() if r.owner == self._app.owner and self._app.selects(r.name)
        ]
        return {
            "action": action,
            "installation": shapes.installation(self._state, self._app, self.api),
            "repositories": [_named(r) for r in owned],
            "requester": None,
            "sender": self._owner(self._app.owner),
        }

    def installation_repositories(
        self, action: str, added: Sequence[Repository], removed: Sequence[Repository]
    ) -> dict[str, Any]:
        """Repositories were added to the installation or removed from it."""
        return {
            "action": action,
            "installation": shapes.installation(self._state, self._app, self.api),
            "repository_selection": "selected",
            "repositories_added": [_named(r) for r in added],
            "repositories_removed": [_named(r) for r in removed],
            "requester": None,
            "sender": self._owner(self._app.owner),
        }

    def _owner(self, name: str) -> dict[str, Any]:
        return shapes.owner(self._state, name, self.api)

    def _organisation(self, name: str) -> dict[str, Any]:
        if name not in self._state.organisations:
            return {}
        base = f"{self.api}/orgs/{name}"
        urls = ("repos", "events", "hooks", "issues", "members", "public_members")
        login = {"login": name, "id": self._state.organisations[name], "node_id": f"O_{name}", "url": base}
        named = {f"{each}_url": f"{base}/{each}" for each in urls}
        return {"organization": {**login, **named, "avatar_url": f"{base}/avatar", "description": None}}


def hook_config(app: App) -> dict[str, str]:
    """The App's webhook as GitHub shows it, without its secret."""
    shown = {"content_type": "json", "insecure_ssl": app.webhook_insecure_ssl, "secret": "********"}
    return {**shown, "url": app.webhook_url} if app.webhook_url else shown


def _named(repository: Repository) -> dict[str, Any]:
    return {
        "id": repository.id,
        "node_id": f"R_{repository.id}",
        "name": repository.name,
        "full_name": repository.full_name,
        "private": repository.private,
    }


def _steps(job: Job, action: str) -> list[dict[str, Any]]:
    """The first and last steps of every job. GitHub lists the steps that have begun."""
    if action not in ("in_progress", "completed") or not job.executions:
        return []
    names = ("Set up job",) if action == "in_progress" else ("Set up job", "Run actions/checkout@v4", "Complete job")
    began = iso(job.started_at)
    ended = iso(job.completed_at)
    status = {"status": action, "conclusion": job.conclusion if ended else None}
    return [
        {"name": name, **status, "number": number, "started_at": began, "completed_at": ended}
        for number, name in enumerate(names, 1)
    ]
