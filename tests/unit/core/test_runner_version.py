"""The oldest runner that GitHub accepts."""

import pytest

from bridge.core.runner_version import is_accepted


@pytest.mark.parametrize(
    ("version", "accepted"),
    [
        ("2.329.0", True),
        ("v2.329.0", True),
        ("2.330.0", True),
        ("3.0.0", True),
        ("2.338.1", True),
        ("2.328.9", False),
        ("2.99.1000", False),
        ("1.400.0", False),
        ("2.329", None),
        ("2.329.0-beta", None),
        ("vv2.329.0", None),
        ("2.1234567.0", None),
        ("", None),
    ],
)
def test_versions_before_the_floor_are_refused_and_other_texts_are_no_versions(
    version: str, accepted: bool | None
) -> None:
    assert is_accepted(version) is accepted
