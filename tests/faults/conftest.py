"""How much is tried: a short form within `make test`, all of it with `make faults`."""

import os
from pathlib import Path

import pytest

from tests.conftest import new_ledger

FULL = os.environ.get("FAULTS") == "full"
SEED = os.environ.get("SEED")


def seeds(short: int, full: int) -> list[int]:
    """The seeds to try: the one that was asked for, else as many as fit."""
    return [int(SEED)] if SEED else list(range(1, 1 + (full if FULL else short)))


@pytest.fixture(params=["sqlite", "postgresql"] if FULL else ["sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new ledger's URL; within `make test` on SQLite alone, since the ledger's own tests are on both."""
    return new_ledger(request, tmp_path)
