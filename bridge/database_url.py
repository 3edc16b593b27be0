"""The ledger's address, parsed in one place: settings and ledger agree on what it names, and what of it is secret."""

from pathlib import PurePath
from urllib.parse import unquote

import sqlalchemy as sa
from sqlalchemy.engine import URL

from bridge.errors import ConfigError

FORMS = "give sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/NAME"


def parse(url: str) -> URL:
    """The parts of a database's URL.

    Raises:
        ConfigError: it is none, or neither SQLite's nor PostgreSQL's.
    """
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):  # ValueError: a port that is no number
        parsed = None
    if not parsed or not unquote(url).isprintable():
        raise ConfigError(f"BRIDGE_DATABASE_URL: not a database URL; {FORMS}")
    if "@" in (parsed.host or ""):
        raise ConfigError("BRIDGE_DATABASE_URL: one @ too many; write the password's own as %40")
    if parsed.get_backend_name() == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise ConfigError(f"BRIDGE_DATABASE_URL: {parsed.drivername} is not supported; {FORMS}")
    return parsed


def of_file(path: PurePath) -> str:
    """The URL of an SQLite file, whatever its name."""
    return URL.create("sqlite", database=str(path)).render_as_string()


def passwords(url: URL) -> tuple[str, ...]:
    """What of it must never be shown, where a password belongs and among the options."""
    options = [value for key in ("password", "sslpassword") for value in url.normalized_query.get(key, ())]
    return tuple(filter(None, [url.password, *options]))
