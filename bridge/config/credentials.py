"""How the bridge authenticates with GitHub: as a GitHub App, or with a personal access token."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from bridge.config.environment import Environment
from bridge.config.types import secret_in
from bridge.errors import ConfigError

_PATH = re.compile(r"(~[\w.-]*|\.{1,2})?(/[\w .@-]{1,64}){1,32}|[\w .@-]{1,64}\.(pem|key)")
"""Texts that are shown as paths. Neither PEM nor base64 of it has this form: base64 of PEM begins with a letter."""


@dataclass(frozen=True, kw_only=True)
class App:
    """A GitHub App's credentials.

    Args:
        issuer: the App's client id, or its app id.
        private_key: PEM, or base64 of it; not yet parsed.
        private_key_setting: the setting that the key comes from.
        installation_id: looked up if None.
    """

    issuer: str
    private_key: str = field(repr=False)
    private_key_setting: str = "GITHUB_APP_PRIVATE_KEY"
    installation_id: int | None


@dataclass(frozen=True, kw_only=True)
class Pat:
    """A personal access token."""

    token: str = field(repr=False)


def credentials(env: Environment) -> App | Pat:
    """The credentials for GitHub; an App wins over a personal access token.

    Raises:
        ConfigError: there are none, or an App's are incomplete.
    """
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


def shown(path: str) -> str:
    """A path before an error about its file; empty if the text may be a key that is in the wrong setting."""
    return f"{path}: " if _PATH.fullmatch(path) and not secret_in(path) else ""


def _private_key(env: Environment) -> tuple[str, str | None]:
    """The setting that the App's key comes from, and the key."""
    if env.github_app_private_key:
        return "GITHUB_APP_PRIVATE_KEY", env.github_app_private_key.get_secret_value()
    path = env.github_app_private_key_file
    return "GITHUB_APP_PRIVATE_KEY_FILE", _key_in(path) if path else None


def _key_in(path: Path) -> str:
    """The content of a key file. Errors show the path only if it looks like one."""
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
        where = shown(str(path))
        raise ConfigError(f"GITHUB_APP_PRIVATE_KEY_FILE: {where}{why}; set it to the path of the App's key (PEM)")
    return key
