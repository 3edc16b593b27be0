"""The configuration of one bridge, loaded from bridge.toml and the environment.

For one route the environment is enough. Secrets come from the environment, or from files that it names.
A configuration that cannot work is refused with one line that names the setting and the fix.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from bridge import database_url
from bridge.config import environment, file
from bridge.config.credentials import App, Pat, credentials
from bridge.config.dashboard import DashboardSettings, dashboard_settings
from bridge.config.endpoints import read_ids
from bridge.config.environment import DAY, Environment
from bridge.config.file import File
from bridge.config.routes import endpoint_names, prices, routes, with_endpoint_ids, workers_max
from bridge.config.tracing import Tracing, tracing
from bridge.config.types import SHORTEST_KEY
from bridge.core.scope import Scope
from bridge.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Config:
    """The configuration.

    Args:
        scope: what is served, and how often the bridge looks for it.
        github_api_url: of GitHub's REST API, such as `https://api.github.com`.
        github: the credentials.
        runpod_api_key: may use the endpoints.
        runpod_base_url: of RunPod's requests, such as `https://api.runpod.ai/v2`.
        management_api_key: may read prices and bills; None if RUNPOD_MANAGEMENT_API_KEY is not set.
        management_url: of RunPod's REST API, such as `https://api.runpod.io`.
        database_url: of the ledger.
        webhook_secrets: each may sign GitHub's deliveries.
        log_level: the lowest level of log lines that are shown.
        notify_url: takes messages for people, a secret; None for none.
        tracing: where traces go; None for nowhere.
        dashboard: how people sign in to the service's pages.
    """

    scope: Scope
    github_api_url: str
    github: App | Pat
    runpod_api_key: str = field(repr=False)
    runpod_base_url: str
    management_api_key: str | None = field(repr=False)
    management_url: str
    database_url: str = field(repr=False)
    webhook_secrets: tuple[str, ...] = field(repr=False)
    log_level: str = "info"
    notify_url: str | None = field(default=None, repr=False)
    tracing: Tracing | None = None
    dashboard: DashboardSettings = field(default_factory=DashboardSettings)

    def secrets(self) -> tuple[str, ...]:
        """Every value that must never be shown."""
        own = self.github.token if isinstance(self.github, Pat) else self.github.private_key
        database = database_url.passwords(database_url.parse(self.database_url))
        management = [self.management_api_key] if self.management_api_key else []
        callback = [self.scope.callback_key] if self.scope.callback_key else []
        traces = self.tracing.secrets if self.tracing else ()
        notify = [self.notify_url] if self.notify_url else []
        keys = (self.runpod_api_key, *management, *self.webhook_secrets, *callback, *self.dashboard.secrets())
        return own, *keys, *notify, *traces, *database

    def with_interval(self, seconds: float) -> "Config":
        """The same configuration with another time between two passes."""
        return replace(self, scope=replace(self.scope, interval=seconds))


def load(path: Path | None) -> Config:
    """Load the configuration.

    Args:
        path: bridge.toml; if None, the file that BRIDGE_CONFIG names, else `bridge.toml` in the working directory,
            else the environment alone.

    Raises:
        ConfigError: one line that names the setting and the fix.
    """
    environment.refuse_unknown()
    path = file.find(path)
    content = with_endpoint_ids(file.read(path), path) if path else File()
    env = environment.combined(content)
    return Config(
        scope=_scope(content, env, read_ids(path)),
        github_api_url=env.github_api_url.rstrip("/"),
        github=credentials(env),
        runpod_api_key=_runpod_api_key(env),
        runpod_base_url=env.runpod_endpoint_base_url,
        management_api_key=_management_api_key(env),
        management_url=env.runpod_management_url.rstrip("/"),
        database_url=ledger_url(env),
        webhook_secrets=_webhook_secrets(env),
        log_level=env.bridge_log_level,
        notify_url=env.bridge_notify_url.get_secret_value() if env.bridge_notify_url else None,
        tracing=tracing(with_jobs=env.bridge_trace_jobs),
        dashboard=dashboard_settings(env),
    )


def _scope(content: File, env: Environment, ids: Mapping[str, str]) -> Scope:
    owner, organisation = _owner(env)
    found = routes(content.route, env, owner)
    return Scope(
        owner=owner,
        organisation=organisation,
        repositories=_once(env.github_repositories),
        routes=found,
        prefix=env.bridge_prefix,
        web_url=_web_url(env.github_api_url),
        public_url=(env.bridge_public_url or "").rstrip("/") or None,
        callback_key=_callback_key(env),
        full_scan_every=env.bridge_full_scan_every,
        retention=env.bridge_retention_days * DAY,
        interval=env.bridge_interval,
        usd_per_day=env.bridge_budget_usd_per_day,
        prices=prices(content, ids, found),
        endpoint_names=endpoint_names(content, ids),
        workers_max=workers_max(content, ids),
        worker_quota=env.runpod_worker_quota,
    )


def _owner(env: Environment) -> tuple[str, str | None]:
    """The owner of all repositories, and the organisation if runners register there."""
    owners = {name.split("/")[0] for name in env.github_repositories}
    if env.github_org:
        others = sorted(owner for owner in owners if owner.lower() != env.github_org.lower())
        if others:
            raise ConfigError(f"GITHUB_REPOSITORIES: {others[0]} is not GITHUB_ORG; run one bridge for each owner")
        return env.github_org, env.github_org
    if not owners:
        raise ConfigError("GITHUB_ORG: missing; set it, or GITHUB_REPOSITORIES=owner/name,...")
    if len({owner.lower() for owner in owners}) > 1:
        names = ", ".join(sorted(owners))
        raise ConfigError(f"GITHUB_REPOSITORIES: more than one owner ({names}); run one bridge for each owner")
    return env.github_repositories[0].split("/")[0], None


def _once(names: list[str]) -> tuple[str, ...]:
    """Each repository once, in its first spelling."""
    spelling: dict[str, str] = {}
    for name in names:
        spelling.setdefault(name.lower(), name)
    return tuple(spelling.values())


def _web_url(api_url: str) -> str:
    """GitHub's web address for the API's: `https://github.com` for `https://api.github.com`."""
    parts = urlsplit(api_url)
    return f"{parts.scheme}://{parts.netloc.removeprefix('api.')}"


def _runpod_api_key(env: Environment) -> str:
    if not env.runpod_api_key:
        raise ConfigError("RUNPOD_API_KEY: missing; set it to a key that may use the endpoints")
    return env.runpod_api_key.get_secret_value()


def _management_api_key(env: Environment) -> str | None:
    return env.runpod_management_api_key.get_secret_value() if env.runpod_management_api_key else None


def _callback_key(env: Environment) -> str | None:
    key = env.bridge_callback_key.get_secret_value() if env.bridge_callback_key else None
    if env.bridge_public_url and not key:
        raise ConfigError("BRIDGE_CALLBACK_KEY: missing; BRIDGE_PUBLIC_URL needs it")
    if key and not env.bridge_public_url:
        raise ConfigError("BRIDGE_PUBLIC_URL: missing; BRIDGE_CALLBACK_KEY needs it")
    if key and len(key) < SHORTEST_KEY:
        raise ConfigError(
            f"BRIDGE_CALLBACK_KEY: shorter than {SHORTEST_KEY} characters; create one with `openssl rand -hex 32`"
        )
    return key


def _webhook_secrets(env: Environment) -> tuple[str, ...]:
    given = env.github_webhook_secret.get_secret_value() if env.github_webhook_secret else ""
    return tuple(part.strip() for part in given.split(",") if part.strip())


def ledger_url(env: Environment) -> str:
    """The URL of the ledger.

    Raises:
        ConfigError: it is not a URL of a supported database, or there is no place for the default ledger.
    """
    url = env.bridge_database_url or _default_database()
    database_url.parse(url)
    return url


def _default_database() -> str:
    # https://specifications.freedesktop.org/basedir-spec/latest/#variables
    try:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError:
        raise ConfigError(
            "BRIDGE_DATABASE_URL: missing; set it: there is no home directory for the default ledger"
        ) from None
    return database_url.of_file(Path(state) / "runpod-actions-bridge" / "ledger.sqlite3")
