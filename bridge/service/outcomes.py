"""How a delivery or a pass ended, as metrics count it."""

from enum import StrEnum


class DeliveryOutcome(StrEnum):
    """How a delivery was answered."""

    TAKEN = "taken"
    IGNORED = "ignored"
    REFUSED = "refused"
    NOT_KEPT = "not kept"


class PassOutcome(StrEnum):
    """How a pass ended."""

    DONE = "done"
    PROBLEMS = "problems"
    FAILED = "failed"
