"""The names and labels of our runners."""

import pytest

from bridge.core.naming import holding_labels, parse_name, requested_at, route_identity, runner_labels, runner_name
from tests.support.values import a_route


@pytest.mark.parametrize("prefix", ["runpod", "my-team-runpod"])
def test_a_name_shows_its_job_and_generation(prefix: str) -> None:
    assert parse_name(prefix, runner_name(prefix, 12, 3)) == (12, 3)


@pytest.mark.parametrize("name", ["builder-1", "runpod-1", "runpod-x-1", "runpod-1-x", "other-1-1", "my-runpod-1-1"])
def test_other_names_are_not_ours(name: str) -> None:
    assert parse_name("runpod", name) is None


def test_the_identity_of_a_route_is_the_same_in_every_version() -> None:
    """Otherwise a new version would take the runners of the old one for another deployment's."""
    assert route_identity(a_route(name="gpu", labels=("runpod", "gpu"), endpoint="ep-1")) == "2e7bafcc7834"


def test_a_registration_that_only_reserves_a_name_has_no_label_that_a_job_asks_for() -> None:
    labels = holding_labels("runpod", 1_800_000_000.9)
    assert labels == ["runpod-at-1800000000"]
    assert not set(labels) & a_route().label_set


def test_the_labels_show_when_a_runner_was_requested() -> None:
    assert requested_at("runpod", runner_labels(a_route(), "runpod", 7.5)) == 7.0
    assert requested_at("other", runner_labels(a_route(), "runpod", 7.5)) is None
