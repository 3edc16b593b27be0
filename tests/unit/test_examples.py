"""The examples in docs/ work with this version of the bridge."""

import json
import re
from pathlib import Path

import pytest

from bridge.config.settings import load
from bridge.core.routing import contained
from bridge.core.scope import Route
from tests.support import ROOT

EXAMPLES = ROOT / "docs" / "examples"
NEW, OLD = "n" * 32, "o" * 32


def test_the_example_configuration_is_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = tmp_path / "app.pem"
    key.write_text("a key")
    for name, value in {
        "GITHUB_APP_PRIVATE_KEY_FILE": str(key),
        "RUNPOD_API_KEY": "rpa_x",
        "GITHUB_WEBHOOK_SECRET": f"{NEW},{OLD}",
        "BRIDGE_CALLBACK_KEY": "0123456789abcdef",
    }.items():
        monkeypatch.setenv(name, value)
    config = load(EXAMPLES / "bridge.toml")
    assert [route.name for route in config.scope.routes] == ["gpu", "a100", "cpu"]
    assert contained(config.scope.routes) == [], "GitHub may give the first route's jobs to the second one's runners"
    assert config.scope.public_url == "https://bridge.example.org"
    assert config.webhook_secrets == (NEW, OLD)


def test_the_endpoints_of_the_documentation_are_created_with_what_the_bridge_needs() -> None:
    """RunPod's API v2 refuses unknown fields, and `idleTimeout` for a queue that scales by request count."""
    page = (ROOT / "docs" / "image.md").read_text()
    bodies = [
        json.loads(body)
        for body in re.findall(
            r"^curl https://api\.runpod\.io/v2/serverless .*?-d '(.*?)'", page, re.DOTALL | re.MULTILINE
        )
    ]
    assert [("gpu" in body, "cpu" in body) for body in bodies] == [(True, False), (False, True)]
    for body in bodies:
        assert (body["type"], body["scaling"]) == ("QUEUE", {"type": "REQUEST_COUNT", "requestCount": 1})
        assert (body["flashboot"], body["workers"].keys()) == ("OFF", {"min", "max"})
        assert (
            body["timeout"]
            == 1000 * Route(name="r", labels=frozenset(), endpoints=("e",), max_workers=1).execution_timeout
        )
