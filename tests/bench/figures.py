"""Percentiles."""

from collections.abc import Collection


def percentile_ms(seconds: Collection[float], share: float) -> float:
    """The value that `share` of all do not exceed, in ms."""
    ordered = sorted(seconds)
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)
