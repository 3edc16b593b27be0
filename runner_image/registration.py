"""Registers a runner with config.sh, in the modes whose credential is a token or a key."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bridge.core.worker import Credentials, Reason
from bridge.errors import AuthError, BridgeError, ConfigError, OutcomeUnknown, RateLimited, Unavailable
from runner_image.failure import Failure
from runner_image.request import API, RunnerRequest

if TYPE_CHECKING:
    from bridge.github.api import GitHub

_NAME_TAKEN = re.compile(r"A runner exists with the same name")
_TOKEN_REFUSED = re.compile(r"Http response code: (?:Unauthorized|NotFound)|Invalid registration token")
# .NET's messages for a host that cannot be reached end with the host and port; the others are GitHub's own failures.
_UNREACHABLE = re.compile(
    r"\(\S+:\d+\)\s*$|The SSL connection could not be established"
    r"|Http response code: (?:InternalServerError|BadGateway|ServiceUnavailable|GatewayTimeout)",
    re.MULTILINE,
)


class Deletion(Enum):
    """GitHub's answer to the deletion of a runner."""

    AGREED = auto()  # the runner is gone, and can get no job
    BUSY = auto()  # refused: the runner has a job
    UNKNOWN = auto()  # no answer, or no permission


def config_arguments(request: RunnerRequest) -> list[str]:
    """Arguments for config.sh, without the token: every process can read them, so it goes through the environment."""
    group = ["--runnergroup", request.group] if request.group and request.target.startswith("orgs/") else []
    return [
        *("--unattended", "--ephemeral", "--disableupdate"),
        *("--url", request.url or "", "--name", request.name),
        *("--labels", ",".join(request.labels), "--work", "_work", *group),
    ]


def config_failure(lines: Sequence[str], code: int) -> Failure:
    """Why config.sh failed, from its output."""
    said = "\n".join(lines)
    if _NAME_TAKEN.search(said):
        return Failure(Reason.NAME_TAKEN, "a runner of this name is already registered at GitHub")
    if _TOKEN_REFUSED.search(said):
        return Failure(Reason.CREDENTIAL_EXPIRED, "GitHub rejected the registration token")
    last = next((line for line in reversed(lines) if line.strip()), "it printed nothing")
    reason = Reason.GITHUB_UNREACHABLE if _UNREACHABLE.search(said) else Reason.CONFIGURATION_FAILED
    return Failure(reason, f"config.sh exited with code {code}: {last.strip()}")


def registered_id(root: Path) -> int | None:
    """The id of the runner configured in `root`. The case of the file's keys differs between versions."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        settings = json.loads((root / ".runner").read_text(encoding="utf-8-sig"))
        return next((int(value) for key, value in settings.items() if key.lower() == "agentid"), None)
    return None


async def registration_token(request: RunnerRequest, environment: Mapping[str, str], limit: float) -> str:
    """The token that config.sh needs: from the request, or from GitHub with the PAT or the App's key.

    Args:
        request: in any mode but jit.
        environment: the worker's.
        limit: s for GitHub's answer.

    Raises:
        Failure: github_unreachable, or configuration_failed if GitHub refuses.
    """
    if request.mode is Credentials.REGISTRATION:
        return request.secret or ""
    try:
        async with asyncio.timeout(limit), _github(request, environment) as github:
            return (await github.registration_token(request.target)).token
    except TimeoutError:
        detail = f"cannot get a registration token: GitHub did not answer within {limit:.0f} s"
        raise Failure(Reason.GITHUB_UNREACHABLE, detail) from None
    except (AuthError, ConfigError) as error:
        raise Failure(Reason.CONFIGURATION_FAILED, str(error)) from None
    except (Unavailable, RateLimited, OutcomeUnknown) as error:
        raise Failure(Reason.GITHUB_UNREACHABLE, f"cannot get a registration token: {error}") from None
    except BridgeError as error:
        raise Failure(Reason.CONFIGURATION_FAILED, f"cannot get a registration token: {error}") from None


async def delete_registration(
    request: RunnerRequest, environment: Mapping[str, str], runner_id: int, *, limit: float
) -> Deletion:
    """Delete the runner that this request registered. If that fails, the bridge deletes it in its next pass.

    Args:
        request: in a mode whose credential allows it: app or pat.
        environment: the worker's.
        runner_id: GitHub's id of the runner.
        limit: s for the answer.
    """
    try:
        async with asyncio.timeout(limit), _github(request, environment) as github:
            return Deletion.AGREED if await github.delete_runner(request.target, runner_id) else Deletion.BUSY
    except (BridgeError, TimeoutError):
        return Deletion.UNKNOWN


@asynccontextmanager
async def _github(request: RunnerRequest, environment: Mapping[str, str]) -> "AsyncIterator[GitHub]":
    """A GitHub client. Imported here, because the modes jit and registration start faster without it."""
    from bridge.github.api import GitHub
    from bridge.github.auth import AppAuth, AppKey, PatAuth
    from bridge.github.transport import http_client

    api_url = environment.get("GITHUB_API_URL") or API
    async with http_client() as http:
        if request.mode is Credentials.PAT:
            yield GitHub(http, PatAuth(request.secret or ""), api_url=api_url)
            return
        auth = AppAuth(
            http,
            api_url=api_url,
            issuer=environment.get("GITHUB_APP_CLIENT_ID") or environment.get("GITHUB_APP_ID", ""),
            key=AppKey.load(environment.get("GITHUB_APP_PRIVATE_KEY", "")),
            owner=urlsplit(request.url or "").path.strip("/").partition("/")[0],
            installation_id=_installation(environment.get("GITHUB_APP_INSTALLATION_ID")),
        )
        yield GitHub(http, auth, api_url=api_url)


def _installation(given: str | None) -> int | None:
    try:
        return int(given) if given else None
    except ValueError:
        raise ConfigError("GITHUB_APP_INSTALLATION_ID: must be a number; unset it to have it looked up") from None
