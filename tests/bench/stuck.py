"""The cost of jobs that GitHub does not dispatch, in GPU seconds of virtual time. Every run gives the same figures."""

from collections.abc import Iterator
from typing import Any

from tests.simulation import HOUR, measure
from tests.simulation.scenarios import job_day, outage

OUTAGE = 3 * HOUR


def stuck() -> Iterator[dict[str, Any]]:
    """Measure one job that is not dispatched for a day, and twenty jobs in an outage of three hours."""
    day = measure(job_day())
    yield {"bench": "stuck", "kind": "job_day", "gpu_seconds": round(day.paid()), "workers": day.started()}
    lasted = measure(outage(jobs=20, hours=OUTAGE / HOUR))
    paid = round(lasted.paid(until=OUTAGE))
    yield {"bench": "stuck", "kind": "outage_3h", "jobs": 20, "gpu_seconds": paid, "workers": lasted.started()}
