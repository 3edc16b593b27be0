"""Logs: one line per transition, on stderr, with secrets masked."""

import re
import sys
from collections.abc import Iterable

import structlog
from structlog.typing import EventDict, WrappedLogger

# https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/
_TOKENS = re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9._-]+|github_pat_\w+)")
MASK = "***"


class Masking:
    """A log processor that masks secrets, wherever in a line they stand.

    Args:
        secrets: exact values; GitHub's tokens are recognised without being named.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted(filter(None, secrets), key=len, reverse=True)

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Mask every text of the line."""
        return {key: self.mask(value) if isinstance(value, str) else value for key, value in event.items()}

    def mask(self, text: str) -> str:
        """`text` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return _TOKENS.sub(MASK, text)


def configure_logging(secrets: Iterable[str]) -> None:
    """Send structlog's events to stderr: for a person at a terminal, else as JSON lines.

    Args:
        secrets: values that must not appear.
    """
    person = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer = person if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,  # before the masking: an error's text may hold a secret
            Masking(secrets),
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
