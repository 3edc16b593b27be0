"""Which versions of the official runner GitHub still accepts."""

import re

FLOOR = (2, 329, 0)
"""The oldest version that GitHub.com registers.

https://docs.github.com/actions/reference/runners/self-hosted-runners
"""

_VERSION = re.compile(r"v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})")


def is_accepted(version: str) -> bool | None:
    """Whether GitHub registers a runner of this version; None if it is no version."""
    found = _VERSION.fullmatch(version)
    return None if found is None else tuple(map(int, found.groups())) >= FLOOR
