"""How much is tried: a short form in `make test`, all of it in `make faults`."""

import os
from collections import Counter

FULL = os.environ.get("FAULTS") == "full"
SEED = os.environ.get("SEED")

tried: Counter[str] = Counter()
"""What was tried how often, printed at the end of the test report."""


def seeds(short: int, full: int) -> list[int]:
    """The seeds to try: the one in the environment variable SEED, or 1 to `short` (`full` in `make faults`)."""
    return [int(SEED)] if SEED else list(range(1, 1 + (full if FULL else short)))
