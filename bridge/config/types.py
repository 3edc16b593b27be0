"""The types of the settings' values. An error says what a value must be, and never shows it: it may be a secret."""

import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from bridge import database_url

MAX_POLICY = 7 * 86_400.0
"""s; RunPod's limit on executionTimeout and ttl."""

SHORTEST_KEY = 16
"""Characters that a secret must have at least if it proves who sends a request."""

_KEYS = {
    "a RunPod API key": re.compile(r"rpa_\w{8}"),
    "a GitHub token": re.compile(r"\b(gh[pousr]_|github_pat_)\w"),
    "a private key": re.compile(r"-----BEGIN"),
}


def secret_in(value: str) -> str | None:
    """Which kind of key the value contains, if its shape shows it."""
    return next((kind for kind, pattern in _KEYS.items() if pattern.search(value)), None)


def _listed(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _like(pattern: str, wanted: str) -> AfterValidator:
    """Accept only a value that matches `pattern` as a whole; the error says `wanted` instead of the pattern."""

    def check(value: str) -> str:
        if key := secret_in(value):
            raise ValueError(f"must be {wanted}; this is {key}")
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {wanted}")
        return value

    return AfterValidator(check)


def _refuses(*others: str) -> BeforeValidator:
    """Refuse a secret of one of these kinds: it belongs to another setting."""

    def check(value: object) -> object:
        if isinstance(value, str) and (key := secret_in(value)) in others:
            raise ValueError(f"contains {key}; check that settings are not swapped")
        return value

    return BeforeValidator(check)


def _address(value: str) -> str:
    try:
        host = httpx.URL(value).host
        host.encode("idna")  # as the resolver does
        valid = host and urlsplit(value).port != 0 and re.fullmatch(r"https?://[^/\s@]+(/\S*)?", value)
    except (ValueError, httpx.InvalidURL):  # ValueError: half an IPv6 address, a port out of range, a host of dots
        valid = None
    if not valid:
        raise ValueError("must be a URL such as https://HOST/PATH")
    return value


def _encrypted(value: str) -> str:
    """A URL that a key is sent to."""
    if value.startswith("http:") and not _is_loopback(httpx.URL(value).host):
        raise ValueError("must begin with https://; otherwise a key would be sent unencrypted")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def _stripped(value: object) -> object:
    """Without surrounding whitespace, such as the newline at the end of a file; an empty text becomes None."""
    return value.strip() or None if isinstance(value, str) else value


def _unquoted(value: object) -> object:
    """Without the quotes that `docker run --env-file` keeps; no key begins and ends with a quote."""
    value = _stripped(value)
    return value[1:-1] if isinstance(value, str) and _is_quoted(value) else value


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"


def _webhook_secrets(value: object) -> object:
    value = _printable(value)
    if isinstance(value, str) and _is_quoted(value):  # quotes may be part of the secret that GitHub has
        raise ValueError("is in quotes, and `docker run --env-file` keeps them; remove the quotes")
    if isinstance(value, str) and any(0 < len(part.strip()) < SHORTEST_KEY for part in value.split(",")):
        raise ValueError(f"shorter than {SHORTEST_KEY} characters; create one with `openssl rand -hex 32`")
    return value


def _printable(value: object) -> object:
    value = _stripped(value)
    if isinstance(value, str) and not value.isprintable():
        raise ValueError("must contain only printable characters; copy it again")
    return value


def _ascii(value: object) -> object:
    value = _printable(_unquoted(value))
    if isinstance(value, str) and not value.isascii():
        raise ValueError("must contain only printable ASCII characters; copy it again")
    return value


def _no_placeholder(value: object) -> object:
    """Refuse what examples write instead of a key, such as `rpa_...` or `<key>`."""
    if isinstance(value, str) and re.search(r"\.{3}|[<>]|^rpa_([xX*]{3,})?$", value):
        raise ValueError("is a placeholder; create a key in RunPod's console under Settings, API Keys")
    return value


def _notify_url(value: SecretStr) -> SecretStr:
    """A URL whose path is a secret, as that of a Slack webhook."""
    _encrypted(_address(value.get_secret_value()))
    return value


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _without_password(url: str) -> str:
    if database_url.passwords(database_url.parse(url)):
        raise ValueError("must not contain a password; use BRIDGE_DATABASE_URL, PGPASSWORD or ~/.pgpass")
    return url


Owner = Annotated[str, _like(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}", "the name of an organisation, such as acme")]
Label = Annotated[str, _like(r"[^,\s][^,]{0,255}", "a label of at most 256 characters, without a comma")]
RepositoryName = Annotated[str, _like(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+", "owner/name, such as acme/web")]
Labels = Annotated[list[Label], NoDecode, BeforeValidator(_listed)]
Repositories = Annotated[list[RepositoryName], NoDecode, BeforeValidator(_listed)]
Seconds = Annotated[float, Field(ge=5, le=MAX_POLICY, allow_inf_nan=False)]
Usd = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
EndpointId = Annotated[str, _like(r"[A-Za-z0-9-]{1,32}", "an endpoint id: at most 32 letters, digits and -")]
AppId = Annotated[str, _like(r"[0-9]+", "a number")]
Prefix = Annotated[
    str,
    _like(
        r"[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?",
        "at most 24 characters: a-z, 0-9 and -, with no - at the start or the end",
    ),
]
RouteName = Annotated[str, _like(r"[A-Za-z0-9_.-]+", "a name of letters, digits, dots, - and _")]
RunnerGroup = Annotated[str, _like(r".+", "the name of a runner group")]
Url = Annotated[str, AfterValidator(_address)]
ServiceUrl = Annotated[Url, AfterValidator(_encrypted)]
GitHubToken = Annotated[SecretStr | None, _refuses("a RunPod API key", "a private key"), BeforeValidator(_ascii)]
RunPodKey = Annotated[
    SecretStr | None,
    BeforeValidator(_no_placeholder),
    _refuses("a GitHub token", "a private key"),
    BeforeValidator(_ascii),
]
CallbackKey = Annotated[SecretStr | None, _refuses(*_KEYS), BeforeValidator(_ascii)]
ClientId = Annotated[
    Annotated[str, _like(r"Iv[A-Za-z0-9.]{1,40}|[0-9]{1,20}", "the App's client id, such as Iv23liExample")] | None,
    BeforeValidator(_ascii),
]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)]
NotifyUrl = Annotated[SecretStr, AfterValidator(_notify_url), _refuses(*_KEYS), BeforeValidator(_ascii)]
Team = Annotated[str, _like(r"[A-Za-z0-9_-]+", "a team's name as in its address, such as platform-team")]
Teams = Annotated[list[Team], NoDecode, BeforeValidator(_listed)]
PrivateKey = Annotated[SecretStr | None, BeforeValidator(_unquoted)]
WebhookSecrets = Annotated[SecretStr | None, _refuses(*_KEYS), BeforeValidator(_webhook_secrets)]
DatabaseUrl = Annotated[str | None, BeforeValidator(_stripped)]
PublicDatabaseUrl = Annotated[str, AfterValidator(_without_password)]
