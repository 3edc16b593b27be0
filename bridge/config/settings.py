"""Settings: bridge.toml and the environment -> Config.

The environment alone is enough for one route. Secrets come from the environment, or from files that it names;
bridge.toml has no key for them. What cannot work is refused with one line that names the key and the fix.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from bridge import database_url
from bridge.config.types import (
    MAX_POLICY,
    SHORTEST_KEY,
    AppId,
    CallbackKey,
    ClientId,
    DatabaseUrl,
    EndpointId,
    GitHubToken,
    Label,
    Labels,
    Owner,
    Prefix,
    PrivateKey,
    PublicDatabaseUrl,
    Repositories,
    RepositoryName,
    RouteName,
    RunnerGroup,
    RunPodKey,
    Seconds,
    ServiceUrl,
    Url,
    WebhookSecrets,
)
from bridge.core.scope import IMPLIED_LABELS, Route
from bridge.core.timing import Timing
from bridge.core.worker import JIT_LIFETIME, Credentials
from bridge.errors import ConfigError


class Environment(BaseSettings):
    """Every variable that the bridge reads, in lower case. It comes before bridge.toml's tables."""

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
        """Let the environment win over the file, which comes as arguments."""
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
    bridge_config: Path | None = None
    bridge_labels: Labels = ["runpod", "gpu"]
    bridge_max_workers: Annotated[int, Field(ge=1)] = 3
    bridge_prefix: Prefix = "runpod"
    bridge_database_url: DatabaseUrl = None
    bridge_interval: Annotated[float, Field(ge=1, le=3600, allow_inf_nan=False)] = 30.0
    bridge_full_scan_every: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)] = 600.0
    bridge_retention_days: Annotated[float, Field(ge=1, le=3650, allow_inf_nan=False)] = 14.0
    bridge_allow_public_repositories: bool = False
    bridge_allow_forks: bool = False
    bridge_public_url: Url | None = None
    bridge_callback_key: CallbackKey = None
    github_webhook_secret: WebhookSecrets = None


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class GitHubTable(_Table):
    """`[github]` in bridge.toml: what is not secret of the GITHUB_ variables, which come first."""

    org: str | None = None
    repositories: list[RepositoryName] | None = None
    api_url: ServiceUrl | None = None
    app_client_id: str | None = None
    app_id: int | None = None
    app_private_key_file: str | None = None
    app_installation_id: int | None = None


class RunPodTable(_Table):
    """`[runpod]` in bridge.toml."""

    endpoint_base_url: ServiceUrl | None = None
    endpoint_id: EndpointId | None = None


class BridgeTable(_Table):
    """`[bridge]` in bridge.toml."""

    prefix: str | None = None
    database_url: PublicDatabaseUrl | None = None
    labels: list[Label] | None = None
    max_workers: int | None = None
    interval: float | None = None
    full_scan_every: float | None = None
    retention_days: float | None = None
    allow_public_repositories: bool | None = None
    allow_forks: bool | None = None
    public_url: str | None = None


class RouteTable(_Table):
    """`[[route]]` in bridge.toml. What it leaves out comes from the environment's one route."""

    name: RouteName
    labels: Annotated[list[Label], Field(min_length=1, max_length=96)] | None = None
    endpoint: EndpointId | None = None
    max_workers: Annotated[int, Field(ge=1)] | None = None
    credentials: Credentials = Credentials.JIT
    runner_group: RunnerGroup = "Default"
    job_timeout: Seconds = Route.job_timeout
    queue_timeout: Seconds = Route.queue_timeout
    idle_timeout: Seconds = Route.idle_timeout
    repositories: list[RepositoryName] = []
    unlabelled: bool = False
    generic_jobs: bool = False
    allow_public_repositories: bool | None = None
    allow_forks: bool | None = None


class File(_Table):
    """bridge.toml."""

    github: GitHubTable = GitHubTable()
    runpod: RunPodTable = RunPodTable()
    bridge: BridgeTable = BridgeTable()
    route: list[RouteTable] = []


@dataclass(frozen=True, kw_only=True)
class App:
    """A GitHub App's credentials."""

    issuer: str  # client id, or app id
    private_key: str = field(repr=False)  # PEM
    private_key_setting: str = "GITHUB_APP_PRIVATE_KEY"  # that it came from
    installation_id: int | None


@dataclass(frozen=True, kw_only=True)
class Pat:
    """A personal access token."""

    token: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What the bridge was told to do.

    Args:
        owner: of all repositories: an organisation or a user.
        organisation: where runners register; None means at each of `repositories`.
        repositories: owner/name; empty means all that the credentials can see.
        interval: s between two looks of a service.
        full_scan_every: s between two looks of all repositories, where a delivery log tells of their jobs.
        retention: s that the ledger keeps what has ended.
        public_url: where RunPod reaches a service, None if it does not.
        callback_key: signs the addresses given to RunPod.
        webhook_secrets: of which each may sign GitHub's deliveries.
        timing: how long the bridge waits; no setting, tests give a shorter one.
    """

    owner: str
    organisation: str | None
    repositories: tuple[str, ...]
    github_api_url: str
    github: App | Pat
    runpod_api_key: str = field(repr=False)
    runpod_base_url: str
    prefix: str
    database_url: str = field(repr=False)
    routes: tuple[Route, ...]
    interval: float
    full_scan_every: float
    retention: float
    public_url: str | None
    callback_key: str | None = field(repr=False)
    webhook_secrets: tuple[str, ...] = field(repr=False)
    timing: Timing = Timing()

    def secrets(self) -> tuple[str, ...]:
        """Every value that must never be shown."""
        own = self.github.token if isinstance(self.github, Pat) else self.github.private_key
        database = database_url.passwords(database_url.parse(self.database_url))
        callback = [self.callback_key] if self.callback_key else []
        return own, self.runpod_api_key, *self.webhook_secrets, *callback, *database


def load(path: Path | None) -> Config:
    """Read the configuration.

    Args:
        path: bridge.toml; None takes BRIDGE_CONFIG, or the environment alone.

    Raises:
        ConfigError: one line that names the key and the fix.
    """
    _refuse_unknown(os.environ)
    path = path or _path(os.environ.get("BRIDGE_CONFIG"))
    file = _file(path) if path else File()
    env = _environment(file)
    owner, organisation = _owner(env)
    return Config(
        owner=owner,
        organisation=organisation,
        repositories=_once(env.github_repositories),
        github_api_url=env.github_api_url.rstrip("/"),
        github=_credentials(env),
        runpod_api_key=_runpod_api_key(env),
        runpod_base_url=env.runpod_endpoint_base_url,
        prefix=env.bridge_prefix,
        database_url=_database(env),
        routes=_routes(file.route or [RouteTable(name="default")], env, owner),
        interval=env.bridge_interval,
        full_scan_every=env.bridge_full_scan_every,
        retention=env.bridge_retention_days * 86_400,
        public_url=(env.bridge_public_url or "").rstrip("/") or None,
        callback_key=_callback_key(env),
        webhook_secrets=_webhook_secrets(env),
    )


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = {name.upper() for name in Environment.model_fields}
    for name in sorted(environment):
        if name.startswith("BRIDGE_") and name not in known:
            settings = ", ".join(sorted(k for k in known if k.startswith("BRIDGE_")))
            raise ConfigError(f"{name}: no such setting; the bridge knows {settings}")


def _file(path: Path) -> File:
    try:
        text = path.expanduser().read_text(encoding="utf-8-sig")
        return File.model_validate(tomllib.loads(text))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first(error)}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    except RuntimeError:
        raise ConfigError(f"{path}: cannot be read: there is no such user") from None


def _environment(file: File) -> Environment:
    """The environment, over what the file's tables say."""
    tables = {"github": file.github, "runpod": file.runpod, "bridge": file.bridge}
    values: dict[str, Any] = {
        f"{table}_{key}": str(value) if key == "app_id" else value
        for table, content in tables.items()
        for key, value in content.model_dump(exclude_none=True).items()
    }
    try:
        return Environment(**values)
    except ValidationError as error:
        raise ConfigError(_first(error, upper=True)) from None


def _first(error: ValidationError, *, upper: bool = False) -> str:
    """The first complaint in one line, without the value: it may be a secret."""
    detail = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{where}: no such setting; remove it or correct its spelling"
    why = str(detail["ctx"]["error"]) if detail["type"] == "value_error" else detail["msg"]
    return f"{where.upper() if upper else where}: {why[0].lower()}{why[1:]}"


def _once(names: list[str]) -> tuple[str, ...]:
    """Repositories' names, each in its first spelling."""
    spelling: dict[str, str] = {}
    for name in names:
        spelling.setdefault(name.lower(), name)
    return tuple(spelling.values())


def _owner(env: Environment) -> tuple[str, str | None]:
    owners = {name.split("/")[0] for name in env.github_repositories}
    if env.github_org:
        strangers = sorted(o for o in owners if o.lower() != env.github_org.lower())
        if strangers:
            raise ConfigError(f"GITHUB_REPOSITORIES: {strangers[0]} is not GITHUB_ORG; run one bridge per owner")
        return env.github_org, env.github_org
    if not owners:
        raise ConfigError("GITHUB_ORG: missing; set it, or GITHUB_REPOSITORIES=owner/name,...")
    if len({o.lower() for o in owners}) > 1:
        raise ConfigError(f"GITHUB_REPOSITORIES: two owners ({', '.join(sorted(owners))}); run one bridge per owner")
    return env.github_repositories[0].split("/")[0], None


def _credentials(env: Environment) -> App | Pat:
    issuer = env.github_app_client_id or env.github_app_id
    setting, key = _private_key(env)
    if issuer and key:
        return App(
            issuer=issuer,
            private_key=key,
            private_key_setting=setting,
            installation_id=env.github_app_installation_id,
        )
    if issuer:
        raise ConfigError("GITHUB_APP_PRIVATE_KEY: missing; set it, or GITHUB_APP_PRIVATE_KEY_FILE")
    if key:
        raise ConfigError("GITHUB_APP_CLIENT_ID: missing; set it to the App's client id")
    if env.github_pat:
        return Pat(token=env.github_pat.get_secret_value())
    raise ConfigError(
        "GITHUB_APP_CLIENT_ID: missing; set it with GITHUB_APP_PRIVATE_KEY or GITHUB_APP_PRIVATE_KEY_FILE, "
        "or set GITHUB_PAT"
    )


def _private_key(env: Environment) -> tuple[str, str | None]:
    """The setting that the App's key comes from, and the key."""
    if env.github_app_private_key:
        return "GITHUB_APP_PRIVATE_KEY", env.github_app_private_key.get_secret_value()
    path = env.github_app_private_key_file
    return "GITHUB_APP_PRIVATE_KEY_FILE", _key_of(path) if path else None


def _key_of(path: Path) -> str:
    """What a key's file holds. An error leaves its path out: it may be the key itself, in the wrong place."""
    try:
        key = path.expanduser().read_text(encoding="utf-8-sig").strip()
        why = "the file is empty"
    except OSError as error:
        key, why = "", f"cannot be read: {error.strerror}"
    except RuntimeError:
        key, why = "", "cannot be read: there is no such user"
    except ValueError:  # not UTF-8, or a NUL in the path
        key, why = "", "not a text file"
    if not key:
        raise ConfigError(f"GITHUB_APP_PRIVATE_KEY_FILE: {why}; give the path of the App's PEM")
    return key


def _runpod_api_key(env: Environment) -> str:
    if not env.runpod_api_key:
        raise ConfigError("RUNPOD_API_KEY: missing; set it to a key that may use the endpoints")
    return env.runpod_api_key.get_secret_value()


def _callback_key(env: Environment) -> str | None:
    key = env.bridge_callback_key.get_secret_value() if env.bridge_callback_key else None
    if bool(key) != bool(env.bridge_public_url):
        missing, other = (
            ("BRIDGE_CALLBACK_KEY", "BRIDGE_PUBLIC_URL") if not key else ("BRIDGE_PUBLIC_URL", "BRIDGE_CALLBACK_KEY")
        )
        raise ConfigError(f"{missing}: missing; {other} is of no use without it")
    if key and len(key) < SHORTEST_KEY:
        raise ConfigError(
            f"BRIDGE_CALLBACK_KEY: shorter than {SHORTEST_KEY} characters; `openssl rand -hex 32` makes one"
        )
    return key


def _webhook_secrets(env: Environment) -> tuple[str, ...]:
    given = env.github_webhook_secret.get_secret_value() if env.github_webhook_secret else ""
    return tuple(part.strip() for part in given.split(",") if part.strip())


def _database(env: Environment) -> str:
    url = env.bridge_database_url or _default_database()
    database_url.parse(url)
    return url


def _default_database() -> str:
    # https://specifications.freedesktop.org/basedir-spec/latest/#variables
    try:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    except RuntimeError:
        raise ConfigError("BRIDGE_DATABASE_URL: missing; set it, there is no home directory for a ledger") from None
    return database_url.of_file(Path(state) / "runpod-actions-bridge" / "ledger.sqlite3")


def _routes(tables: list[RouteTable], env: Environment, owner: str) -> tuple[Route, ...]:
    names = [table.name for table in tables]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ConfigError(f"route.name: {twice} is used twice; give each route its own name")
    for table in tables:
        _refuse_strangers(table, owner)
    return tuple(_route(table, env) for table in tables)


def _refuse_strangers(table: RouteTable, owner: str) -> None:
    stranger = next((name for name in table.repositories if name.split("/")[0].lower() != owner.lower()), None)
    if stranger:
        raise ConfigError(f"route {table.name}: repositories: {stranger} is not {owner}'s; run one bridge per owner")


def _labels(table: RouteTable, env: Environment) -> frozenset[str]:
    """A route's own labels: GitHub's are implied."""
    labels = frozenset(label.lower() for label in table.labels or env.bridge_labels) - frozenset(IMPLIED_LABELS)
    if not labels:
        where = f"route {table.name}: labels" if table.labels else "BRIDGE_LABELS"
        raise ConfigError(f"{where}: no label is left; give one beside {', '.join(IMPLIED_LABELS)}, which are implied")
    return labels


def _either(own: bool | None, common: bool) -> bool:
    return common if own is None else own


def _route(table: RouteTable, env: Environment) -> Route:
    endpoint = table.endpoint or env.runpod_endpoint_id
    if not endpoint:
        raise ConfigError(f"RUNPOD_ENDPOINT_ID: missing; set it, or `endpoint` in route {table.name}")
    route = Route(
        name=table.name,
        labels=_labels(table, env),
        endpoint=endpoint,
        max_workers=table.max_workers or env.bridge_max_workers,
        credentials=table.credentials,
        runner_group=table.runner_group,
        job_timeout=table.job_timeout,
        queue_timeout=table.queue_timeout,
        idle_timeout=table.idle_timeout,
        repositories=frozenset(name.lower() for name in table.repositories),
        unlabelled=table.unlabelled,
        generic_jobs=table.generic_jobs,
        allow_public_repositories=_either(table.allow_public_repositories, env.bridge_allow_public_repositories),
        allow_forks=_either(table.allow_forks, env.bridge_allow_forks),
    )
    if route.credentials is Credentials.JIT and route.queue_timeout > JIT_LIFETIME:
        raise ConfigError(
            f"route {route.name}: queue_timeout is over {JIT_LIFETIME:.0f} s, "
            "after which GitHub removes an unused jit runner"
        )
    if route.ttl > MAX_POLICY:
        raise ConfigError(
            f"route {route.name}: queue_timeout, idle_timeout and job_timeout need {route.ttl:.0f} s; "
            f"RunPod keeps a request for at most {MAX_POLICY:.0f} s"
        )
    return route
