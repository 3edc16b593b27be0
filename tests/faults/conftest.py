"""The ledgers of the fault tests."""

from pathlib import Path

import pytest

from tests.support.effort import FULL
from tests.support.postgres import new_ledger


@pytest.fixture(params=["sqlite", "postgresql"] if FULL else ["sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new ledger's URL. `make test` uses SQLite only, since the ledger's own tests run on both databases."""
    return new_ledger(request, tmp_path)
