"""GitHub's deliveries: is it GitHub, and what does it tell? Pure."""

import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bridge.github import parse
from bridge.model import WorkflowJob

_SIGNATURE = re.compile("sha256=[0-9a-f]{64}")

UNDERSTOOD = ("workflow_job", "ping", "installation", "installation_repositories")


class Malformed(Exception):
    """A delivery of ours that cannot be read; it says what is missing."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What a delivery tells.

    Args:
        event: as GitHub names it.
        owner: of the repository or installation that it is about, as far as it tells.
        job: of a `workflow_job`.
    """

    event: str
    owner: str | None
    job: WorkflowJob | None = None


def may_be_signature(signature: str) -> bool:
    """Whether the header X-Hub-Signature-256 has the shape of a signature, so that its body is worth reading."""
    return bool(_SIGNATURE.fullmatch(signature))


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


def read(event: str, body: bytes) -> Delivery:
    """Read a delivery's payload.

    Raises:
        Malformed: it is no JSON object, or one of ours without a field that it must have.
    """
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError):
        raise Malformed("not JSON") from None
    if not isinstance(raw, dict):
        raise Malformed("not a JSON object")
    return of_payload(event, raw)


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
    job = parse.job(raw["workflow_job"], str(repository["full_name"]), {"public": not repository["private"]})
    return Delivery(event="workflow_job", owner=job.repository.partition("/")[0], job=job)


def _owner(event: str, raw: dict[str, Any]) -> str | None:
    """The account that an event without a repository is about; an App's ping is about none."""
    if event != "ping":
        return str(raw["installation"]["account"]["login"])
    organisation = raw.get("organization")
    return str(organisation["login"]) if organisation else None
