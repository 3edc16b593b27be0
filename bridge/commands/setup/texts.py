"""The files that `bridge setup` writes: secrets.env, and bridge.toml with comments."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bridge.commands.setup.inputs import GITHUB, MANAGEMENT, RUNPOD
from bridge.commands.setup.progress import NewEndpoint, Progress

KEY, SECRETS, CONFIG = "app.pem", "secrets.env", "bridge.toml"

PREFIX = "runpod"
"""Of the names of our runners."""


def secrets_text(progress: Progress) -> str:
    """secrets.env, for a shell, a systemd unit or `docker run --env-file`."""
    values = {
        "GITHUB_WEBHOOK_SECRET": progress.app.webhook_secret if progress.app else None,
        "BRIDGE_CALLBACK_KEY": progress.callback_key if progress.webhook_url else None,
        "RUNPOD_API_KEY": progress.runpod_api_key,
        "RUNPOD_MANAGEMENT_API_KEY": progress.management_key,
    }
    # Unquoted where possible: `docker run --env-file` takes quotes as part of the value.
    lines = [f"{name}={shlex.quote(value)}" for name, value in values.items() if value]
    return "\n".join(["# Secrets of the bridge, written by `bridge setup`. Keep this file private.", *lines, ""])


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """RunPod's addresses: of requests, and of the REST API."""

    requests: str
    management: str


def config_text(
    progress: Progress, *, client_id: str, key: Path, repositories: Sequence[str], runpod: Addresses
) -> str:
    """bridge.toml.

    Args:
        progress: with the endpoint, or the endpoints to create.
        client_id: the App's.
        key: the absolute path of the App's key.
        repositories: owner/name of those that a user's App can see; not used for an organisation.
        runpod: its addresses.
    """
    parts = [
        "# Written by `bridge setup`. Secrets are in secrets.env. docs/settings.md describes every key.",
        *_owner(progress, repositories),
        *_app(progress.api_url, client_id, key),
        *_runpod(runpod),
        *_bridge(progress),
        *(_tables(progress) or _route(progress)),
    ]
    return "\n".join(parts) + "\n"


def _owner(progress: Progress, repositories: Sequence[str]) -> list[str]:
    if progress.organisation:
        lines = ["# Runners register at this organisation.", f"org = {_quoted(progress.owner)}"]
    else:
        listed = [f"    {_quoted(name)}," for name in repositories]
        lines = ["# Runners register at each of these repositories.", "repositories = [", *listed, "]"]
    return ["", "[github]", *lines]


def _app(api_url: str, client_id: str, key: Path) -> list[str]:
    api = [] if api_url == GITHUB else [f"api_url = {_quoted(api_url)}"]
    issuer = f"app_id = {client_id}" if client_id.isdecimal() else f"app_client_id = {_quoted(client_id)}"
    return [*api, issuer, f"app_private_key_file = {_quoted(str(key))}"]


def _runpod(addresses: Addresses) -> list[str]:
    requests, management = addresses.requests, addresses.management
    lines = [
        *([] if requests == RUNPOD else [f"endpoint_base_url = {_quoted(requests)}"]),
        *([] if management == MANAGEMENT else [f"management_url = {_quoted(management)}"]),
    ]
    return ["", "[runpod]", *lines] if lines else []


def _bridge(progress: Progress) -> list[str]:
    lines = [
        "",
        "[bridge]",
        "# Starts the names of our runners. Change it if two bridges serve one owner.",
        f"prefix = {_quoted(PREFIX)}",
        "# Jobs of public repositories are refused: anybody can open a pull request there.",
        "allow_public_repositories = false",
    ]
    if not progress.webhook_url:
        return lines
    parts = urlsplit(progress.webhook_url)
    public = f"public_url = {_quoted(f'{parts.scheme}://{parts.netloc}')}"
    return [*lines, "# Where RunPod reports that a request has ended.", public]


def _tables(progress: Progress) -> list[str]:
    """The endpoints, each with its route."""
    own = _reruns(progress)
    return [line for each in progress.endpoints for line in (*_new_endpoint(each), *_route_to(each), *own)]


def _reruns(progress: Progress) -> list[str]:
    if not progress.rerun_lost_jobs:
        return []
    return [
        "# How often a job is re-run after it has lost its worker.",
        f"rerun_lost_jobs = {progress.rerun_lost_jobs}",
    ]


def _new_endpoint(endpoint: NewEndpoint) -> list[str]:
    if endpoint.gpu:
        pools = ", ".join(map(_quoted, endpoint.gpu))
        machine = ["# RunPod takes a worker from whichever of these pools has capacity.", f"gpu = [{pools}]"]
    else:
        machine = [f"cpu = {{flavor = {_quoted(endpoint.flavor)}, vcpus = {endpoint.vcpus}}}"]
    return [
        "",
        "# `bridge endpoints apply` creates this endpoint. docs/endpoints.md describes every key.",
        "[[endpoint]]",
        f"name = {_quoted(endpoint.name)}",
        f"image = {_quoted(endpoint.image)}",
        *machine,
        "# The most workers at a time: the limit on what you pay.",
        f"workers_max = {endpoint.workers_max}",
    ]


def _route_to(endpoint: NewEndpoint) -> list[str]:
    return [
        "",
        f"# Jobs with `runs-on: [self-hosted, runpod, {endpoint.label}]` get a worker of this endpoint.",
        "[[route]]",
        f"name = {_quoted(endpoint.label)}",
        f'labels = ["runpod", {_quoted(endpoint.label)}]',
        f"endpoint = {_quoted(endpoint.name)}",
        f"max_workers = {endpoint.workers_max}",
        *_GROUP,
    ]


_GROUP = (
    "# GitHub's runner group. Make one and allow it only the repositories that you trust.",
    '# runner_group = "runpod"',
)


def _route(progress: Progress) -> list[str]:
    return [
        "",
        "# Jobs with `runs-on: [self-hosted, runpod, gpu]` get a worker of this endpoint.",
        "[[route]]",
        'name = "gpu"',
        'labels = ["runpod", "gpu"]',
        *_endpoint(progress.endpoint),
        "# The most requests at a time. The endpoint's own maximum of workers is the limit on what you pay.",
        "max_workers = 3",
        *_GROUP,
        *_reruns(progress),
    ]


def _endpoint(endpoint: str | None) -> list[str]:
    if endpoint:
        return [f"endpoint = {_quoted(endpoint)}"]
    return ["# Create an endpoint of type queue (docs/image.md), and put its id here.", '# endpoint = "abc123"']


def _quoted(text: str) -> str:
    """A TOML basic string: its escapes are those of JSON. https://toml.io/en/v1.0.0#string"""
    return json.dumps(text)
