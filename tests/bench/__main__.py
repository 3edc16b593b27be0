"""`make bench`: JSON lines, one measurement each (docs/performance.md). Emulators and bridge share the machine."""

import json
import os
import platform
from collections.abc import Iterator
from typing import Any

from tests.bench.dashboard import dashboard
from tests.bench.explain import explain
from tests.bench.handler import handler
from tests.bench.hosted import hosted
from tests.bench.intake import intake
from tests.bench.latency import webhook_to_submit
from tests.bench.passes import passes
from tests.bench.placement import placement
from tests.bench.stuck import stuck
from tests.bench.throughput import throughput


def measurements() -> Iterator[dict[str, Any]]:
    yield from passes(repositories=200, jobs=500)
    yield handler(times=20)
    yield from intake()
    yield from webhook_to_submit()
    yield throughput()
    yield from stuck()
    yield from hosted()
    yield placement()
    yield from dashboard(finished=10_000, queued=500)
    yield explain(finished=10_000, queued=500)


if __name__ == "__main__":
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    for measured in measurements():
        print(json.dumps({**measured, **machine}), flush=True)
