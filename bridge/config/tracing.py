"""Where traces go: OpenTelemetry's own variables, https://opentelemetry.io/docs/specs/otel/protocol/exporter/.

The exporter reads them itself. This module decides whether there is one, and refuses what cannot work.
"""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from bridge.errors import ConfigError

DEFAULT_TIMEOUT = 10.0
"""s, as in OpenTelemetry's specification."""

LONGEST_TIMEOUT = 60.0
"""s."""

PROTOCOL = "http/protobuf"


@dataclass(frozen=True, kw_only=True)
class Tracing:
    """Where traces go.

    Args:
        host: of the collector, with its port, for error lines.
        timeout: s for one export with its retries.
        with_jobs: also send the spans of the job and of its time in the queue.
        secrets: values of the headers, which must never be shown.
    """

    host: str
    timeout: float = DEFAULT_TIMEOUT
    with_jobs: bool = True
    secrets: tuple[str, ...] = field(default=(), repr=False)


def tracing(*, with_jobs: bool, variables: Mapping[str, str] = os.environ) -> Tracing | None:
    """Where traces go; None if no endpoint is set, or OpenTelemetry is turned off.

    Args:
        with_jobs: as of `Tracing`.
        variables: the environment.

    Raises:
        ConfigError: a variable has a value that cannot work; one line without the value.
    """
    name, endpoint = _given(variables, "ENDPOINT")
    off = variables.get("OTEL_SDK_DISABLED", "").lower() == "true" or variables.get("OTEL_TRACES_EXPORTER") == "none"
    if off or not endpoint:
        return None
    protocol_name, protocol = _given(variables, "PROTOCOL")
    if protocol not in ("", PROTOCOL):
        raise ConfigError(f"{protocol_name}: must be {PROTOCOL}, the only protocol that the bridge sends")
    _, headers = _given(variables, "HEADERS")
    return Tracing(
        host=_host(name, endpoint),
        timeout=_timeout(variables),
        with_jobs=with_jobs,
        secrets=tuple(secret for secret in _secrets(endpoint, headers) if secret),
    )


def _given(variables: Mapping[str, str], what: str) -> tuple[str, str]:
    """The variable that is set, and its value: that of traces, or else that of all signals."""
    names = (f"OTEL_EXPORTER_OTLP_TRACES_{what}", f"OTEL_EXPORTER_OTLP_{what}")
    return next(((name, value) for name in names if (value := variables.get(name, "").strip())), (names[1], ""))


def _host(name: str, endpoint: str) -> str:
    try:
        parts = urlsplit(endpoint)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{name}: must be a URL such as http://collector:4318")
    return f"{parts.hostname}:{port}" if port else parts.hostname


def _timeout(variables: Mapping[str, str]) -> float:
    name, value = _given(variables, "TIMEOUT")
    try:
        seconds = float(value or DEFAULT_TIMEOUT)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= LONGEST_TIMEOUT:
        raise ConfigError(f"{name}: must be a number of seconds, at most {LONGEST_TIMEOUT:.0f}")
    return seconds


def _secrets(endpoint: str, headers: str) -> Iterator[str]:
    """The values of the headers, such as `authorization=Bearer%20KEY`, and a password in the address."""
    for pair in headers.split(","):
        value = unquote(pair.partition("=")[2].strip())
        yield from (value, *value.split(" ")[1:])
    if password := urlsplit(endpoint).password:
        yield unquote(password)
