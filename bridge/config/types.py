"""What a setting's text may be. What it may not be is refused in words, and never shown: it may be a secret."""

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from bridge import database_url

MAX_POLICY = 7 * 86_400.0
"""s; RunPod's limit on executionTimeout and ttl."""


SHORTEST_KEY = 16
"""Characters of a secret that proves who sends a request."""

_KEYS = {
    "a RunPod API key": re.compile(r"rpa_\w{8}"),
    "a GitHub token": re.compile(r"\b(gh[pousr]_|github_pat_)\w"),
    "a private key": re.compile(r"-----BEGIN"),
}


def _key_in(value: str) -> str | None:
    """Which service's key stands in a value, where it can be told by its shape."""
    return next((kind for kind, pattern in _KEYS.items() if pattern.search(value)), None)


def _listed(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _like(pattern: str, wanted: str) -> AfterValidator:
    """Refuses in words what is not wholly of a pattern."""

    def check(value: str) -> str:
        if key := _key_in(value):
            raise ValueError(f"must be {wanted}; this is {key}")
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {wanted}")
        return value

    return AfterValidator(check)


def _refuses(*others: str) -> BeforeValidator:
    """Refuse a secret that is of one of these kinds."""

    def check(value: object) -> object:
        if isinstance(value, str) and (key := _key_in(value)) in others:
            raise ValueError(f"is {key}; settings are swapped")
        return value

    return BeforeValidator(check)


def _address(value: str) -> str:
    try:
        host = httpx.URL(value).host
        host.encode("idna")  # as the resolver will
        fine = host and urlsplit(value).port != 0 and re.fullmatch(r"https?://[^/\s@]+(/\S*)?", value)
    except (ValueError, httpx.InvalidURL):  # ValueError: half an IPv6 address, a port out of range, a host of dots
        fine = None
    if not fine:
        raise ValueError("must be an address such as https://HOST/PATH")
    return value


def _encrypted(value: str) -> str:
    """An address that a key is sent to."""
    if value.startswith("http:") and not _is_loopback(httpx.URL(value).host):
        raise ValueError("must begin with https://; a key would be sent in the clear")
    return value


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def _stripped(value: object) -> object:
    """Without what surrounds it, such as the newline of the file that it was kept in; nothing is None."""
    return value.strip() or None if isinstance(value, str) else value


def _unquoted(value: object) -> object:
    """Without the quotes that `docker run --env-file` keeps; no key begins and ends with one."""
    value = _stripped(value)
    return value[1:-1] if isinstance(value, str) and _is_quoted(value) else value


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"


def _webhook_secrets(value: object) -> object:
    value = _printable(value)
    if isinstance(value, str) and _is_quoted(value):  # they may be part of what GitHub was given
        raise ValueError("is in quotes, which `docker run --env-file` keeps; remove them")
    if isinstance(value, str) and any(0 < len(part.strip()) < SHORTEST_KEY for part in value.split(",")):
        raise ValueError(f"shorter than {SHORTEST_KEY} characters; `openssl rand -hex 32` makes one")
    return value


def _printable(value: object) -> object:
    value = _stripped(value)
    if isinstance(value, str) and not value.isprintable():
        raise ValueError("must be printable characters; copy it anew")
    return value


def _ascii(value: object) -> object:
    value = _printable(_unquoted(value))
    if isinstance(value, str) and not value.isascii():
        raise ValueError("must be printable ASCII characters; copy it anew")
    return value


def _without_password(url: str) -> str:
    if database_url.passwords(database_url.parse(url)):
        raise ValueError("must hold no password; set BRIDGE_DATABASE_URL, or leave it to PGPASSWORD or ~/.pgpass")
    return url


Owner = Annotated[str, _like(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}", "the name of an organisation, such as acme")]
Label = Annotated[str, _like(r"[^,\s][^,]{0,255}", "a label of at most 256 characters, without a comma")]
RepositoryName = Annotated[str, _like(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+", "owner/name, such as acme/web")]
Labels = Annotated[list[Label], NoDecode, BeforeValidator(_listed)]
Repositories = Annotated[list[RepositoryName], NoDecode, BeforeValidator(_listed)]
Seconds = Annotated[float, Field(ge=5, le=MAX_POLICY, allow_inf_nan=False)]
EndpointId = Annotated[str, _like(r"[A-Za-z0-9-]{1,32}", "an endpoint's id of at most 32 letters, digits and -")]
AppId = Annotated[str, _like(r"[0-9]+", "a number")]
Prefix = Annotated[
    str,
    _like(r"[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?", "at most 24 of a-z, 0-9 and -, with no - at either end"),
]
RouteName = Annotated[str, _like(r"[A-Za-z0-9_.-]+", "of letters, digits, dots, - and _")]
RunnerGroup = Annotated[str, _like(r".+", "the name of a runner group")]
Url = Annotated[str, AfterValidator(_address)]
ServiceUrl = Annotated[Url, AfterValidator(_encrypted)]
GitHubToken = Annotated[SecretStr | None, _refuses("a RunPod API key", "a private key"), BeforeValidator(_ascii)]
RunPodKey = Annotated[SecretStr | None, _refuses("a GitHub token", "a private key"), BeforeValidator(_ascii)]
CallbackKey = Annotated[SecretStr | None, _refuses(*_KEYS), BeforeValidator(_ascii)]
ClientId = Annotated[
    Annotated[str, _like(r"Iv[A-Za-z0-9.]{1,40}|[0-9]{1,20}", "the App's client id, such as Iv23liExample")] | None,
    BeforeValidator(_ascii),
]
PrivateKey = Annotated[SecretStr | None, BeforeValidator(_unquoted)]
WebhookSecrets = Annotated[SecretStr | None, _refuses(*_KEYS), BeforeValidator(_webhook_secrets)]
DatabaseUrl = Annotated[str | None, BeforeValidator(_stripped)]
PublicDatabaseUrl = Annotated[str, AfterValidator(_without_password)]
