"""Logs to stderr, and masks secrets in logs and in everything else that is shown."""

import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any
from urllib.parse import quote

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

MASK = "***"

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
"""The lowest level of the log lines that are shown, by its name in the configuration."""

SHORTEST = 8
"""Characters from which on a value is masked. Shorter values would match too much ordinary text."""

# https://docs.github.com/authentication/keeping-your-account-and-data-secure/about-authentication-to-github#githubs-token-formats
# https://github.blog/changelog/2026-04-24-notice-about-upcoming-new-format-for-github-app-installation-tokens/
# https://www.runpod.io/blog/scoped-api-keys-runpod
# A token may follow a terminal's colour code, which ends with an m.
_SHAPES = re.compile(
    r"(?:\b|(?<=m))(?:gh[pousr]_[A-Za-z0-9._-]+|github_pat_\w+|rpa_\w+)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)

# Three parts in base64 are a JWT, as an App uses. The first part is taken whole even if the others are missing: to try
# each place in it again would take minutes for a hostile text of 1 MiB.
_JWTS = re.compile(r"(?:\b|(?<=m))eyJ[\w-]++(\.[\w-]++\.[\w-]+)?")


class Masking:
    """Masks secrets. It is also a log processor.

    Args:
        secrets: exact values. Tokens of GitHub and RunPod, JWTs and private keys are recognised by their form.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= SHORTEST}
        self._secrets = sorted(forms, key=len, reverse=True)

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Mask the values of a log line."""
        masked: EventDict = self.mask(event)
        return masked

    def mask(self, value: Any) -> Any:
        """A value without the secrets in its texts."""
        match value:
            case str():
                return self._text(value)
            case bool() | int() | float() | None:
                return value
            case dict():
                return {self.mask(key): self.mask(each) for key, each in value.items()}
            case list() | tuple():
                return [self.mask(each) for each in value]
            case _:
                return self._text(repr(value))

    def _text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return _SHAPES.sub(MASK, _JWTS.sub(lambda found: MASK if found[1] else found[0], text))


def _forms(secret: str) -> Iterator[str]:
    """The forms that a secret can have in a text: plain, in JSON, a repr or a URL, and each line of a key."""
    yield from (secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret), quote(secret, safe=""))
    lines = secret.replace("\\r", "").replace("\\n", "\n").splitlines()
    yield from (line for line in lines if not line.startswith("-----"))


_current = [Masking(())]


def mask(value: Any) -> Any:
    """A value without the secrets that were passed to `configure_logging`."""
    return _current[-1].mask(value)


def plain(value: object) -> str:
    """The value as text without secrets and without characters that control a terminal or the direction of text."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in mask(str(value)))


def configure_logging(secrets: Iterable[str], level: str = "info") -> None:
    """Send all logs to stderr, as text on a terminal and otherwise as JSON lines. Mask secrets there and in `mask`.

    Args:
        secrets: values that must never be shown.
        level: of LEVELS; lines below it are not shown. Libraries show warnings and errors only.
    """
    _current[:] = [masking := Masking(secrets)]
    renderer = _for_people() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    marks: list[Processor] = [structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    # In this order, because the text of an error may contain a secret.
    ends: list[Processor] = [structlog.processors.format_exc_info, masking, renderer]
    structlog.configure(
        processors=[*marks, *ends],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    others = logging.StreamHandler(sys.stderr)
    others.setLevel(max(LEVELS[level], logging.WARNING))
    others.setFormatter(
        ProcessorFormatter(foreign_pre_chain=marks, processors=[ProcessorFormatter.remove_processors_meta, *ends])
    )
    logging.lastResort = others  # for libraries, which do not configure logging
    sys.excepthook = _show_exception


def _for_people() -> structlog.dev.ConsoleRenderer:
    """Text for a terminal. https://no-color.org: a variable NO_COLOR that is not empty turns colours off."""
    colors = not os.environ.get("NO_COLOR")
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)


def _show_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    print(mask("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)
