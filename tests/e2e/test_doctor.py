"""`bridge doctor`: its output and its exit status."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.doctor import Clinic, clinic


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    with clinic(Path(tmp_path_factory.mktemp("doctor"))) as made:
        yield made


def test_a_set_up_without_faults_has_no_failed_check(healthy: Clinic) -> None:
    assert healthy.troubles() == {}
    assert json.loads(healthy.run("doctor", "--json"))["healthy"] is True


def test_a_configuration_that_cannot_be_loaded_is_one_failed_check(healthy: Clinic) -> None:
    healthy.variables["GITHUB_ORG"] = ""
    try:
        (check,) = healthy.checks(status=2)
    finally:
        healthy.variables.clear()
    assert (check["id"], check["status"]) == ("configuration", "failed")
    assert check["evidence"].startswith("GITHUB_ORG: missing; set it")
