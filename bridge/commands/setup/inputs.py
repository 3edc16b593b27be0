"""The options and environment of `bridge setup`, checked before the first step."""

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr, TypeAdapter, ValidationError

from bridge.config.credentials import shown
from bridge.config.endpoints import Image, Pool
from bridge.config.types import AppId, ClientId, EndpointId, Owner, RunPodKey, ServiceUrl, WebhookSecrets
from bridge.errors import ConfigError
from bridge.github.manifest import LONGEST_NAME

GITHUB, RUNPOD, MANAGEMENT = "https://api.github.com", "https://api.runpod.ai/v2", "https://api.runpod.io"

MEMORY = 16
"""GB that a GPU needs at least, if nothing else is asked for: what the smallest pools have."""


@dataclass(frozen=True, kw_only=True)
class ExistingApp:
    """An App that exists already.

    Args:
        issuer: its client id, or its id.
        private_key: PEM, or base64 of it.
        webhook_secret: None if it was not given.
    """

    issuer: str
    private_key: str = field(repr=False)
    webhook_secret: str | None = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The endpoints that are wanted.

    Args:
        proposed: whether endpoints may be proposed.
        management_key: of RunPod; None to ask.
        keep_management_key: whether it is written to secrets.env.
        management_url: of RunPod's REST API, without a slash at the end.
        memory_gb: that a GPU needs at least.
        gpu: ids of GPU pools; empty to choose them.
        image: of the workers; None to ask.
        cpu_image: of CPU workers; None for no CPU endpoint.
    """

    proposed: bool
    management_key: str | None = field(repr=False)
    keep_management_key: bool
    management_url: str
    memory_gb: int
    gpu: tuple[str, ...]
    image: str | None
    cpu_image: str | None


@dataclass(frozen=True, kw_only=True)
class Given:
    """The options and the environment.

    Args:
        owner: the organisation or user whose jobs are served.
        organisation: whether it is an organisation.
        api_url: GitHub's, without a slash at the end.
        webhook_url: where GitHub sends events; None for no webhook.
        rerun_lost_jobs: of each route.
        app_name: for a new App; None for one that is probably free.
        code: from GitHub's redirect, if the user has it already.
        browser: whether a page on 127.0.0.1 is used; otherwise a file, and the code is pasted.
        overwrite: replace files without asking.
        wait: s to wait for the user at GitHub.
        app: from the environment; None to register one.
        runpod_api_key: the run-time key; None to ask.
        runpod_url: of RunPod's requests.
        endpoint: RunPod's id; None to ask.
        wanted: the endpoints to propose.
    """

    owner: str
    organisation: bool
    api_url: str
    webhook_url: str | None
    rerun_lost_jobs: int
    app_name: str | None
    code: str | None = field(repr=False)
    browser: bool
    overwrite: bool
    wait: float
    app: ExistingApp | None
    runpod_api_key: str | None = field(repr=False)
    runpod_url: str
    endpoint: str | None
    wanted: Wanted


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command's options as they were typed."""

    org: str | None
    account: str | None
    webhook_url: str | None
    app_name: str | None
    code: str | None = field(repr=False)
    endpoint: str | None
    no_browser: bool
    overwrite: bool
    wait: float
    no_endpoints: bool = False
    keep_management_key: bool = False
    gpu: str | None = None
    gpu_memory: int = MEMORY
    image: str | None = None
    cpu_image: str | None = None
    rerun_lost_jobs: int = 0


def given(options: Options, environment: Mapping[str, str] = os.environ) -> Given:
    """Check what was given.

    Args:
        options: win over the environment.
        environment: the variables that the bridge itself reads.

    Raises:
        ConfigError: one line that names the option or variable and the fix.
    """
    org = options.org or (None if options.account else environment.get("GITHUB_ORG"))
    if bool(org) == bool(options.account):
        raise ConfigError("--org: give --org ORG for an organisation, or --account USER for a user; not both")
    return Given(
        owner=checked(Owner, org or options.account, "--org" if org else "--account"),
        organisation=bool(org),
        api_url=checked(ServiceUrl, environment.get("GITHUB_API_URL") or GITHUB, "GITHUB_API_URL").rstrip("/"),
        webhook_url=_webhook_url(options.webhook_url),
        rerun_lost_jobs=options.rerun_lost_jobs,
        app_name=_app_name(options.app_name),
        code=options.code,
        browser=not options.no_browser,
        overwrite=options.overwrite,
        wait=options.wait,
        app=_app(environment, webhook=bool(options.webhook_url)),
        runpod_api_key=_secret(RunPodKey, environment, "RUNPOD_API_KEY"),
        runpod_url=checked(
            ServiceUrl, environment.get("RUNPOD_ENDPOINT_BASE_URL") or RUNPOD, "RUNPOD_ENDPOINT_BASE_URL"
        ),
        endpoint=_endpoint(options, environment),
        wanted=_wanted(options, environment),
    )


def _wanted(options: Options, environment: Mapping[str, str]) -> Wanted:
    url = environment.get("RUNPOD_MANAGEMENT_URL") or MANAGEMENT
    return Wanted(
        proposed=not options.no_endpoints,
        management_key=_secret(RunPodKey, environment, "RUNPOD_MANAGEMENT_API_KEY"),
        keep_management_key=options.keep_management_key,
        management_url=checked(ServiceUrl, url, "RUNPOD_MANAGEMENT_URL").rstrip("/"),
        memory_gb=options.gpu_memory,
        gpu=pools_in(options.gpu or "", "--gpu"),
        image=checked(Image, options.image, "--image") if options.image else None,
        cpu_image=checked(Image, options.cpu_image, "--cpu-image") if options.cpu_image else None,
    )


def pools_in(text: str, name: str) -> tuple[str, ...]:
    """The ids of GPU pools in a text, separated by commas or spaces.

    Raises:
        ConfigError: one has another form; the error names `name`.
    """
    return tuple(str(checked(Pool, part, name)) for part in text.replace(",", " ").split())


def checked(kind: Any, value: object, name: str) -> Any:
    """A value of one of the types of bridge.config.types.

    Raises:
        ConfigError: names the setting, and never shows the value.
    """
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        detail = error.errors(include_input=False, include_url=False)[0]
        why = str(detail["ctx"]["error"]) if detail["type"] == "value_error" else detail["msg"]
        raise ConfigError(f"{name}: {why}") from None


def _secret(kind: Any, environment: Mapping[str, str], name: str) -> str | None:
    value: SecretStr | None = checked(kind, environment.get(name) or None, name)
    return value.get_secret_value() if value else None


def _webhook_url(url: str | None) -> str | None:
    if url is None:
        return None
    checked(ServiceUrl, url, "--webhook-url")
    if not url.startswith("https://") or not _is_public(urlsplit(url).hostname or ""):
        raise ConfigError("--webhook-url: must be https:// and a public address; GitHub refuses all others")
    return url


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:  # a name
        return "." in host


def _app_name(name: str | None) -> str | None:
    if name is not None and not 0 < len(name) <= LONGEST_NAME:
        raise ConfigError(f"--app-name: must have 1 to {LONGEST_NAME} characters")
    return name


def _endpoint(options: Options, environment: Mapping[str, str]) -> str | None:
    if options.endpoint:
        return str(checked(EndpointId, options.endpoint, "--endpoint"))
    if value := environment.get("RUNPOD_ENDPOINT_ID"):
        return str(checked(EndpointId, value, "RUNPOD_ENDPOINT_ID"))
    return None


def _app(environment: Mapping[str, str], *, webhook: bool) -> ExistingApp | None:
    issuer = checked(ClientId, environment.get("GITHUB_APP_CLIENT_ID"), "GITHUB_APP_CLIENT_ID")
    if not issuer and (number := environment.get("GITHUB_APP_ID")):
        issuer = checked(AppId, number, "GITHUB_APP_ID")
    key = environment.get("GITHUB_APP_PRIVATE_KEY") or _key_file(environment.get("GITHUB_APP_PRIVATE_KEY_FILE"))
    if bool(issuer) != bool(key):
        names = ("GITHUB_APP_PRIVATE_KEY", "GITHUB_APP_CLIENT_ID")
        absent, found = names if issuer else reversed(names)
        raise ConfigError(f"{absent}: missing, but {found} is set; set both to use an existing App, or neither")
    if not issuer or not key:
        return None
    secret = _secret(WebhookSecrets, environment, "GITHUB_WEBHOOK_SECRET")
    if webhook and not secret:
        raise ConfigError("GITHUB_WEBHOOK_SECRET: missing; set it to the webhook secret in the App's settings")
    return ExistingApp(issuer=issuer, private_key=key, webhook_secret=secret)


def _key_file(path: str | None) -> str | None:
    """The content of a key's file. An error shows the path only if it looks like one."""
    if not path:
        return None
    try:
        return Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, ValueError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a text file"
        raise ConfigError(f"GITHUB_APP_PRIVATE_KEY_FILE: {shown(path)}cannot be read: {why}") from None
