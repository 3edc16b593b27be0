"""Deliveries dropped, doubled, delayed and out of order, in mixes that a seed replays."""

from pathlib import Path

import httpx
import pytest

from tests.background import until
from tests.conftest import tried
from tests.faults.conftest import seeds
from tests.faults.world import mixed, world


@pytest.mark.parametrize("seed", seeds(short=3, full=40))
def test_every_job_runs_once_whatever_becomes_of_its_deliveries(tmp_path: Path, database_url: str, seed: int) -> None:
    """Replay a failure with: make faults SEED=the number in this test's name."""
    tried["seeds of webhook mishaps"] += 1
    with world(tmp_path) as made, made.dispatcher(database_url) as address:
        # The first look asks for all jobs; from then on only deliveries and their log tell of new ones.
        until(lambda: httpx.get(f"{address}/readyz").status_code == 200)
        made.cloud.github.webhooks.mishap = mixed(seed)
        made.queue(12)
        made.assert_all_ends_well()
