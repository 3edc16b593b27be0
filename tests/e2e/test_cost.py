"""`bridge cost` and `bridge budget` as a person runs them, against the emulated services."""

import asyncio
import csv
import io
import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from bridge.commands.app import app
from bridge.core.history import Execution
from bridge.core.submissions import State
from bridge.emulator.github import Limits
from bridge.emulator.runpod.state import TERMINAL, Request
from bridge.ledger import Ledger
from bridge.ledger.rows import row_of_submission
from bridge.ledger.tables import submissions
from tests.support.background import until
from tests.support.emulators import API_KEY, Emulators, assert_no_secret, emulators, real_workers
from tests.support.github import a_github, a_run, a_spec
from tests.support.instant import Fate
from tests.support.runners import a_job_of_steps
from tests.support.service import running_service
from tests.support.values import a_submission

ADA_24 = 1.116
"""USD per hour of the emulated endpoint's GPU pool."""

MANAGED = {"RUNPOD_MANAGEMENT_API_KEY": API_KEY}


def run(made: Emulators, *arguments: str, columns: int = 80, **variables: str) -> Result:
    bare = dict.fromkeys((n for n in os.environ if n.startswith(("GITHUB_", "RUNPOD_", "BRIDGE_"))), "")
    environment = bare | made.environment | {"COLUMNS": str(columns)} | variables
    done = CliRunner().invoke(app, arguments, env=environment, catch_exceptions=False)
    assert_no_secret(made, done.output)
    return done


def document(made: Emulators, *arguments: str, **variables: str) -> Any:
    done = run(made, *arguments, "--json", columns=80, **variables)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def passes_until(made: Emulators, over: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not over():
        assert time.monotonic() < until
        made.dispatch()
        time.sleep(0.1)


def queue(made: Emulators, count: int, **spec: Any) -> list[Any]:
    runs = [made.github.state.add_run("acme/web", a_run(a_spec(f"job {n}", **spec))) for n in range(count)]
    return [job for each in runs for job in each.jobs.values()]


def billed(made: Emulators) -> float:
    answer = httpx.get(
        f"{made.runpod.management_url}/v2/billing/serverless?bucketSize=day&lastN=2",
        headers={"Authorization": f"Bearer {API_KEY}"},
    )
    return float(answer.json()["metadata"]["totals"]["totalAmount"])


class Mixed:
    """Jobs that end in every way that costs money."""

    FATES = (Fate.NORMAL, Fate.CRASHES, Fate.NORMAL, Fate.DEPRECATED, Fate.NORMAL)

    def __init__(self) -> None:
        self._fates = iter(self.FATES)

    def fate(self, _request: Request) -> Fate:
        return next(self._fates, Fate.NORMAL)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulators]:
    home = tmp_path_factory.mktemp("cost")
    state = a_github(limits=Limits(pickup=5.0, heartbeat=5.0, renewal=5.0))
    instant = {"fate": Mixed().fate, "seconds": 1.5, "boot": 0.5}
    with emulators(home, state=state, instant=instant, cold_start=0.3) as made:
        made.variables |= {**MANAGED, "RUNPOD_MANAGEMENT_URL": made.runpod.management_url}
        jobs = queue(made, 4)
        passes_until(made, lambda: all(job.status == "completed" for job in jobs))
        requests = made.runpod.state.requests
        passes_until(made, lambda: all(each.status in TERMINAL for each in requests.values()))
        for _ in range(3):
            made.dispatch()
        yield made


def test_the_costs_add_up_to_what_runpod_billed(served: Emulators) -> None:
    bill = billed(served)
    assert bill > 0
    for by in ("repository", "workflow", "route", "endpoint", "gpu", "day"):
        told = document(served, "cost", "--by", by)
        assert sum(row["usd"] for row in told["rows"]) == pytest.approx(bill, rel=0.01), by
        assert told["total"]["usd"] == pytest.approx(bill, rel=0.01)
        assert told["total"]["jobs"] == 4
        assert 0 < told["total"]["share_without_job"] < 0.6


def test_the_start_of_a_real_worker_is_in_its_cost(tmp_path: Path) -> None:
    """Its process tells how long it took to start. Only the end of its container is not known, after its request."""
    with real_workers(tmp_path, state=a_github()) as made:
        made.variables |= {**MANAGED, "RUNPOD_MANAGEMENT_URL": made.runpod.management_url}
        job = made.github.state.add_run("acme/web", a_run(a_job_of_steps("sleep 8"))).jobs["build"]
        passes_until(made, lambda: job.status == "in_progress")
        (worker,) = made.runpod.state.workers.values()
        passes_until(made, lambda: job.status == "completed")
        passes_until(made, lambda: not made.runpod.state.workers)
        made.dispatch()
        (row,) = document(made, "cost")["rows"]
        (request,) = made.runpod.state.requests.values()
        assert worker.billed_from and request.started_at and request.ended_at
        start, work = request.started_at - worker.billed_from, request.ended_at - request.started_at
        assert row["usd"] == pytest.approx((start + work) * ADA_24 / 3600, rel=0.1)
        assert start > 0.1 * work, "without the start it would not be within 10 %"


def test_reconciling_shows_estimate_bill_and_difference_of_each_endpoint_and_day(served: Emulators) -> None:
    rows = document(served, "cost", "--reconcile")["rows"]
    assert sum(row["usd_billed"] for row in rows) == pytest.approx(billed(served), abs=2e-6)
    assert {row["endpoint"] for row in rows} == {"ep-1"}
    assert sum(abs(row["usd_difference"]) for row in rows) < 0.01 * billed(served) + 2e-6
    shown = run(served, "cost", "--reconcile").output
    assert re.search(r"ep-1 +│ +\d{4}-\d\d-\d\d │ +0\.\d{4} │ +0\.\d{4} │", shown), shown


def test_the_table_fits_80_columns_and_has_a_total(served: Emulators) -> None:
    shown = run(served, "cost", "--by", "workflow").stdout
    assert "acme/web: " in shown
    assert "total" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_csv_has_one_line_for_each_key(served: Emulators) -> None:
    rows = list(csv.DictReader(io.StringIO(run(served, "cost", "--csv").stdout)))
    assert [row["key"] for row in rows] == ["default"]
    assert float(rows[0]["usd"]) == pytest.approx(billed(served), rel=0.01)


def test_the_jobs_that_ran_can_be_simulated(served: Emulators, tmp_path: Path) -> None:
    trace, configuration = tmp_path / "trace.csv", tmp_path / "bridge.toml"
    trace.write_text(run(served, "cost", "--trace").stdout)
    assert [row["route"] for row in csv.DictReader(trace.read_text().splitlines())] == ["default"] * 4
    configuration.write_text('[[route]]\nname = "default"\nlabels = ["runpod", "gpu"]\nendpoint = "ep-1"\n')
    (row,) = json.loads(run(served, "simulate", str(trace), "--config", str(configuration), "--json").stdout)
    assert (row["jobs"], row["unserved"]) == (4, 0)
    assert run(served, "cost", "--trace", "--json").exit_code == 2


def test_without_a_price_the_cost_is_unknown_and_not_zero(tmp_path: Path) -> None:
    with emulators(tmp_path, instant={"seconds": 0.2}) as made:
        (job,) = queue(made, 1)
        passes_until(made, lambda: job.status == "completed")
        made.dispatch()
        told = document(made, "cost")
        assert told["total"]["usd"] is None
        assert told["total"]["seconds_without_price"] > 0
        assert "unknown" in run(made, "cost").output
        assert "RUNPOD_MANAGEMENT_API_KEY" in run(made, "cost", "--reconcile").output
        later = document(made, "cost", **MANAGED, RUNPOD_MANAGEMENT_URL=made.runpod.management_url)
        assert later["total"]["usd"] > 0, "the price is read when there is a key"
        assert document(made, "cost")["total"]["usd"] > 0, "and kept"


def test_an_unreachable_catalog_is_one_line_and_the_known_prices_count(served: Emulators) -> None:
    done = run(served, "cost", RUNPOD_MANAGEMENT_URL="http://127.0.0.1:9")
    assert done.exit_code == 0
    assert "the prices are those that the ledger has" in done.output
    done = run(served, "cost", "--reconcile", RUNPOD_MANAGEMENT_URL="http://127.0.0.1:9")
    assert done.exit_code == 1
    assert "Traceback" not in done.output


@pytest.mark.parametrize("period", ["0d", "d", "30", "-1d", "1e3d", "99999d", "³d"])
def test_an_impossible_period_is_refused(served: Emulators, period: str) -> None:
    done = run(served, "cost", "--since", period, columns=200)
    assert done.exit_code == 2
    assert "24h, 30d or 2w" in done.output


def test_a_period_of_which_a_part_was_deleted_is_said(served: Emulators) -> None:
    assert "keeps" not in run(served, "cost", "--since", "30d").output, "the ledger is new"
    with closing(sqlite3.connect(served.ledger)) as database, database:
        (born,) = database.execute("SELECT born FROM meta").fetchone()
        database.execute("UPDATE meta SET born = ?", (born - 20 * 86_400,))
    assert "keeps 14 days" in run(served, "cost", "--since", "30d").output
    assert "keeps" not in run(served, "cost", "--since", "7d").output


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Emulators]:
    """A bridge with a budget that one job uses up, at one USD a second."""
    config = tmp_path / "bridge.toml"
    config.write_text(
        "[budget]\nusd_per_day = 1\n"
        '[[route]]\nname = "gpu"\nlabels = ["runpod", "gpu"]\nendpoint = "ep-1"\nusd_per_hour = 3600\n'
    )
    with emulators(tmp_path, instant={"seconds": 1.2}) as made:
        made.variables["BRIDGE_CONFIG"] = str(config)
        (job,) = queue(made, 1)
        passes_until(made, lambda: job.status == "completed")
        made.dispatch()
        yield made


def test_a_budget_that_is_used_up_holds_new_jobs_until_it_is_raised(held: Emulators) -> None:
    (job,) = queue(held, 1)
    before = len(held.runpod.state.requests)
    (listed,) = held.dispatch()["jobs"]
    assert re.fullmatch(
        r"budget: 1\.\d\d of 1\.00 USD used today; it resets at 00:00 UTC; raise it with `bridge budget --raise USD`",
        listed["why"],
    )
    assert len(held.runpod.state.requests) == before
    (route,) = document(held, "routes")
    assert (route["state"], route["why"]) == ("budget", listed["why"])
    (shown,) = document(held, "budget")
    assert (shown["usd_per_day"], shown["raised"]) == (1.0, None)
    assert shown["used_usd"] == pytest.approx(document(held, "cost")["total"]["usd"], rel=0.05)
    (raised,) = document(held, "budget", "--raise", "100")
    assert (raised["usd_per_day"], raised["configured_usd_per_day"]) == (100.0, 1.0)
    assert re.fullmatch(r".+@.+", raised["raised"]["by"])
    assert raised["raised"]["until"] == raised["resets_at"]
    passes_until(held, lambda: job.status == "completed")


def test_a_budget_is_shown_within_80_columns(held: Emulators) -> None:
    raised = run(held, "budget", "--raise", "100", "--until", "23:59")
    assert raised.stderr == "", "what was done is told once"
    shown = run(held, "budget").stdout
    assert raised.stdout == shown, "who raises it sees the new state"
    _, row, note = shown.splitlines()
    assert re.fullmatch(r"all routes  1\.\d\d USD  100\.00 USD  [12]%     [\d-]+ 00:00 UTC", row)
    assert re.fullmatch(r"    raised from 1\.00 USD until [\d-]+ 23:59 UTC by \S+@\S+", note)
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--raise", "1"), 1, "must be more than the configured 1.00 USD"),
        (("--raise", "nan"), 1, "must be more than the configured 1.00 USD"),
        (("--raise", "5", "--until", "2020-01-01T00:00"), 1, "must be in the future"),
        (("--raise", "5", "--until", "2999-01-01T00:00"), 1, "within 31 days"),
        (("--raise", "5", "--until", "tomorrow"), 2, "must be as 18:00"),
        (("--raise", "5", "--route", "gpu"), 1, "route gpu has no budget of its own"),
        (("--until", "18:00"), 2, "needs --raise"),
        (("--route", "gpu"), 2, "needs --raise"),
    ],
)
def test_a_raise_that_makes_no_sense_is_refused(
    held: Emulators, arguments: tuple[str, ...], status: int, said: str
) -> None:
    done = run(held, "budget", *arguments, columns=200)
    assert (done.exit_code, said in done.output) == (status, True), done.output
    (shown,) = document(held, "budget")
    assert shown["raised"] is None


def test_without_a_budget_the_command_says_how_to_set_one(served: Emulators) -> None:
    assert "no budget is set" in run(served, "budget").output
    done = run(served, "budget", "--raise", "5")
    assert (done.exit_code, "there is no budget" in done.output) == (1, True)


def test_without_a_ledger_both_commands_say_so(tmp_path: Path) -> None:
    with emulators(tmp_path) as made:
        for command in ("cost", "budget"):
            done = run(made, command)
            assert (done.exit_code, "no ledger" in done.output) == (1, True)


HOSTILE = f"\x1b[31m=1+1[red]<script>{'x' * 200}{API_KEY}"


def test_a_hostile_workflow_name_neither_breaks_the_table_nor_becomes_a_formula(tmp_path: Path) -> None:
    with emulators(tmp_path, instant={"seconds": 0.1}) as made:
        made.variables |= {**MANAGED, "RUNPOD_MANAGEMENT_URL": made.runpod.management_url}
        run_spec = replace(a_run(a_spec("job")), workflow=HOSTILE)
        (job,) = made.github.state.add_run("acme/web", run_spec).jobs.values()
        passes_until(made, lambda: job.status == "completed")
        made.dispatch()
        shown = run(made, "cost", "--by", "workflow").stdout
        assert "\x1b[31m" not in shown
        assert "[red]" in shown, "no markup"
        assert max(map(len, shown.splitlines())) <= 80
        (row,) = csv.DictReader(io.StringIO(run(made, "cost", "--by", "workflow", "--csv").stdout))
        assert row["key"].startswith("acme/web: ")
        assert "\x1b" not in row["key"]


@pytest.mark.parametrize("gpu", ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)"])
def test_a_gpu_that_a_worker_invents_does_not_become_a_formula_of_a_spreadsheet(tmp_path: Path, gpu: str) -> None:
    with emulators(tmp_path) as made:
        row = row_of_submission(a_submission(1, State.FINISHED, since=time.time(), taken_at=time.time() - 5))
        told = {row["id"]: Execution(execution=5.0, gpu_type=gpu)}
        with closing(Ledger.open(f"sqlite:///{made.ledger}")) as ledger:
            asyncio.run(ledger.transact(lambda t: t._connection.execute(sa.insert(submissions), row)))
            asyncio.run(ledger.transact(lambda transaction: transaction.keep_executions(told)))
        rows = list(csv.DictReader(io.StringIO(run(made, "cost", "--by", "gpu", "--csv").stdout)))
        assert [row["key"] for row in rows] == [f"'{gpu}"]


def test_the_service_counts_costs_and_shows_what_is_used_of_the_budget(tmp_path: Path) -> None:
    config = tmp_path / "bridge.toml"
    config.write_text(
        '[[route]]\nname = "gpu"\nlabels = ["runpod", "gpu"]\nendpoint = "ep-1"\nusd_per_hour = 36\nusd_per_day = 50\n'
    )
    with emulators(tmp_path, instant={"seconds": 1.0}) as made:
        made.variables["BRIDGE_CONFIG"] = str(config)
        with running_service(made, BRIDGE_BUDGET_USD_PER_DAY="70") as service:
            job = service.queue()
            until(lambda: job.status == "completed")
            until(lambda: service.metric('bridge_cost_dollars_total{route="gpu"}') >= 0.01)
            until(lambda: service.metric('bridge_budget_used_dollars{route="gpu"}') >= 0.01)
            assert service.metric('bridge_budget_dollars{route="gpu"}') == 50
            assert service.metric('bridge_budget_dollars{route=""}') == 70
            assert service.metric('bridge_cost_dollars_total{route="gpu"}') < 0.1
