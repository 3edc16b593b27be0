"""Lines of a log for a person. A job may print anything: secrets, control characters, lines without an end."""

import re

from bridge.telemetry import mask

LONGEST = 4000
"""Characters of a line that are shown."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def shown(text: str) -> str:
    """One line: without colours and secrets, its control characters escaped, and not too long."""
    masked = str(mask(_COLOUR.sub("", text)))  # whole, since a part of a secret would not be recognised
    more = len(masked) - LONGEST
    cut = masked if more <= 0 else f"{masked[:LONGEST]}... ({more} more characters)"
    return "".join(map(_visible, cut))


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    return "    " if character == "\t" else character.encode("unicode_escape").decode("ascii", "replace")
