"""Keeps secrets out of log lines and answers."""

import base64
import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "***"

# https://docs.github.com/authentication/keeping-your-account-and-data-secure/about-authentication-to-github#githubs-token-formats
# https://github.blog/changelog/2026-04-24-notice-about-upcoming-new-format-for-github-app-installation-tokens/
# A token may follow a terminal's colour code, which ends with an m.
_TOKENS = re.compile(r"(?:\b|(?<=m))(?:gh[pousr]_[A-Za-z0-9._-]+|github_pat_\w+)")
_SHORTEST = 6


class Masker:
    """Masks secrets in text. New secrets can be added.

    Args:
        secrets: their values; None and empty ones are ignored.
    """

    def __init__(self, secrets: Iterable[str | None]) -> None:
        self._secrets: list[str] = []
        for secret in secrets:
            self.learn(secret)

    def learn(self, secret: str | None) -> None:
        """Mask `secret` from now on: also its lines, its base64, the lines of a key, and the files of a JIT config."""
        if not secret:
            return
        encoded = base64.b64encode(secret.encode(errors="surrogatepass")).decode()
        forms = {secret, encoded, *_lines(secret), *_lines(_key(secret)), *_files(secret)}
        self._secrets = sorted({*self._secrets, *(f for f in forms if len(f) >= _SHORTEST)}, key=len, reverse=True)

    def mask(self, text: str) -> str:
        """`text` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return _TOKENS.sub(MASK, text)

    def masked(self, value: Any) -> Any:
        """A JSON value with every string in it masked. Mask before encoding: JSON escapes would hide a secret."""
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, Mapping):
            return {key: self.masked(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.masked(each) for each in value]
        return value


def _lines(text: str) -> Iterable[str]:
    return (line.strip() for line in text.replace("\\n", "\n").splitlines())


def _key(secret: str) -> str:
    """The PEM, if the secret is the base64 of one; else the empty string."""
    with contextlib.suppress(ValueError):
        text = base64.b64decode(secret).decode()
        return text if text.startswith("-----BEGIN") else ""
    return ""


def _files(secret: str) -> Iterable[str]:
    """The base64 of each file, if the secret is a JIT config; else nothing."""
    with contextlib.suppress(ValueError, RecursionError):
        files = json.loads(base64.b64decode(secret, validate=True))
        return [value for value in files.values() if isinstance(value, str)] if isinstance(files, dict) else []
    return []
