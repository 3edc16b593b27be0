"""Settings: what works, and what is refused with which line."""

import os
from pathlib import Path
from typing import Any

import pytest

from bridge.config import App, Config, Environment, File, Pat, load
from bridge.errors import ConfigError
from bridge.model import Credentials

MINIMAL = {
    "GITHUB_ORG": "acme",
    "GITHUB_PAT": "ghp_secret",
    "RUNPOD_API_KEY": "rp_secret",
    "RUNPOD_ENDPOINT_ID": "ep-1",
}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("GITHUB_", "RUNPOD_", "BRIDGE_", "XDG_")):
            monkeypatch.delenv(name)


def loaded(monkeypatch: pytest.MonkeyPatch, path: Path | None = None, **variables: str) -> Config:
    for name, value in (MINIMAL | variables).items():
        monkeypatch.setenv(name, value)
    return load(path)


def refused(monkeypatch: pytest.MonkeyPatch, path: Path | None = None, **variables: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(monkeypatch, path, **variables)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "bridge.toml"
    path.write_text(text)
    return path


def test_the_environment_alone_makes_one_route(monkeypatch: pytest.MonkeyPatch) -> None:
    config = loaded(monkeypatch, XDG_STATE_HOME="/state")
    (route,) = config.routes
    assert (config.owner, config.organisation) == ("acme", "acme")
    assert (route.labels, route.endpoint, route.max_workers) == ({"runpod", "gpu"}, "ep-1", 3)
    assert route.credentials is Credentials.JIT
    assert config.database_url == "sqlite:////state/runpod-actions-bridge/ledger.sqlite3"


def test_listed_repositories_register_at_each_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    config = loaded(monkeypatch, GITHUB_ORG="", GITHUB_REPOSITORIES="acme/web, acme/api")
    assert (config.owner, config.organisation) == ("acme", None)
    assert config.repositories == ("acme/web", "acme/api")


def test_an_app_comes_before_a_pat(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("PEM")
    config = loaded(
        monkeypatch,
        GITHUB_APP_CLIENT_ID="Iv1.abc",
        GITHUB_APP_PRIVATE_KEY_FILE=str(key),
        GITHUB_APP_INSTALLATION_ID="7",
    )
    assert config.github == App(issuer="Iv1.abc", private_key="PEM", installation_id=7)


def test_the_file_gives_routes_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = toml(
        tmp_path,
        """
        [bridge]
        prefix = "filed"
        max_workers = 9
        [github]
        app_id = 12
        [[route]]
        name = "big"
        labels = ["RunPod", "A100"]
        endpoint = "ep-big"
        credentials = "registration"
        repositories = ["acme/Web"]
        job_timeout = 60
        [[route]]
        name = "rest"
        """,
    )
    config = loaded(monkeypatch, path, BRIDGE_PREFIX="ours", GITHUB_APP_PRIVATE_KEY="PEM")
    big, rest = config.routes
    assert config.prefix == "ours"
    assert config.github == App(issuer="12", private_key="PEM", installation_id=None)
    assert (big.labels, big.endpoint, big.job_timeout) == ({"runpod", "a100"}, "ep-big", 60)
    assert (big.credentials, big.repositories) == (Credentials.REGISTRATION, {"acme/web"})
    assert (rest.labels, rest.endpoint, rest.max_workers) == ({"runpod", "gpu"}, "ep-1", 9)


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"GITHUB_ORG": ""}, "GITHUB_ORG: missing; set it, or GITHUB_REPOSITORIES=owner/name,..."),
        ({"RUNPOD_API_KEY": ""}, "RUNPOD_API_KEY: missing; set it to a key that may use the endpoints"),
        ({"RUNPOD_ENDPOINT_ID": ""}, "RUNPOD_ENDPOINT_ID: missing; set it, or `endpoint` in route default"),
        ({"GITHUB_APP_ID": "1"}, "GITHUB_APP_PRIVATE_KEY: missing; set it, or GITHUB_APP_PRIVATE_KEY_FILE"),
        ({"GITHUB_APP_PRIVATE_KEY": "PEM"}, "GITHUB_APP_CLIENT_ID: missing; set it to the App's client id"),
        (
            {"GITHUB_ORG": "", "GITHUB_REPOSITORIES": "a/b,c/d"},
            "GITHUB_REPOSITORIES: two owners (a, c); run one bridge per owner",
        ),
        (
            {"GITHUB_REPOSITORIES": "other/x"},
            "GITHUB_REPOSITORIES: other is not GITHUB_ORG; run one bridge per owner",
        ),
        (
            {"GITHUB_APP_PRIVATE_KEY_FILE": "/no/such/key"},
            "GITHUB_APP_PRIVATE_KEY_FILE: cannot read /no/such/key: No such file or directory",
        ),
    ],
)
def test_what_is_missing_or_contradicts_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], line: str
) -> None:
    assert refused(monkeypatch, **variables) == line


@pytest.mark.parametrize(
    ("variables", "key"),
    [
        ({"BRIDGE_MAX_WORKERS": "0"}, "BRIDGE_MAX_WORKERS"),
        ({"BRIDGE_MAX_WORKERS": "many"}, "BRIDGE_MAX_WORKERS"),
        ({"BRIDGE_PREFIX": "Has Space"}, "BRIDGE_PREFIX"),
        ({"BRIDGE_LABELS": "x" * 300}, "BRIDGE_LABELS"),
        ({"BRIDGE_MAX_WORKER": "2"}, "BRIDGE_MAX_WORKER"),
        ({"GITHUB_API_URL": "api.github.com"}, "GITHUB_API_URL"),
        ({"GITHUB_APP_INSTALLATION_ID": "seven"}, "GITHUB_APP_INSTALLATION_ID"),
        ({"GITHUB_REPOSITORIES": "acme"}, "GITHUB_REPOSITORIES"),
        ({"RUNPOD_ENDPOINT_ID": "ep/../1"}, "RUNPOD_ENDPOINT_ID"),
    ],
)
def test_an_impossible_value_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], key: str
) -> None:
    assert refused(monkeypatch, **variables).startswith(key)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[[route]]\nname = 'a'\nlabel = ['x']", "route.0.label: no such setting"),
        ("[[route]]\nname = 'a'\njob_timeout = -1", "route.0.job_timeout: "),
        ("[[route]]\nname = 'a'\njob_timeout = nan", "route.0.job_timeout: "),
        ("[[route]]\nname = 'a'\ncredentials = 'magic'", "route.0.credentials: "),
        ("[[route]]\nname = 'a'\nlabels = []", "route.0.labels: "),
        ("[[route]]\nname = 'a'\nlabels = ['a,b']", "route.0.labels.0: "),
        ("[github]\npat = 'ghp_x'", "github.pat: no such setting"),
        ("[github]\napp_private_key = 'PEM'", "github.app_private_key: no such setting"),
        ("[runpod]\napi_key = 'rp_x'", "runpod.api_key: no such setting"),
        ("x = ", "not TOML"),
    ],
)
def test_a_bad_key_or_value_in_the_file_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, line: str
) -> None:
    assert f"bridge.toml: {line}" in refused(monkeypatch, toml(tmp_path, text))


@pytest.mark.parametrize(
    ("route", "why"),
    [
        ("queue_timeout = 90000", "queue_timeout is over 86400 s"),
        ("job_timeout = 604800", "RunPod keeps a request for at most 604800 s"),
    ],
)
def test_timeouts_that_github_or_runpod_would_cut_short_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, route: str, why: str
) -> None:
    assert why in refused(monkeypatch, toml(tmp_path, f"[[route]]\nname = 'a'\n{route}"))


def test_two_routes_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = toml(tmp_path, "[[route]]\nname = 'a'\n[[route]]\nname = 'a'")
    assert refused(monkeypatch, path) == "route.name: a is used twice; give each route its own name"


def test_secrets_are_in_no_repr_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    config = loaded(monkeypatch)
    assert config.github == Pat(token="ghp_secret")
    assert config.secrets() == ("ghp_secret", "rp_secret")
    assert "secret" not in repr(config)
    assert "secret" not in refused(monkeypatch, GITHUB_APP_INSTALLATION_ID="ghp_secret")


def test_every_setting_is_documented() -> None:
    settings = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    for name in Environment.model_fields:
        assert f"`{name.upper()}`" in settings
    for table, model in File.model_fields.items():
        shape: Any = model.annotation
        fields = getattr(shape, "model_fields", None) or shape.__args__[0].model_fields
        for key in fields:
            assert f"`{table}.{key}`" in settings, f"{table}.{key} is not in docs/settings.md"
