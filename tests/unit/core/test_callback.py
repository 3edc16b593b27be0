"""The address that RunPod posts to contains a signature of the bridge: RunPod does not sign its calls."""

import pytest

from bridge.core import callback

SUBMISSION, KEY = "0" * 32, "a key that all copies share"


def parts(path: str) -> tuple[str, str]:
    _, root, submission, signature = path.split("/")
    assert root == "runpod"
    return submission, signature


def test_every_copy_accepts_an_address_that_another_copy_made() -> None:
    submission, signature = parts(callback.path(SUBMISSION, KEY))
    assert submission == SUBMISSION
    assert callback.is_ours(submission, signature, KEY)


@pytest.mark.parametrize(
    ("submission", "key"),
    [("1" * 32, KEY), (SUBMISSION, "another key"), (SUBMISSION + "0", KEY), ("", KEY)],
)
def test_an_address_is_valid_for_one_submission_and_one_key(submission: str, key: str) -> None:
    _, signature = parts(callback.path(SUBMISSION, KEY))
    assert not callback.is_ours(submission, signature, key)


@pytest.mark.parametrize("forged", ["", "0" * 64, "\N{SNOWMAN}", "\udcff"])
def test_a_forged_address_is_refused(forged: str) -> None:
    assert not callback.is_ours(SUBMISSION, forged, KEY)


def test_an_address_does_not_show_the_key() -> None:
    assert KEY not in callback.path(SUBMISSION, KEY)
