"""How people sign in to the dashboard, the service's pages."""

from dataclasses import dataclass, field

from pydantic import SecretStr

from bridge.config.environment import Environment
from bridge.config.types import SHORTEST_KEY
from bridge.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class DashboardSettings:
    """How people sign in. Without a token and a client secret, nobody can: the pages are open on loopback only.

    Args:
        token: the access token.
        secret: signs sessions; None for a random one of each process.
        client_id: of the GitHub App.
        client_secret: of the GitHub App; None if people do not sign in with GitHub.
        teams: of the organisation, as in their addresses; one of them is needed. Empty for all members.
        actions: whether people can have jobs retried.
    """

    token: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    teams: tuple[str, ...] = ()
    actions: bool = False

    def secrets(self) -> tuple[str, ...]:
        """Every value that must never be shown."""
        return tuple(filter(None, (self.token, self.secret, self.client_secret)))


def dashboard_settings(env: Environment) -> DashboardSettings:
    """How people sign in.

    Raises:
        ConfigError: a setting lacks another one, or a secret is too short.
    """
    client_secret = _secret("CLIENT_SECRET", env.bridge_dashboard_client_secret)
    client_id = env.bridge_dashboard_client_id or env.github_app_client_id
    if client_secret and not client_id:
        raise ConfigError("BRIDGE_DASHBOARD_CLIENT_ID: missing; set it to the client id of the App")
    if client_secret and not env.bridge_public_url:
        raise ConfigError("BRIDGE_PUBLIC_URL: missing; BRIDGE_DASHBOARD_CLIENT_SECRET needs it")
    if env.bridge_dashboard_teams and not client_secret:
        raise ConfigError("BRIDGE_DASHBOARD_CLIENT_SECRET: missing; BRIDGE_DASHBOARD_TEAMS needs it")
    return DashboardSettings(
        token=_secret("TOKEN", env.bridge_dashboard_token),
        secret=_secret("SECRET", env.bridge_dashboard_secret),
        client_id=client_id,
        client_secret=client_secret,
        teams=tuple(env.bridge_dashboard_teams),
        actions=env.bridge_dashboard_actions,
    )


def _secret(name: str, given: SecretStr | None) -> str | None:
    value = given.get_secret_value() if given else None
    if value and len(value) < SHORTEST_KEY:
        fix = "copy it from the App's page" if name == "CLIENT_SECRET" else "create one with `openssl rand -hex 32`"
        raise ConfigError(f"BRIDGE_DASHBOARD_{name}: shorter than {SHORTEST_KEY} characters; {fix}")
    return value
