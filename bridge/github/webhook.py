"""GitHub's deliveries: is it GitHub, and what does it tell? Pure."""

import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs

from bridge.core.model import LONGEST_NAME, Delivery, WorkflowJob
from bridge.errors import Malformed
from bridge.github import parse

_SIGNATURE = re.compile("sha256=[0-9a-f]{64}")

_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_REPOSITORY = re.compile(rf"{_LOGIN.pattern}/[A-Za-z0-9_.-]{{1,100}}")
UNDERSTOOD = ("workflow_job", "ping", "installation", "installation_repositories")


class Webhook:
    """The deliveries of one webhook.

    Args:
        secrets: any of them may sign a delivery, so that they can be rotated.
    """

    events = UNDERSTOOD
    """What `read` understands; of other events it reads nothing."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = secrets

    def may_be_signature(self, signature: str) -> bool:
        """Whether the header X-Hub-Signature-256 has the shape of a signature, so that its body is worth reading."""
        return bool(_SIGNATURE.fullmatch(signature))

    def is_signed(self, body: bytes, signature: str) -> bool:
        """See `is_signed`."""
        return is_signed(body, signature, self._secrets)

    def read(self, event: str, body: bytes, content_type: str) -> Delivery:
        """See `read`."""
        return read(event, body, content_type)


def is_signed(body: bytes, signature: str, secrets: Sequence[str]) -> bool:
    """Whether one of `secrets` signed `body`, compared in constant time.

    Args:
        body: as received, byte for byte.
        signature: the header X-Hub-Signature-256.
        secrets: of which any may have been used, so that they can be rotated.

    https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
    """
    made = [f"sha256={hmac.digest(secret.encode(), body, hashlib.sha256).hex()}" for secret in secrets]
    given = signature.encode(errors="replace")
    return any([hmac.compare_digest(each.encode(), given) for each in made])  # noqa: C419 - every one is compared


def read(event: str, body: bytes, content_type: str = "application/json") -> Delivery:
    """Read a delivery's payload.

    Args:
        event: the header X-GitHub-Event.
        body: as received.
        content_type: the header Content-Type. GitHub sends JSON, or a form with JSON in its field `payload`:
            https://docs.github.com/webhooks/using-webhooks/creating-webhooks

    Raises:
        Malformed: it is no JSON object, or one of ours without a field that it must have.
    """
    is_form = content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded"
    try:
        raw = json.loads(_form_payload(body) if is_form else body)
    except (ValueError, RecursionError):
        raise Malformed("not JSON") from None
    if not isinstance(raw, dict):
        raise Malformed("not a JSON object")
    return of_payload(event, raw)


def _form_payload(body: bytes) -> bytes:
    try:
        (found,) = parse_qs(body, max_num_fields=16)[b"payload"]
    except (ValueError, KeyError):  # ValueError: too many fields, or several of them
        raise Malformed("not a form with one field named payload") from None
    return found


def of_payload(event: str, raw: dict[str, Any]) -> Delivery:
    """As `read`, for a payload that has been decoded.

    Raises:
        Malformed: a field that it must have is missing.
    """
    if event not in UNDERSTOOD:
        return Delivery(event=event, owner=None)
    try:
        return _of_job(raw) if event == "workflow_job" else Delivery(event=event, owner=_owner(event, raw))
    except KeyError as error:
        raise Malformed(f"the field {error.args[0]} is missing") from None
    except (TypeError, ValueError, AttributeError, OverflowError):
        raise Malformed("a field is not of the type that GitHub documents") from None


def _of_job(raw: dict[str, Any]) -> Delivery:
    repository = raw["repository"]
    full_name = str(repository["full_name"])
    if not _REPOSITORY.fullmatch(full_name) or full_name.endswith(("/.", "/..")):
        raise Malformed("the field full_name is not owner/name")
    job = parse.job(raw["workflow_job"], full_name, {"public": not repository["private"]})
    _refuse_what_no_database_holds(job)
    return Delivery(event="workflow_job", owner=job.repository.partition("/")[0], job=job)


def _refuse_what_no_database_holds(job: WorkflowJob) -> None:
    for name in ("id", "run_id", "runner_id"):
        if not 0 <= (getattr(job, name) or 0) < 2**63:  # SQLite's and PostgreSQL's largest integer
            raise Malformed(f"the field {name} is out of range")
    if len(job.runner_name or "") > LONGEST_NAME:
        raise Malformed("the field runner_name is too long")


def _owner(event: str, raw: dict[str, Any]) -> str | None:
    """The account that an event without a repository is about; an App's ping is about none."""
    account = raw["installation"]["account"] if event != "ping" else raw.get("organization")
    if not account:
        return None
    login = str(account["login"])
    if not _LOGIN.fullmatch(login):
        raise Malformed("the field login is not the name of an account")
    return login
