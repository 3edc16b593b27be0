"""Webhook deliveries that are lost, repeated, late and in the wrong order; a seed replays each mix."""

from pathlib import Path

import httpx
import pytest

from tests.faults.deployment import deployment, mixed
from tests.support.background import until
from tests.support.effort import seeds, tried


@pytest.mark.parametrize("seed", seeds(short=3, full=40))
def test_every_job_runs_once_when_deliveries_are_lost_repeated_or_late(
    tmp_path: Path, database_url: str, seed: int
) -> None:
    """Replay a failure with: make faults SEED=the number in this test's name."""
    tried["seeds of webhook mishaps"] += 1
    with deployment(tmp_path) as made, made.dispatcher(database_url) as address:
        # The first resync lists all jobs; after that only deliveries and the delivery log report new ones.
        until(lambda: httpx.get(f"{address}/readyz", timeout=20).status_code == 200)
        made.emulators.github.webhooks.mishap = mixed(seed)
        made.queue(12)
        made.assert_all_ends_well()
