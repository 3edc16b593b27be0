"""The ledger's URL. Settings and ledger parse it here, so that they agree on its meaning and its secret parts."""

from pathlib import PurePath
from urllib.parse import unquote

import sqlalchemy as sa
from sqlalchemy.engine import URL

from bridge.errors import ConfigError

FORMS = "give sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/NAME"


def parse(url: str) -> URL:
    """Parse a database URL.

    Raises:
        ConfigError: it is not a URL, or neither for SQLite nor for PostgreSQL.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # ValueError: the port is not a number
        parsed = None
    if not parsed or not unquote(url).isprintable():
        raise ConfigError(f"BRIDGE_DATABASE_URL: not a database URL; {FORMS}")
    if "@" in (parsed.host or ""):
        raise ConfigError("BRIDGE_DATABASE_URL: more than one @; write an @ in the password as %40")
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise ConfigError(f"BRIDGE_DATABASE_URL: {parsed.drivername} is not supported; {FORMS}")
    return parsed


def of_file(path: PurePath) -> str:
    """The URL of an SQLite file; its name may have any characters."""
    return URL.create("sqlite", database=str(path)).render_as_string()


def passwords(url: URL) -> tuple[str, ...]:
    """The secret parts of a URL: its password, and passwords among its options."""
    options = [value for key in ("password", "sslpassword") for value in url.normalized_query.get(key, ())]
    return tuple(filter(None, [url.password, *options]))
