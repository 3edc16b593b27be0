"""`config.sh`: registers this runner."""

import http
import platform
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from . import console, keys, settings, web
from .command import Command
from .web import Answer

ARCHITECTURES = {"x86_64": "X64", "amd64": "X64", "aarch64": "ARM64", "arm64": "ARM64", "armv7l": "ARM"}
MAX_LABEL = 256
CONFLICT = 409


class Refused(Exception):
    """The message to print before exiting with 1."""


def configure(root: Path, command: Command, version: str) -> None:
    """Register this runner at `--url` and write its files.

    Raises:
        Refused: by the server, or because an argument is invalid.
        Unreachable: the server did not answer.
    """
    if settings.is_configured(root):
        raise Refused(
            "Cannot configure the runner because it is already configured. "
            "To reconfigure the runner, run 'config.cmd remove' or './config.sh remove' first."
        )
    url, token, labels = _required(command, "url"), _required(command, "token"), _labels(command)
    name = command.argument("name", platform.node() or "myrunner")
    server = _Server(url, token)
    _section("Authentication")
    announced = server.post("runner-registration", {"url": url, "runner_event": "register"})
    group, known = server.group(command.argument("runnergroup", "Default")), server.runner(name)
    if known and not command.flag("replace"):
        raise _taken(name)
    key = keys.new_key()
    made = server.post(
        "runners/register",
        {
            "url": url,
            "group_id": group,
            "name": name,
            "version": version,
            "updates_disabled": command.flag("disableupdate"),
            "ephemeral": command.flag("ephemeral"),
            "labels": labels,
            "public_key": keys.public_xml(key),
            **({"runner_id": known, "replace": True} if known else {}),
        },
    )
    if made.status == CONFLICT:
        raise _taken(name)
    runner = _registered(command, made, url=url, server_url=str(announced.body["url"]))
    settings.save(root, runner, _credentials(made, key))
    settings.save_environment(root)
    _report_success()


def _registered(command: Command, made: Answer, *, url: str, server_url: str) -> settings.Settings:
    return settings.Settings(
        runner_id=int(made.body["id"]),
        name=str(made.body["name"]),
        server_url=server_url,
        server_url_v2=str(made.body["authorization"]["server_url"]),
        github_url=url,
        work_folder=command.argument("work", "_work"),
        ephemeral=command.flag("ephemeral"),
    )


def _credentials(made: Answer, key: dict[str, int]) -> settings.Credentials:
    authorization = made.body["authorization"]
    return settings.Credentials(
        client_id=str(authorization["client_id"]),
        authorization_url=str(authorization["authorization_url"]),
        key=key,
    )


class _Server:
    """GitHub's API for registrations: src/Runner.Common/RunnerDotcomServer.cs.

    The official runner drops the port of the URL; the stand-in keeps it, because the emulator has any port.

    Args:
        url: of the organisation or repository.
        token: a registration token.
    """

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        path = parts.path.strip("/")
        self._api = f"{parts.scheme}://{parts.netloc}/api/v3"
        self._scope = f"{self._api}/{'repos' if '/' in path else 'orgs'}/{path}/actions"
        self._authorization = f"RemoteAuth {token}"

    def post(self, path: str, body: object) -> Answer:
        """POST a registration; an error except a conflict is refused."""
        url = f"{self._api}/actions/{path}"
        answer = web.post(url, body, self._authorization)
        if answer.status != CONFLICT:
            _require_success(answer, f"POST {url}")
        return answer

    def group(self, name: str) -> int:
        """The id of a runner group."""
        for group in self._get("runner-groups")["runner_groups"]:
            if group["name"].lower() == name.lower():
                return int(group["id"])
        raise Refused(f'Could not find any self-hosted runner group named "{name}".')

    def runner(self, name: str) -> int:
        """The id of the runner with a name; 0 for none."""
        found = self._get(f"runners?{urlencode({'name': name})}")["runners"]
        return int(found[0]["id"]) if found else 0

    def _get(self, path: str) -> dict[str, Any]:
        answer = web.get(f"{self._scope}/{path}", self._authorization)
        _require_success(answer, f"GET {self._scope}/{path}")
        return answer.body


def _taken(name: str) -> Refused:
    console.say("A runner exists with the same name")
    return Refused(f"A runner exists with the same name {name}.")


def _report_success() -> None:
    console.success("Connected to GitHub")
    _section("Runner Registration")
    console.success("Runner successfully added")
    console.success("Runner connection is good")
    _section("Runner settings")
    console.success("Settings Saved.")


def _required(command: Command, name: str) -> str:
    value = command.argument(name)
    if not value:
        raise Refused(f"Invalid configuration provided for {name}. Terminating unattended configuration.")
    return value


def _labels(command: Command) -> list[dict[str, str]]:
    own = [label.strip() for label in command.argument("labels").split(",") if label.strip()]
    bare = command.flag("no-default-labels")
    if any(len(label) > MAX_LABEL for label in own) or (bare and not own):
        raise Refused("Invalid configuration provided for labels. Terminating unattended configuration.")
    default = [] if bare else ["self-hosted", "Linux", ARCHITECTURES.get(platform.machine(), "X64")]
    names = {label.lower(): label for label in [*default, *own]}.values()
    return [{"name": name, "type": "system" if name in default else "user"} for name in names]


def _require_success(answer: Answer, call: str) -> None:
    if answer.status >= 400:
        phrase = http.HTTPStatus(answer.status).phrase.replace(" ", "")
        console.complain(f"Http response code: {phrase} from '{call}'")
        raise Refused(answer.message or f"Response status code does not indicate success: {answer.status} ({phrase}).")


def _section(title: str) -> None:
    console.say(f"\n# {title}\n")
