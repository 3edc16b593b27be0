"""When anything goes wrong, no job runs twice, none is cancelled on its runner, and afterwards a new job is served.

FAULTS=full tries many histories; `tests.simulation.histories.history(seed)` replays one.
"""

import pytest

from tests.simulation import simulate
from tests.simulation.histories import history
from tests.support.effort import FULL

SEEDS = range(20) if FULL else range(4)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_rules_hold_and_a_new_job_is_served_afterwards(seed: int) -> None:
    outcome = simulate(history(seed))
    assert outcome.served("canary") == 1, outcome.summary()
