"""`config.sh`: registers this runner."""

import http
import platform
from pathlib import Path

from . import console, settings
from .command import Command
from .server import Answer, Server

ARCHITECTURES = {"x86_64": "X64", "amd64": "X64", "aarch64": "ARM64", "arm64": "ARM64", "armv7l": "ARM"}
MAX_LABEL = 256


class Refused(Exception):
    """The message to print before exiting with 1."""


def configure(root: Path, command: Command) -> None:
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
    server = Server(url)
    _section("Authentication")
    registration = {
        "url": url,
        "token": token,
        "name": name,
        "labels": labels,
        "group": command.argument("runnergroup", "Default"),
        "ephemeral": command.flag("ephemeral"),
        "replace": command.flag("replace"),
    }
    answer = server.post("/register", registration)
    if answer.status == 409:
        console.say("A runner exists with the same name")
        raise Refused(f"A runner exists with the same name {name}.")
    _require_success(answer, f"POST {server.url}/actions/runner-registration")
    runner = settings.Settings(
        runner_id=int(str(answer.body["runner_id"])),
        name=name,
        server_url=server.url,
        github_url=url,
        work_folder=command.argument("work", "_work"),
        ephemeral=command.flag("ephemeral"),
    )
    settings.save(root, runner, str(answer.body["credential"]))
    settings.save_environment(root)
    _report_success()


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


def _labels(command: Command) -> list[str]:
    own = [label.strip() for label in command.argument("labels").split(",") if label.strip()]
    bare = command.flag("no-default-labels")
    if any(len(label) > MAX_LABEL for label in own) or (bare and not own):
        raise Refused("Invalid configuration provided for labels. Terminating unattended configuration.")
    default = [] if bare else ["self-hosted", "Linux", ARCHITECTURES.get(platform.machine(), "X64")]
    return list({label.lower(): label for label in [*default, *own]}.values())


def _require_success(answer: Answer, call: str) -> None:
    if answer.status >= 400:
        phrase = http.HTTPStatus(answer.status).phrase.replace(" ", "")
        console.complain(f"Http response code: {phrase} from '{call}'")
        raise Refused(answer.message or f"Response status code does not indicate success: {answer.status} ({phrase}).")


def _section(title: str) -> None:
    console.say(f"\n# {title}\n")
