"""GitHub's webhook: checks who signed a delivery, and reads it. Pure."""

import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from urllib.parse import parse_qs

from bridge.core.model import Delivery
from bridge.errors import Malformed
from bridge.github import payloads

_SIGNATURE = re.compile("sha256=[0-9a-f]{64}")


class Webhook:
    """Reads the deliveries of one webhook.

    Args:
        secrets: a delivery may be signed with any of them, so that a secret can be changed without a gap.
    """

    events = payloads.EVENTS
    """The events that `read` reads. Of other events it keeps the name only."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = secrets

    def may_be_signature(self, signature: str) -> bool:
        """Whether the header X-Hub-Signature-256 is well-formed. If it is not, the body need not be read."""
        return bool(_SIGNATURE.fullmatch(signature))

    def is_signed(self, body: bytes, signature: str) -> bool:
        """Whether `body` was signed with one of the secrets, compared in constant time.

        Args:
            body: as received, byte for byte.
            signature: the header X-Hub-Signature-256.

        https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries
        """
        made = [f"sha256={hmac.digest(secret.encode(), body, hashlib.sha256).hex()}" for secret in self._secrets]
        given = signature.encode(errors="replace")
        return any([hmac.compare_digest(each.encode(), given) for each in made])  # noqa: C419 - compare with every one

    def read(self, event: str, body: bytes, content_type: str = "application/json") -> Delivery:
        """Read a delivery.

        Args:
            event: the header X-GitHub-Event.
            body: as received.
            content_type: the header Content-Type. GitHub sends JSON, or a form with JSON in its field `payload`:
                https://docs.github.com/webhooks/using-webhooks/creating-webhooks

        Raises:
            Malformed: the body is not a JSON object, or a required field is missing or wrong.
        """
        is_form = content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded"
        try:
            payload = json.loads(_form_payload(body) if is_form else body)
        except (ValueError, RecursionError):
            raise Malformed("the body is not JSON") from None
        if not isinstance(payload, dict):
            raise Malformed("the body is not a JSON object")
        return payloads.delivery(event, payload)


def _form_payload(body: bytes) -> bytes:
    try:
        (found,) = parse_qs(body, max_num_fields=16)[b"payload"]
    except (ValueError, KeyError):  # ValueError: too many fields, or several named payload
        raise Malformed("the body is not a form with one field named payload") from None
    return found
