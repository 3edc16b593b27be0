"""Until when GitHub accepts a version of the official runner."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.github.parse import moment


@dataclass(frozen=True, kw_only=True)
class Deprecation:
    """The end of a version.

    Args:
        runs_until: Unix seconds, after which GitHub gives its runners no jobs; None if GitHub names no time.
    """

    runs_until: float | None


def deprecation(raw: Mapping[str, Any]) -> Deprecation:
    """The answer to `/{target}/actions/runners/deprecations/{version}`.

    https://docs.github.com/actions/reference/runners/self-hosted-runners#runner-software-updates-on-self-hosted-runners
    """
    return Deprecation(runs_until=moment(raw.get("runtime_deprecates_at")))
