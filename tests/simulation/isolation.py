"""Makes the bridge deterministic: chance and the log are the simulation's. Clocks and ids are passed in."""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation


@contextmanager
def isolated(world: "Simulation") -> Iterator[None]:
    """While it lasts, the bridge's jitter replays and its log is silent."""

    class Log(structlog.BoundLoggerBase):
        """Silent, but an unexpected error that the bridge logs fails the simulation."""

        def exception(self, event: str, **values: Any) -> None:
            world.failed(sys.exc_info()[1] or RuntimeError(event))

        def info(self, event: str, **values: Any) -> None: ...

        debug = warning = error = info

    state, before = random.getstate(), structlog.get_config()
    random.seed(world.scenario.seed)
    structlog.configure(wrapper_class=Log)
    try:
        yield
    finally:
        structlog.configure(**before)
        random.setstate(state)
