"""The environment variables that the bridge reads, with bridge.toml's values where a variable is not set."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from bridge.config.file import File, did_you_mean, first_problem
from bridge.config.types import (
    AppId,
    CallbackKey,
    ClientId,
    DatabaseUrl,
    EndpointId,
    GitHubToken,
    Labels,
    LogLevel,
    NotifyUrl,
    Owner,
    Prefix,
    PrivateKey,
    Repositories,
    RunPodKey,
    ServiceUrl,
    Teams,
    Url,
    Usd,
    WebhookSecrets,
)
from bridge.core.scope import Route, Scope
from bridge.errors import ConfigError

DAY = 86_400.0
"""Seconds."""


class Environment(BaseSettings):
    """Every variable that the bridge reads; the field's name is the variable's name in lower case."""

    model_config = SettingsConfigDict(env_ignore_empty=True, hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file's values, which are passed as arguments."""
        return env_settings, init_settings

    github_org: Owner | None = None
    github_repositories: Repositories = []
    github_api_url: ServiceUrl = "https://api.github.com"
    github_app_client_id: ClientId = None
    github_app_id: AppId | None = None
    github_app_private_key: PrivateKey = None
    github_app_private_key_file: Path | None = None
    github_app_installation_id: Annotated[int, Field(gt=0)] | None = None
    github_pat: GitHubToken = None
    runpod_api_key: RunPodKey = None
    runpod_endpoint_id: EndpointId | None = None
    runpod_endpoint_base_url: ServiceUrl = "https://api.runpod.ai/v2"
    runpod_management_api_key: RunPodKey = None
    runpod_worker_quota: Annotated[int, Field(ge=1)] | None = None
    runpod_management_url: ServiceUrl = "https://api.runpod.io"
    bridge_config: Path | None = None
    bridge_labels: Labels = ["runpod", "gpu"]
    bridge_max_workers: Annotated[int, Field(ge=1)] = 3
    bridge_prefix: Prefix = "runpod"
    bridge_database_url: DatabaseUrl = None
    bridge_interval: Annotated[float, Field(ge=1, le=3600, allow_inf_nan=False)] = Scope.interval
    bridge_full_scan_every: Annotated[float, Field(ge=1, le=DAY, allow_inf_nan=False)] = Scope.full_scan_every
    bridge_retention_days: Annotated[float, Field(ge=1, le=3650, allow_inf_nan=False)] = Scope.retention / DAY
    bridge_allow_public_repositories: bool = Route.allow_public_repositories
    bridge_allow_forks: bool = Route.allow_forks
    bridge_budget_usd_per_day: Usd | None = None
    bridge_public_url: Url | None = None
    bridge_callback_key: CallbackKey = None
    bridge_log_level: LogLevel = "info"
    bridge_trace_jobs: bool = True
    bridge_notify_url: NotifyUrl | None = None
    bridge_dashboard_token: CallbackKey = None
    bridge_dashboard_secret: CallbackKey = None
    bridge_dashboard_client_id: ClientId = None
    bridge_dashboard_client_secret: CallbackKey = None
    bridge_dashboard_teams: Teams = []
    bridge_dashboard_actions: bool = False
    github_webhook_secret: WebhookSecrets = None


def combined(file: File) -> Environment:
    """The environment variables, with the file's values for those that are not set.

    Args:
        file: bridge.toml.

    Raises:
        ConfigError: a value is invalid; one line without the value.
    """
    _check_certificates(os.environ)
    tables = {
        "github": file.github,
        "runpod": file.runpod,
        "bridge": file.bridge,
        "bridge_budget": file.budget,
        "bridge_dashboard": file.dashboard,
    }
    values: dict[str, Any] = {
        f"{table}_{key}": str(value) if key == "app_id" else value
        for table, content in tables.items()
        for key, value in content.model_dump(exclude_none=True).items()
    }
    try:
        return Environment(**values)
    except ValidationError as error:
        raise ConfigError(first_problem(error, upper=True)) from None


def _check_certificates(variables: Mapping[str, str]) -> None:
    """Refuse trusted certificates that are not there: no HTTPS call would work. httpx reads the one, the SDK the other.

    https://www.python-httpx.org/environment_variables/
    """
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        path = variables.get(name)
        if path and not Path(path).exists():
            raise ConfigError(f"{name}: {path} does not exist; correct or unset it")


def refuse_unknown(variables: Mapping[str, str] = os.environ) -> None:
    """Refuse a BRIDGE_ variable that is not a setting: it is probably misspelt.

    Raises:
        ConfigError: there is one.
    """
    known = {name.upper() for name in Environment.model_fields}
    for name in sorted(variables):
        if name.startswith("BRIDGE_") and name not in known:
            settings = sorted(setting for setting in known if setting.startswith("BRIDGE_"))
            fix = did_you_mean(name, settings) or f"the settings are {', '.join(settings)}"
            raise ConfigError(f"{name}: no such setting; {fix}")
