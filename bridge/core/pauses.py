"""Routes that a person has paused: they get no new requests. Pure."""

from dataclasses import dataclass

from bridge.core.actions import Cause, SkipKind

LONGEST_TEXT = 200
"""Characters of a name or a reason that are kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pause:
    """A pause of one route.

    Args:
        route: its name.
        at: Unix seconds, when it began.
        by: who paused it.
        reason: one line; None for none.
    """

    route: str
    at: float
    by: str
    reason: str | None = None


def cause_of(pause: Pause, now: float) -> Cause:
    """Why a job of a paused route waits; `now` in Unix seconds."""
    ago = f"{max(0.0, now - pause.at) / 60:.0f} min ago"
    return Cause(kind=SkipKind.PAUSED, why=said(pause), due=f"it was paused {ago}")


def said(pause: Pause) -> str:
    """One line about a pause."""
    why = f": {pause.reason}" if pause.reason else ""
    return f"route {pause.route} is paused by {pause.by}{why}"


def one_line(text: str) -> str:
    """A text of a person as one line that is not too long."""
    return " ".join(text.split())[:LONGEST_TEXT]
