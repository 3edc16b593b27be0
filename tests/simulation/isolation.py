"""Makes the bridge's modules deterministic: their time, ids, chance and log are the simulation's."""

import random
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from tests.simulation.loop import START

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation


class _Log:
    """Stands for structlog: silent, but an unexpected error that the bridge logs fails the simulation."""

    def __init__(self, world: "Simulation") -> None:
        self._world = world

    def exception(self, event: str, **values: Any) -> None:
        self._world.failed(sys.exc_info()[1] or RuntimeError(event))

    def bind(self, **values: Any) -> "_Log":
        return self

    def info(self, event: str, **values: Any) -> None: ...

    debug = warning = error = info


@contextmanager
def isolated(world: "Simulation") -> Iterator[None]:
    """While it lasts, the bridge's modules have the world's time and nothing of this machine's."""
    numbers = count(1)
    fake_time = SimpleNamespace(
        time=lambda: START + world.now, monotonic=lambda: world.now, perf_counter=lambda: world.now, sleep=None
    )
    fake_uuid = SimpleNamespace(uuid4=lambda: SimpleNamespace(hex=f"{next(numbers):032x}"))
    state = random.getstate()
    random.seed(world.scenario.seed)
    with ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            # The emulators may be serving other tests in threads of this process.
            if not name.startswith("bridge.") or name.startswith("bridge.emulator"):
                continue
            for attribute, original, fake in (("time", time, fake_time), ("uuid", uuid, fake_uuid)):
                if getattr(module, attribute, None) is original:
                    stack.enter_context(patch.object(module, attribute, fake))
            if hasattr(module, "log") and hasattr(module, "structlog"):
                stack.enter_context(patch.object(module, "log", _Log(world)))
        try:
            yield
        finally:
            random.setstate(state)
