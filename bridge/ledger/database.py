"""Opens the database, SQLite or PostgreSQL: write transactions are serial, and the schema is current."""

import contextlib
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine

from bridge.database_url import FORMS, parse
from bridge.errors import ConfigError
from bridge.ledger.tables import meta

SCHEMA = "0009"
"""The newest revision in migrations/versions."""

WRITE_LOCK = 0x62726964  # any number, the same for all bridges of a database

_FIXES = {
    "postgresql": "install the bridge with its extra `postgres`",
    "sqlite": "install a Python that has the module sqlite3",
}


def connect(url: str, *, as_it_is: bool = False) -> Engine:
    """An engine whose transactions the database serialises, unless they only read.

    Args:
        url: SQLAlchemy's, of SQLite or PostgreSQL.
        as_it_is: do not change SQLite's file and its directory.

    Raises:
        ConfigError: it is another database, its driver is missing, or its directory cannot be created.
    """
    parsed = parse(url)
    try:
        return _sqlite(parsed, as_it_is) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)
    except (sa.exc.ArgumentError, ValueError):  # the URL's options are read only here
        raise ConfigError(f"BRIDGE_DATABASE_URL: not a database URL; {FORMS}") from None
    except ImportError:  # psycopg is missing, or the library that it needs
        raise ConfigError(f"BRIDGE_DATABASE_URL: no driver; {_FIXES[parsed.get_backend_name()]}") from None


def exists(url: str) -> bool:
    """Whether there is a database. (SQLite creates a missing file when it is opened.)

    Raises:
        ConfigError: it is not the URL of a database, or its directory cannot be read.
    """
    parsed = parse(url)
    if parsed.get_backend_name() != "sqlite":
        return True
    try:
        return bool(parsed.database) and Path(str(parsed.database)).exists()
    except OSError as error:
        raise _no_place(str(parsed.database), error) from None


def _no_place(path: str, error: OSError) -> ConfigError:
    return ConfigError(
        f"BRIDGE_DATABASE_URL: cannot use {path}: {error.strerror}; give a file that the bridge may write"
    )


def _sqlite(url: URL, as_it_is: bool) -> Engine:
    in_memory = url.database in (None, "", ":memory:")
    pool = sa.pool.StaticPool if in_memory else None
    engine = sa.create_engine(url, poolclass=pool, connect_args={"timeout": 30, "check_same_thread": False})
    sa.event.listen(engine, "connect", _configure_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    if not in_memory and not as_it_is:
        if not str(url.database).startswith("file:"):
            _make_private(Path(str(url.database)))
        sa.event.listen(engine, "connect", _write_ahead)
    return engine


def _make_private(path: Path) -> None:
    """Create the file so that only its owner can read it; SQLite gives its other files the same mode."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)
        for each in (path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))):
            with contextlib.suppress(FileNotFoundError, PermissionError):  # another user's file, shared on purpose
                if each.is_file():  # a mistyped path may be a directory that others need
                    each.chmod(0o600)
    except OSError as error:
        raise _no_place(str(path), error) from None


def _configure_sqlite(connection: Any, _record: Any) -> None:
    # SQLAlchemy, not sqlite3, begins transactions:
    # https://docs.sqlalchemy.org/en/20/dialects/sqlite.html#enabling-non-legacy-sqlite-transactional-modes-with-the-sqlite3-or-aiosqlite-driver
    connection.isolation_level = None
    connection.execute("PRAGMA synchronous = FULL")


def _write_ahead(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode = WAL")


def _begin_sqlite(connection: Connection) -> None:
    # A writer waits here, before it reads, so that what it reads stays true until it commits.
    only_reads = connection.get_execution_options().get("only_reads")
    connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")


def _postgresql(url: URL) -> Engine:
    engine = sa.create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10})
    sa.event.listen(engine, "begin", _begin_postgresql)
    return engine


def _begin_postgresql(connection: Connection) -> None:
    if not connection.get_execution_options().get("only_reads"):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")


def migrate(connection: Connection, now: float) -> None:
    """Create or upgrade the schema, once even if several dispatchers start at the same time.

    Args:
        connection: to the database.
        now: Unix seconds.

    Raises:
        ConfigError: it belongs to a newer bridge.
    """
    found = revision(connection)
    if found == SCHEMA:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    try:
        if found:
            ScriptDirectory.from_config(config).get_revision(found)
        command.upgrade(config, "head")
    except CommandError:
        raise _newer(found) from None
    if not connection.execute(sa.select(meta.c.born)).first():
        connection.execute(sa.insert(meta).values(born=now))
    connection.commit()


def is_current(connection: Connection) -> bool:
    """Whether there is a schema, of the current revision. Nothing is changed.

    Raises:
        ConfigError: it belongs to an older or a newer bridge.
    """
    found = revision(connection)
    if found and found < SCHEMA:
        raise ConfigError(
            f"BRIDGE_DATABASE_URL: the ledger's schema {found} is older than this bridge's {SCHEMA}: "
            "run a pass without --dry-run, which upgrades it"
        )
    if found and found != SCHEMA:
        raise _newer(found)
    return found is not None


def _newer(found: str | None) -> ConfigError:
    return ConfigError(
        f"BRIDGE_DATABASE_URL: the ledger's schema {found} is newer than this bridge's {SCHEMA}: upgrade the bridge"
    )


def revision(connection: Connection) -> str | None:
    """The revision of the schema; None if there is none."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
