"""The names of `[[endpoint]]` tables, as a person meets them in the commands; the ids where RunPod needs them."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bridge.commands.app import app
from bridge.config.endpoints import write_ids
from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.runpod.model import EndpointConfig
from tests.e2e.test_control import queue, rows
from tests.e2e.test_explain import run
from tests.support.emulators import API_KEY, Emulators, emulators
from tests.support.github import a_github

CONFIGURATION = """
[[endpoint]]
name = "l4"
image = "ghcr.io/acme/runner:1.0"
gpu = ["ADA_24"]

[[endpoint]]
name = "a100"
image = "ghcr.io/acme/runner:1.0"
gpu = ["AMPERE_80"]

[[route]]
name = "gpu"
labels = ["runpod", "gpu"]
endpoints = ["l4", "a100"]
"""
GONE = Fault(method="POST", path="/run$", kind=FaultKind.ERROR, status=404, times=9)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Emulators]:
    with emulators(tmp_path, state=a_github()) as served:
        served.runpod.state.endpoints["ep-2"] = EndpointConfig()
        toml = tmp_path / "bridge.toml"
        toml.write_text(CONFIGURATION)
        write_ids(toml, {"l4": "ep-1", "a100": "ep-2"})
        served.variables |= {"BRIDGE_CONFIG": str(toml)}
        yield served


def table(made: Emulators, *arguments: str) -> str:
    """What a command prints on a wide terminal, its words with one space between them."""
    bare = dict.fromkeys((n for n in os.environ if n.startswith(("GITHUB_", "RUNPOD_", "BRIDGE_"))), "")
    environment = bare | made.environment | {"COLUMNS": "200"}
    done = CliRunner().invoke(app, arguments, env=environment, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def test_a_request_is_told_with_the_name_and_at_its_step_with_the_id(made: Emulators) -> None:
    (job,) = queue(made, "a")
    dry = made.dispatch("--dry-run")["jobs"][0]
    assert (dry["endpoint"], dry["endpoint_name"]) == ("ep-1", "l4")
    assert dry["why"].endswith(" at endpoint l4: endpoint l4 is preferred")
    made.dispatch()

    story = table(made, "explain", str(job.id))
    assert "claimed, route gpu: endpoint l4 is preferred" in story
    assert "sending a request to endpoint l4 (ep-1)" in story
    (told,) = rows(made, "explain", str(job.id))
    (submission,) = told["submissions"]
    assert (submission["endpoint"], submission["endpoint_name"]) == ("ep-1", "l4")
    assert [(row["endpoint"], row["endpoint_name"]) for row in rows(made, "submissions")] == [("ep-1", "l4")]
    assert [(row["endpoint"], row["name"]) for row in rows(made, "endpoints", "list")] == [
        ("ep-1", "l4"),
        ("ep-2", "a100"),
    ]


def test_jobs_and_routes_name_the_endpoints_that_refuse_requests(made: Emulators) -> None:
    (job,) = queue(made, "a")
    made.runpod.faults.add(GONE)
    problems: list[str] = []
    for _ in range(2):
        problems += made.dispatch(status=1)["problems"]
    assert {each.partition(": 404")[0] for each in problems} == {
        "RunPod: POST /ep-1/run (endpoint l4)",
        "RunPod: POST /ep-2/run (endpoint a100)",
    }
    refused = "endpoint a100 was refused: RunPod: POST /ep-2/run (endpoint a100): 404"
    assert refused in table(made, "jobs")
    assert refused in table(made, "explain", str(job.id))
    routes = table(made, "routes")
    assert "queued endpoints labels" in routes
    assert " l4, a100 gpu, runpod " in routes
    assert "endpoint l4: RunPod: POST" in routes
    (route,) = rows(made, "routes")
    assert (route["state"], route["endpoints"], route["endpoint_names"]) == (
        "refused",
        ["ep-1", "ep-2"],
        ["l4", "a100"],
    )


def test_budgets_name_the_endpoints_whose_price_is_not_known(made: Emulators) -> None:
    (job,) = queue(made, "a")
    toml = made.home / "bridge.toml"
    toml.write_text(f"[budget]\nusd_per_day = 9\n{CONFIGURATION}")
    made.dispatch()
    assert "no price is known of a100, l4" in table(made, "budget")
    assert rows(made, "budget")[0]["endpoints_without_price"] == ["ep-1", "ep-2"]
    why = "budget: the price of endpoint l4 is not known; set `usd_per_hour` in route gpu"
    assert why in table(made, "explain", str(job.id))
    assert why in table(made, "routes")


def test_a_story_keeps_the_name_of_its_time(made: Emulators) -> None:
    (job,) = queue(made, "a")
    made.dispatch()
    toml = made.home / "bridge.toml"
    toml.write_text(CONFIGURATION.replace('"l4"', '"cheap"'))
    write_ids(toml, {"cheap": "ep-1", "a100": "ep-2"})
    story = table(made, "explain", str(job.id))
    assert "claimed, route gpu: endpoint l4 is preferred" in story
    assert "sending a request to endpoint cheap (ep-1)" in story


def test_an_id_without_a_table_is_shown_as_it_is(made: Emulators) -> None:
    (job,) = queue(made, "a")
    toml = made.home / "bridge.toml"
    toml.write_text(CONFIGURATION.replace('["l4", "a100"]', '["ep-3", "a100"]'))
    write_ids(toml, {"a100": "ep-2"})
    found: dict[str, Any] = made.dispatch("--dry-run")["jobs"][0]
    assert (found["endpoint"], found["endpoint_name"]) == ("ep-3", None)
    assert found["why"].endswith("at endpoint ep-3: endpoint ep-3 is preferred")
    assert json.loads(run(made, "routes", "--json").output)[0]["endpoint_names"] == ["ep-3", "a100"]
    assert job.status == "queued"


def test_the_log_of_a_worker_that_is_gone_is_found_in_the_console_by_the_id(made: Emulators) -> None:
    made.variables |= {"RUNPOD_MANAGEMENT_API_KEY": API_KEY, "RUNPOD_MANAGEMENT_URL": made.runpod.management_url}
    (job,) = queue(made, "a")
    made.dispatch()
    worker = made.runpod.state.add_worker("ep-1")
    assert made.runpod.state.take(worker.id)
    made.dispatch()
    made.runpod.state.remove_worker(worker)
    assert run(made, "logs", str(job.id)).stderr.endswith(
        "its console keeps the logs of endpoint l4 (ep-1) for 90 days\n"
    )
