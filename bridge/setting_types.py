"""What a setting's text may be. What it may not be is refused in words, and never shown: it may be a secret."""

import re
from typing import Annotated
from urllib.parse import urlsplit

import httpx
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from bridge import database_url

MAX_POLICY = 7 * 86_400.0
"""s; RunPod's limit on executionTimeout and ttl."""


def _listed(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _like(pattern: str, wanted: str) -> AfterValidator:
    """Refuses in words what is not wholly of a pattern."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"must be {wanted}")
        return value

    return AfterValidator(check)


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


def _stripped(value: object) -> object:
    """Without what surrounds it, such as the newline of the file that it was kept in; nothing is None."""
    return value.strip() or None if isinstance(value, str) else value


def _printable(value: object) -> object:
    value = _stripped(value)
    if isinstance(value, str) and not value.isprintable():
        raise ValueError("must be printable characters; copy it anew")
    return value


def _ascii(value: object) -> object:
    value = _printable(value)
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
EndpointId = Annotated[str, _like(r"[A-Za-z0-9_-]+", "an endpoint's id of letters, digits, - and _")]
AppId = Annotated[str, _like(r"[0-9]+", "a number")]
Prefix = Annotated[
    str,
    _like(r"[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?", "at most 24 of a-z, 0-9 and -, with no - at either end"),
]
RouteName = Annotated[str, _like(r"[A-Za-z0-9_.-]+", "of letters, digits, dots, - and _")]
Url = Annotated[str, AfterValidator(_address)]
Token = Annotated[SecretStr | None, BeforeValidator(_ascii)]
ClientId = Annotated[str | None, BeforeValidator(_ascii)]
PrivateKey = Annotated[SecretStr | None, BeforeValidator(_stripped)]
WebhookSecrets = Annotated[SecretStr | None, BeforeValidator(_printable)]
DatabaseUrl = Annotated[str | None, BeforeValidator(_stripped)]
PublicDatabaseUrl = Annotated[str, AfterValidator(_without_password)]
