"""Prices and budgets in the configuration."""

import os
from pathlib import Path

import pytest

from bridge.config.settings import Config, load
from bridge.errors import ConfigError

BASE = {"GITHUB_ORG": "acme", "GITHUB_PAT": "ghp_secret", "RUNPOD_API_KEY": "rp_secret"}
ROUTE = '[[route]]\nname = "{name}"\nlabels = ["runpod", "{name}"]\nendpoint = "{endpoint}"\n{more}\n'


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("GITHUB_", "RUNPOD_", "BRIDGE_", "XDG_")):
            monkeypatch.delenv(name)
    for name, value in BASE.items():
        monkeypatch.setenv(name, value)


def loaded(folder: Path, text: str) -> Config:
    path = folder / "bridge.toml"
    path.write_text(text)
    return load(path)


def route(name: str, endpoint: str = "ep-1", more: str = "") -> str:
    return ROUTE.format(name=name, endpoint=endpoint, more=more)


def test_budgets_are_those_of_all_routes_and_of_each_route(tmp_path: Path) -> None:
    text = "[budget]\nusd_per_day = 20\n" + route("gpu") + route("a100", "ep-2", "usd_per_day = 7.5")
    scope = loaded(tmp_path, text).scope
    assert (scope.usd_per_day, [each.usd_per_day for each in scope.routes]) == (20.0, [None, 7.5])
    assert scope.has_budget


def test_the_environments_budget_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_BUDGET_USD_PER_DAY", "3")
    assert loaded(tmp_path, "[budget]\nusd_per_day = 20\n" + route("gpu")).scope.usd_per_day == 3.0


def test_without_the_settings_there_is_no_budget_and_no_price(tmp_path: Path) -> None:
    scope = loaded(tmp_path, route("gpu")).scope
    assert not scope.has_budget
    assert scope.prices == {}


def test_a_price_is_that_of_the_route_or_else_of_its_endpoint(tmp_path: Path) -> None:
    (tmp_path / "bridge.endpoints.toml").write_text('[endpoints]\nl4 = "id-l4"\n')
    table = '[[endpoint]]\nname = "l4"\nimage = "i"\ngpu = ["AMPERE_24"]\nusd_per_hour = 0.7\n'
    text = table + route("gpu", "l4") + route("own", "ep-9", "usd_per_hour = 2")
    assert loaded(tmp_path, text).scope.prices == {"id-l4": 0.7, "ep-9": 2.0}
    text = table + route("gpu", "l4", "usd_per_hour = 0.5")
    assert loaded(tmp_path, text).scope.prices == {"id-l4": 0.5}


def test_two_prices_for_one_endpoint_are_refused(tmp_path: Path) -> None:
    text = route("a", more="usd_per_hour = 1") + route("b", more="usd_per_hour = 2")
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert str(caught.value) == (
        "route b: usd_per_hour: another route has another price for endpoint ep-1; set the same in both"
    )


def test_two_prices_for_one_endpoint_name_it_as_the_file_does(tmp_path: Path) -> None:
    (tmp_path / "bridge.endpoints.toml").write_text('[endpoints]\nl4 = "id-l4"\n')
    text = route("a", "l4", "usd_per_hour = 1") + route("b", "l4", "usd_per_hour = 2")
    with pytest.raises(ConfigError, match=r"another price for endpoint l4; set the same in both"):
        loaded(tmp_path, text)


@pytest.mark.parametrize("value", ["0", "-1", "inf", "nan", '"much"', "1e9"])
@pytest.mark.parametrize("key", ["usd_per_day", "usd_per_hour"])
def test_an_impossible_amount_is_one_line_with_the_setting(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, route("gpu", more=f"{key} = {value}"))
    assert f"route.0.{key}: " in str(caught.value)
    assert "\n" not in str(caught.value)
