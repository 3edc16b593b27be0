"""The payloads of GitHub's events, as webhooks and the delivery log carry them. Pure.

https://docs.github.com/webhooks/webhook-events-and-payloads
"""

import re
from typing import Any

from bridge.core.model import LONGEST_NAME, Delivery, WorkflowJob
from bridge.errors import Malformed
from bridge.github import parse

EVENTS = ("workflow_job", "ping", "installation", "installation_repositories")
"""The events that the bridge reads."""

_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_REPOSITORY = re.compile(rf"{_LOGIN.pattern}/[A-Za-z0-9_.-]{{1,100}}")


def delivery(event: str, payload: dict[str, Any]) -> Delivery:
    """What a payload says; only the event's name if it is not one of EVENTS.

    Args:
        event: the header X-GitHub-Event.
        payload: decoded JSON.

    Raises:
        Malformed: a required field is missing or has a wrong type.
    """
    if event not in EVENTS:
        return Delivery(event=event, owner=None)
    try:
        return _of_job(payload) if event == "workflow_job" else Delivery(event=event, owner=_owner(event, payload))
    except KeyError as error:
        raise Malformed(f"the field {error.args[0]} is missing") from None
    except (TypeError, ValueError, AttributeError, OverflowError):
        raise Malformed("a field does not have the type that GitHub documents") from None


def _of_job(raw: dict[str, Any]) -> Delivery:
    repository = raw["repository"]
    full_name = str(repository["full_name"])
    if not _REPOSITORY.fullmatch(full_name) or full_name.endswith(("/.", "/..")):
        raise Malformed("the field full_name is not owner/name")
    job = parse.job(raw["workflow_job"], full_name, {"public": not repository["private"]})
    _check_that_a_database_can_store(job)
    return Delivery(event="workflow_job", owner=job.repository.partition("/")[0], job=job)


def _check_that_a_database_can_store(job: WorkflowJob) -> None:
    for name in ("id", "run_id", "runner_id"):
        if not 0 <= (getattr(job, name) or 0) < 2**63:  # the largest integer of SQLite and PostgreSQL
            raise Malformed(f"the field {name} is out of range")
    if len(job.runner_name or "") > LONGEST_NAME:
        raise Malformed("the field runner_name is too long")


def _owner(event: str, raw: dict[str, Any]) -> str | None:
    """The account of an event that has no repository; None for an App's ping, which has no account."""
    account = raw["installation"]["account"] if event != "ping" else raw.get("organization")
    if not account:
        return None
    login = str(account["login"])
    if not _LOGIN.fullmatch(login):
        raise Malformed("the field login is not the name of an account")
    return login
