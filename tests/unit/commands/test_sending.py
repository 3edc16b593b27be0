"""What sends traces and messages, as configured."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge.commands.sending import sending
from bridge.config.settings import Config, load
from bridge.config.tracing import Tracing
from bridge.errors import ConfigError
from bridge.ledger import Ledger
from tests.support.values import NOW

MINIMAL = {
    "GITHUB_ORG": "acme",
    "GITHUB_PAT": "ghp_secret",
    "RUNPOD_API_KEY": "rp_secret",
    "RUNPOD_ENDPOINT_ID": "ep-1",
}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Config:
    monkeypatch.chdir(tmp_path)
    for name, value in MINIMAL.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BRIDGE_DATABASE_URL", f"sqlite:///{tmp_path / 'ledger'}")
    return load(None)


def channels(settings: Config, **given: Any) -> list[str]:
    """The names of what is sent."""

    async def names() -> list[str]:
        ledger = Ledger.open(settings.database_url)
        try:
            async with sending(replace(settings, **given), ledger, lambda: NOW) as sender:
                return [each.name for each in sender.channels]
        finally:
            ledger.close()

    return asyncio.run(names())


TRACING = Tracing(host="collector:4318")
URL = "https://hooks.example/x"


def test_only_what_is_configured_is_sent(settings: Config) -> None:
    assert channels(settings) == []
    assert channels(settings, notify_url=URL) == ["notifications"]
    assert channels(settings, tracing=TRACING, notify_url=URL) == ["traces", "notifications"]


def test_traces_without_their_exporter_are_refused_in_one_line(
    settings: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "bridge.observability.traces", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError) as caught:
        channels(settings, tracing=TRACING)
    assert str(caught.value) == (
        "OTEL_EXPORTER_OTLP_ENDPOINT: traces need the extra `otel`; install it with pip install "
        "'runpod-actions-bridge[otel]', or unset the variable"
    )
