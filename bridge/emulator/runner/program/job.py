"""The job message as the Listener and the Worker read it, and the report of the job's end."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import console, web
from .session import pause
from .web import Unreachable

COMPLETE_TRIES = 5
COMPLETE_INTERVAL = 5.0
"""s between two attempts."""


class Job:
    """A job message.

    Args:
        message: of the run service.
    """

    def __init__(self, message: Mapping[str, Any]) -> None:
        self.message = message

    @property
    def id(self) -> str:
        """A GUID."""
        return str(self.message["jobId"])

    @property
    def ids(self) -> dict[str, str]:
        """What calls about the job contain."""
        return {"planId": str(self.message["plan"]["planId"]), "jobId": self.id}

    @property
    def name(self) -> str:
        """Its display name, on one line."""
        return str(self.message["jobDisplayName"])

    @property
    def run_url(self) -> str:
        """The base URL of the run service."""
        return str(self._endpoint["url"])

    @property
    def authorization(self) -> str:
        """The header with the job's token."""
        return f"Bearer {self._endpoint['authorization']['parameters']['AccessToken']}"

    @property
    def _endpoint(self) -> Mapping[str, Any]:
        endpoints: list[Mapping[str, Any]] = self.message["resources"]["endpoints"]
        return next(each for each in endpoints if each["name"] == "SystemVssConnection")

    def variable(self, name: str) -> str:
        """A variable; empty if there is none."""
        return str((self.message["variables"].get(name) or {}).get("value", ""))

    def secrets(self) -> dict[str, str]:
        """The workflow's secrets: every secret variable that is not the system's."""
        variables: Mapping[str, Mapping[str, Any]] = self.message["variables"]
        return {
            name: str(each["value"])
            for name, each in variables.items()
            if each.get("isSecret") and not name.startswith("system.")
        }

    def masked(self) -> str:
        """The message as JSON, without its secrets."""
        text, variables = json.dumps({**self.message, "mask": []}, indent=2), self.message["variables"].values()
        hidden = [str(each["value"]) for each in variables if each.get("isSecret")]
        for value in (*hidden, self.authorization.removeprefix("Bearer ")):
            text = text.replace(json.dumps(value)[1:-1], "***") if value else text
        return text

    def context(self, name: str) -> Any:
        """A context as JSON."""
        return _plain(self.message["contextData"].get(name))


@dataclass(frozen=True, kw_only=True)
class Report:
    """The end of a job.

    Args:
        conclusion: succeeded, failed, canceled or skipped.
        outputs: of the job, by name.
        steps: results of its steps.
        annotations: of the job itself.
    """

    conclusion: str
    outputs: Mapping[str, str] = field(default_factory=dict)
    steps: Sequence[object] = ()
    annotations: Sequence[object] = ()


def complete(job: Job, report: Report, log: console.Diagnostics) -> bool:
    """Report the end of a job; False if the server did not accept it."""
    body = {
        **job.ids,
        "conclusion": report.conclusion,
        "outputs": {name: {"value": value} for name, value in report.outputs.items()},
        "stepResults": list(report.steps),
        "annotations": list(report.annotations),
        "telemetry": [],
        "billingOwnerId": job.message.get("billingOwnerId"),
    }
    for _ in range(COMPLETE_TRIES):
        try:
            return web.post(f"{job.run_url}completejob", body, job.authorization).ok
        except Unreachable as error:
            log.info(f"Catch exception during complete job. {error}")
            pause(COMPLETE_INTERVAL)
    return False


def _plain(value: Any) -> Any:
    """Context data as JSON."""
    if not isinstance(value, dict):
        return value
    if value.get("t") == 2:
        return {item["k"]: _plain(item["v"]) for item in value["d"]}
    return [_plain(each) for each in value.get("a", ())]
