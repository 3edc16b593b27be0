"""deploy/prometheus and deploy/grafana: the rules fire as they should, and every metric in them exists."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge.core.submissions import State
from bridge.core.worker import Reason
from bridge.service.metrics import Metrics
from bridge.service.outcomes import DeliveryOutcome
from tests.support import ROOT

ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yaml"
TESTS = ROOT / "tests" / "automation" / "alerts_test.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
SUFFIXES = r"(_bucket|_sum|_count)?$"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed; Debian's package prometheus has it"
)


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return list(group["rules"])


def queries() -> Iterator[str]:
    yield from (rule["expr"] for rule in rules())
    dashboard = json.loads(DASHBOARD.read_text())
    yield from (target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ()))
    yield from (each["query"]["query"] for each in dashboard["templating"]["list"] if each["type"] == "query")


def promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=60)


@needs_promtool
def test_promtool_accepts_the_rules_and_their_tests_pass() -> None:
    for arguments in (
        ("check", "rules", str(ALERTS)),
        ("test", "rules", str(ROOT / "tests/automation/alerts_test.yaml")),
    ):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_tests_of_the_rules_notice_a_rule_that_never_fires(tmp_path: Path) -> None:
    folder = tmp_path / "deploy" / "prometheus"
    folder.mkdir(parents=True)
    (folder / "alerts.yaml").write_text(ALERTS.read_text().replace(") > 600", ") > 1e9"))
    tests = tmp_path / "tests" / "automation" / "alerts_test.yaml"
    tests.parent.mkdir(parents=True)
    shutil.copy(TESTS, tests)
    assert promtool("test", "rules", str(tests)).returncode != 0


def test_every_query_names_metrics_that_the_bridge_serves() -> None:
    served = set(re.findall(r"^# TYPE (\S+)", Metrics().page().decode(), re.MULTILINE))
    for query in queries():
        named = {re.sub(SUFFIXES, "", name) for name in re.findall(r"\bbridge_[a-z_]+", query)}
        assert named, query
        assert named <= served, query


def test_every_value_of_a_label_in_a_query_is_one_that_the_bridge_writes() -> None:
    known = {
        "reason": {*Reason, *State},
        "state": {*State, "throttled", "unhealthy"},  # RunPod's words, facts of /health
        "outcome": set(DeliveryOutcome),
    }
    for query in queries():
        for label, values in re.findall(r'(reason|state|outcome)=~?"([^"]+)"', query):
            assert set(values.split("|")) <= known[label], query


def test_every_alert_has_a_runbook_in_the_documentation() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    anchors = {heading.lower() for heading in re.findall(r"^### (Bridge\w+)$", page, re.MULTILINE)}
    assert {rule["annotations"]["runbook_url"].partition("#")[2] for rule in rules()} == anchors
    assert {rule["alert"].lower() for rule in rules()} == anchors
