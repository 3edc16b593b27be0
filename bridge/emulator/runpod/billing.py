"""The bill of the emulated endpoints: the time that their workers ran, times the price of a worker.

https://docs.runpod.io/api-reference-v2/billing/get-serverless-billing-history
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from bridge.emulator.runpod.account import Account, stamp
from bridge.emulator.runpod.bodies import Problem

BUCKETS = {"hour": 3600.0, "day": 86_400.0, "week": 604_800.0, "month": 2_592_000.0, "year": 31_536_000.0}
"""s of each; RunPod's months and years follow the calendar."""

AMOUNTS = ("totalAmount", "gpuAmount", "cpuAmount", "diskAmount", "feeAmount")


def serverless_billing(account: Account, params: Mapping[str, str]) -> dict[str, Any]:
    """GET /v2/billing/serverless.

    Args:
        account: whose endpoints are billed.
        params: of the query: `bucketSize`, `lastN`, `serverlessId`. Times are not emulated.

    Raises:
        Problem: 400 or 422 for parameters that RunPod refuses.
    """
    size, last = params.get("bucketSize", "day"), params.get("lastN", "30")
    if size not in BUCKETS or not last.isdecimal() or int(last) < 1:
        raise Problem(422, "Request validation failed.", ("bucketSize or lastN is invalid",))
    if "lastN" in params and ("startTime" in params or "endTime" in params):
        raise Problem(400, "lastN and startTime/endTime are mutually exclusive")
    length, now, only = BUCKETS[size], account.state.clock(), params.get("serverlessId")
    end = (now // length + 1) * length
    start = end - int(last) * length
    records = [
        _record(account, id_, at, length, seconds)
        for id_ in account.records
        if only in (None, id_)
        for at, seconds in _buckets(account, id_, length).items()
        if start <= at < end
    ]
    query = {"startTime": stamp(start), "endTime": stamp(end), "bucketSize": size, "serverlessId": only}
    metadata = {
        "query": query,
        "recordCount": len(records),
        "uniqueServerlessCount": len({record["serverlessId"] for record in records}),
        "totals": {name: sum(record[name] for record in records) for name in AMOUNTS},
    }
    return {"records": records, "metadata": metadata}


def _buckets(account: Account, id_: str, length: float) -> dict[float, float]:
    """Seconds of an endpoint's workers by the begin of the bucket (Unix seconds)."""
    state, found = account.state, defaultdict[float, float](float)
    for hour, seconds in state.meter.by_hour(id_, state.workers.values(), state.clock()).items():
        found[hour // length * length] += seconds
    return dict(sorted(found.items()))


def _record(account: Account, id_: str, at: float, length: float, seconds: float) -> dict[str, Any]:
    record = account.records[id_]
    amount = round(seconds / 3600 * account.catalog.price(record), 6)
    on_gpu = bool(record.get("gpu"))
    return {
        "serverlessId": id_,
        "startTime": stamp(at),
        "endTime": stamp(at + length),
        "totalAmount": amount,
        "gpuAmount": amount if on_gpu else 0.0,
        "cpuAmount": 0.0 if on_gpu else amount,
        "diskAmount": 0.0,
        "feeAmount": 0.0,
    }
