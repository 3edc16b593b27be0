"""`bridge simulate` compares configurations on a trace."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bridge.commands.app import app

CONFIG = """
[[route]]
name = "gpu"
labels = ["gpu"]
repositories = ["acme/web"]
endpoints = ["l4", "a100"]
max_workers = 8

[[endpoint]]
name = "l4"
image = "ghcr.io/acme/runner:1.0"
gpu = ["ADA_24"]
workers_max = 2
"""
TRACE = "arrival,route,duration\n" + "".join(f"{1_000_000 + 30 * n},gpu,120\n" for n in range(12))
OUTAGE = "at,endpoint,workers\n1000000,l4,0\n1003600,l4,2\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("RUNPOD_ENDPOINT_ID", "BRIDGE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    files = {"bridge.toml": CONFIG, "trace.csv": TRACE, "outage.csv": OUTAGE}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def simulated(*arguments: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, ["simulate", "--json", *arguments])
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_a_configuration_is_compared_with_its_preferred_endpoints_alone(folder: Path) -> None:
    found, alone = simulated("trace.csv", "--capacity", "outage.csv")
    assert (found["configuration"], found["fallback"], alone["fallback"]) == ("bridge.toml", True, False)
    assert (found["jobs"], found["unserved"], alone["jobs"]) == (12, 0, 12)
    assert found["endpoints"]["a100"]["jobs"] == 12
    assert found["wait_p95_s"] <= 300
    assert alone["wait_p50_s"] > 3000
    assert alone["endpoints"]["l4"]["most_workers"] == 2


def test_several_configurations_are_compared(folder: Path) -> None:
    (folder / "one.toml").write_text(CONFIG.replace('endpoints = ["l4", "a100"]', 'endpoint = "l4"'))
    (folder / "warm.toml").write_text(CONFIG.replace("workers_max = 2", "workers_max = 2\nworkers_min = 2"))
    one, warm, _ = simulated("trace.csv", "--config", "one.toml", "--config", "warm.toml")
    assert [row["configuration"] for row in (one, warm)] == ["one.toml", "warm.toml"]
    assert warm["wait_p50_s"] < one["wait_p50_s"]
    assert warm["endpoints"]["l4"]["paid_s"] > 0


def table(*arguments: str) -> list[str]:
    done = CliRunner().invoke(app, ["simulate", *arguments], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    return done.stdout.splitlines()


def test_a_table_for_a_person_has_words_and_units(folder: Path) -> None:
    found, alone = simulated("trace.csv", "--capacity", "outage.csv")
    head, first, moved, second = table("trace.csv", "--capacity", "outage.csv")
    assert re.split(r" {2,}", head) == [
        "configuration", "endpoints", "jobs", "median wait", "95% wait", "longest wait", "paid time",
    ]  # fmt: skip
    assert re.fullmatch(r"bridge\.toml +all +12 +[\d.]+ (s|min) +[\d.]+ (s|min) +[\d.]+ (s|min) +[\d.]+ min", first)
    assert moved == f"    requests that moved to another endpoint: {found['moves']}"
    assert re.split(r" {2,}", second)[:4] == ["bridge.toml", "preferred", "12", f"{alone['wait_p50_s'] / 60:.0f} min"]


def test_a_table_says_how_many_jobs_got_no_runner(folder: Path) -> None:
    (folder / "one.toml").write_text(CONFIG.replace('endpoints = ["l4", "a100"]', 'endpoint = "l4"'))
    (folder / "outage.csv").write_text("at,endpoint,workers\n1000000,l4,0\n")
    _, row, note = table("trace.csv", "--capacity", "outage.csv", "--config", "one.toml")
    assert row.split()[:3] == ["one.toml", "all", "12"]
    assert note == "    jobs without a runner for a day: 12"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["none.csv"], "none.csv: cannot be read: No such file or directory"),
        (["trace.csv", "--config", "none.toml"], "none.toml: cannot be read: No such file or directory"),
        (["outage.csv"], "outage.csv: has no column arrival; its first line must be arrival,route,duration"),
        (["trace.csv", "--capacity", "trace.csv"], "trace.csv: has no column at; its first line must be at,endpoint"),
        (["trace.csv", "--capacity", "other.csv"], "--capacity: no route of bridge.toml uses the endpoint h100;"),
        (["cpu.csv"], "no route is called cpu; the trace and the configuration must name the same routes"),
        (["binary.csv"], "binary.csv: cannot be read: it is not text in UTF-8"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder: Path, arguments: list[str], problem: str) -> None:
    (folder / "other.csv").write_text("at,endpoint,workers\n0,h100,1\n")
    (folder / "cpu.csv").write_text("arrival,route,duration\n0,cpu,1\n")
    (folder / "binary.csv").write_bytes(b"\xff\xfe\x00")
    done = CliRunner().invoke(app, ["simulate", *arguments])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"bridge: {problem}")
    assert done.stderr.count("\n") == 1


def test_it_needs_a_configuration(folder: Path) -> None:
    (folder / "bridge.toml").unlink()
    done = CliRunner().invoke(app, ["simulate", "trace.csv"])
    assert (done.exit_code, done.stderr) == (
        2,
        "bridge: --config: missing; name a bridge.toml with the routes of the trace\n",
    )
