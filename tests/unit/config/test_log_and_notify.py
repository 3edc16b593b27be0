"""The settings of logs and notifications."""

import os
from pathlib import Path

import pytest

from tests.unit.config.test_settings import loaded, refused, toml


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("GITHUB_", "RUNPOD_", "BRIDGE_", "XDG_")):
            monkeypatch.delenv(name)


def test_the_log_level_comes_from_the_environment_or_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = toml(tmp_path, '[bridge]\nlog_level = "WARNING"\n')
    assert loaded(monkeypatch).log_level == "info"
    assert loaded(monkeypatch, path).log_level == "warning"
    assert loaded(monkeypatch, path, BRIDGE_LOG_LEVEL="Debug").log_level == "debug"


def test_an_unknown_log_level_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    said = refused(monkeypatch, BRIDGE_LOG_LEVEL="verbose")
    assert said == "BRIDGE_LOG_LEVEL: input should be 'debug', 'info', 'warning' or 'error'"


NOTIFY = "https://hooks.slack.com/services/T0/B0/abcdefgh"


def test_the_notification_url_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    config = loaded(monkeypatch, BRIDGE_NOTIFY_URL=f"{NOTIFY}\n")
    assert config.notify_url == NOTIFY
    assert NOTIFY in config.secrets()
    assert "abcdefgh" not in repr(config)
    assert loaded(monkeypatch, BRIDGE_NOTIFY_URL="http://127.0.0.1:9/x").notify_url


@pytest.mark.parametrize(
    "url", ["http://hooks.slack.com/services/T0", "hooks.slack.com/T0", "https://", "rpa_12345678"]
)
def test_an_impossible_notification_url_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    said = refused(monkeypatch, BRIDGE_NOTIFY_URL=url)
    assert said.startswith("BRIDGE_NOTIFY_URL: ")
    assert url.removeprefix("https://") == "" or url not in said


def test_the_notification_url_does_not_belong_into_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = refused(monkeypatch, toml(tmp_path, f'[bridge]\nnotify_url = "{NOTIFY}"\n'))
    assert "bridge.notify_url: no such setting" in said
    assert "abcdefgh" not in said
