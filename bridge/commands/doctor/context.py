"""The clients that the checks share."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from bridge.commands.composition import auth_of
from bridge.config.settings import Config
from bridge.github.api import GitHub
from bridge.github.auth import AppAuth, PatAuth
from bridge.github.timing import DEFAULT_TIMING, GitHubTiming
from bridge.github.transport import http_client


@dataclass(frozen=True, kw_only=True)
class Context:
    """One run.

    Args:
        path: of bridge.toml, None if the environment is the whole configuration.
        settings: the configuration.
        http: for GitHub, and for the service's public address.
        auth: of GitHub.
        github: GitHub's client.
        timing: this machine's clock, and the waiting times.
    """

    path: Path | None
    settings: Config
    http: httpx.AsyncClient
    auth: AppAuth | PatAuth
    github: GitHub
    timing: GitHubTiming


@contextlib.asynccontextmanager
async def opened(settings: Config, path: Path | None, timing: GitHubTiming = DEFAULT_TIMING) -> AsyncIterator[Context]:
    """The context, until the block ends.

    Raises:
        ConfigError: the App's key cannot be used.
    """
    async with http_client() as http:
        auth = auth_of(settings, http, timing)
        yield Context(
            path=path,
            settings=settings,
            http=http,
            auth=auth,
            github=GitHub(http, auth, api_url=settings.github_api_url, timing=timing),
            timing=timing,
        )
