"""Secrets never leave in a log line or an answer."""

import base64
import binascii
import json
import re
from collections.abc import Iterable

MASK = "***"

# https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/
_TOKENS = re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9._-]+|github_pat_\w+)")
_SHORTEST = 6


class Masker:
    """Masks secrets in text; learns new ones as they are made.

    Args:
        secrets: exact values.
    """

    def __init__(self, secrets: Iterable[str | None]) -> None:
        self._secrets: list[str] = []
        for secret in secrets:
            self.learn(secret)

    def learn(self, secret: str | None) -> None:
        """Mask `secret` from now on: whole, its lines, its base64, and the files within a JIT config."""
        if not secret:
            return
        forms = {secret, *secret.splitlines(), base64.b64encode(secret.encode()).decode(), *_files(secret)}
        self._secrets = sorted({*self._secrets, *(f for f in forms if len(f) >= _SHORTEST)}, key=len, reverse=True)

    def mask(self, text: str) -> str:
        """`text` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return _TOKENS.sub(MASK, text)


def _files(secret: str) -> Iterable[str]:
    """The base64 of each file within a JIT config; nothing for any other secret."""
    try:
        files = json.loads(base64.b64decode(secret, validate=True))
    except (binascii.Error, ValueError):
        return []
    return [value for value in files.values() if isinstance(value, str)] if isinstance(files, dict) else []
