"""`bridge endpoints` against the emulated RunPod, as an operator runs it."""

import asyncio
import json
import os
import pty
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from typer.testing import CliRunner, Result

from bridge.commands.app import app
from bridge.commands.endpoints.work import Applied, apply_plan, compare
from bridge.config.endpoints import read_ids
from bridge.config.management import ManagementConfig
from bridge.core.endpoints import MARK, Change, Endpoint, EndpointSettings
from bridge.emulator.cloud import cloud, github_state
from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.runpod import Account, EndpointConfig, RunPodEmulator, RunPodState, runpod_emulator
from bridge.emulator.runpod.bodies import Problem
from bridge.emulator.synthetic import fill
from bridge.errors import Rejected
from bridge.ledger import Ledger
from bridge.runpod import management_http
from bridge.runpod.management import Management
from bridge.runpod.management_http import http_client
from bridge.runpod.management_models import EndpointDocument, creation, update
from tests.support import ROOT
from tests.support.background import served, until

KEY, RUNTIME = "rpa_managementkey", "rpa_runtimekey"
TOML = """
[[endpoint]]
name = "l4"
image = "ghcr.io/acme/runner:1.0"
gpu = ["AMPERE_24", "ADA_24"]
regions = ["EU-RO-1", "US-KS-2"]
workers_max = 4
env = {HF_HOME = "/cache"}

[[endpoint]]
name = "cpu"
image = "ghcr.io/acme/runner:1.0"
cpu = {flavor = "cpu3c", vcpus = 2}
workers_max = 1

[[route]]
name = "gpu"
labels = ["gpu"]
endpoints = ["l4"]

[[route]]
name = "cpu"
labels = ["cpu"]
endpoints = ["cpu"]
"""


@dataclass(kw_only=True)
class World:
    """An emulated account with one endpoint of someone else, and a folder with bridge.toml."""

    runpod: RunPodEmulator
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "GITHUB_ORG": "acme",
            "RUNPOD_API_KEY": RUNTIME,
            "RUNPOD_MANAGEMENT_API_KEY": KEY,
            "RUNPOD_MANAGEMENT_URL": self.runpod.management_url,
            "BRIDGE_CONFIG": str(self.config),
            "BRIDGE_DATABASE_URL": f"sqlite:///{self.folder}/ledger.sqlite3",
        }

    @property
    def config(self) -> Path:
        return self.folder / "bridge.toml"

    @property
    def account(self) -> Account:
        return self.runpod.account

    def write(self, text: str) -> None:
        self.config.write_text(text)

    def run(self, *arguments: str, status: int = 0) -> Result:
        bare = dict.fromkeys((n for n in os.environ if n.startswith(("GITHUB_", "RUNPOD_", "BRIDGE_"))), "")
        done = CliRunner().invoke(app, ["endpoints", *arguments], env=bare | self.environment, catch_exceptions=False)
        assert done.exit_code == status, done.output
        assert KEY not in done.output
        assert RUNTIME not in done.output
        return done

    def plan(self, status: int = 0) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.run("plan", "--json", status=status).stdout)
        return document

    def actions(self) -> dict[str, str]:
        return {each["name"]: each["action"] for each in self.plan()["endpoints"]}

    def names(self) -> list[str]:
        return sorted(record["name"] for record in self.account.all())

    def id(self, name: str) -> str:
        (found,) = [record["id"] for record in self.account.all() if record["name"] == name]
        return str(found)

    def changed_calls(self) -> int:
        return sum(n for call, n in self.runpod.management.calls.items() if not call.startswith("GET"))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    state = RunPodState({"theirs": EndpointConfig(workers_max=1)})
    account = Account(state, quota=10)

    @asynccontextmanager
    async def serving() -> AsyncIterator[RunPodEmulator]:
        async with runpod_emulator(state, api_key=RUNTIME, account=account, management_key=KEY) as runpod:
            yield runpod

    with served(serving) as runpod:
        made = World(runpod=runpod, folder=tmp_path)
        made.write(TOML)
        yield made


SAME = {"l4": "unchanged", "cpu": "unchanged"}


def test_apply_makes_what_plan_shows_and_then_nothing_is_left_to_do(world: World) -> None:
    planned = world.run("plan").stdout
    for line in (
        "+ l4: create",
        "price: $0.68 to $1.12 per worker and hour, at most $4.46 for 4",
        "stock: ADA_24 MEDIUM (EU-RO-1 MEDIUM, US-KS-2 MEDIUM)",
        "stock: cpu3c MEDIUM (EU-RO-1 MEDIUM)",
        "workers of all endpoints of the account: 1 now, 6 after apply; quota 10",
    ):
        assert line in planned
    assert world.changed_calls() == 0
    world.run("apply", "--yes")
    assert read_ids(world.config) == {"l4": world.id("l4"), "cpu": world.id("cpu")}
    record = world.account.records[world.id("l4")]
    assert record["scaling"] == {"type": "REQUEST_COUNT", "requestCount": 1}
    assert (record["type"], record["flashboot"], record["timeout"]) == ("QUEUE", "OFF", 22_320_000)
    assert record["env"] == {"HF_HOME": "/cache", MARK: "acme/runpod/l4"}
    calls = world.changed_calls()
    assert world.actions() == SAME
    world.run("apply")  # nothing to ask about
    assert world.changed_calls() == calls == 2


def test_only_what_differs_is_sent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.run("apply", "--yes")
    sent, original = [], world.account.update

    def noted(id_: str, body: Any) -> Any:
        sent.append((id_, body))
        return original(id_, body)

    monkeypatch.setattr(world.account, "update", noted)
    world.write(TOML.replace("runner:1.0", "runner:1.1", 1).replace('HF_HOME = "/cache"', 'A = "1", B = "2"'))
    shown = world.run("plan").stdout
    assert "image: ghcr.io/acme/runner:1.0 -> ghcr.io/acme/runner:1.1" in shown
    assert "env: 2 variables -> add A, B; remove HF_HOME" in shown
    world.run("apply", "--yes")
    env = {"A": "1", "B": "2", MARK: "acme/runpod/l4"}
    assert sent == [(world.id("l4"), {"image": "ghcr.io/acme/runner:1.1", "env": env})]
    assert world.actions() == SAME


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_that_runpod_reduced_are_shown_as_its_change_and_restored(world: World, workers: int) -> None:
    world.run("apply", "--yes")
    world.runpod.state.endpoints[world.id("l4")].workers_max = workers
    shown = world.run("plan").stdout
    assert f"workers_max: {workers} -> 4  [RunPod reduces it to 2 after 3 days without requests" in shown
    world.run("apply", "--yes")
    assert world.runpod.state.endpoints[world.id("l4")].workers_max == 4


def test_json_says_what_was_done(world: World) -> None:
    document = json.loads(world.run("apply", "--yes", "--json").stdout)
    assert document["applied"] == {"l4": world.id("l4"), "cpu": world.id("cpu")}
    assert document["quota"] == {"limit": 10, "before": 1, "after": 6}
    first = document["endpoints"][0]
    assert (first["action"], first["price_per_worker_hour"]) == ("create", [0.684, 1.116])
    assert first["stock"][0] == {
        "pool": "AMPERE_24", "level": "MEDIUM", "regions": {"EU-RO-1": "MEDIUM", "US-KS-2": "MEDIUM"}
    }  # fmt: skip


def test_without_a_terminal_apply_and_delete_need_yes(world: World) -> None:
    assert "--yes: missing" in world.run("apply", status=2).stderr
    assert world.changed_calls() == 0
    world.run("apply", "--yes")
    assert "--yes: missing" in world.run("delete", "l4", status=2).stderr
    assert "l4" in world.names()


@pytest.mark.parametrize(("answer", "status"), [("n", 1), ("y", 0)])
def test_on_a_terminal_apply_asks(world: World, answer: str, status: int) -> None:
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "HOME": str(world.folder), **world.environment}
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", "endpoints", "apply"],
        cwd=ROOT, env=environment, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.write(ours, f"{answer}\n".encode())
    output, errors = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == status, errors
    assert "Apply this plan? [y/N]: " in output
    assert world.names() == (["theirs"] if answer == "n" else ["cpu", "l4", "theirs"])


def test_an_endpoint_of_someone_else_is_never_touched(world: World) -> None:
    world.account.create({**creation(EndpointSettings(name="l4", image="theirs:1", gpu=("ADA_24",))), "env": {}})
    before = json.dumps([r for r in world.account.all() if r["name"] != "cpu"])
    done = world.run("apply", "--yes", status=1)
    assert "bridge: l4: endpoint" in done.stderr
    assert "was not created by this bridge; use another name in bridge.toml" in done.stderr
    assert "was not created by this bridge" in world.run("delete", "l4", "--yes", "--force", status=1).stderr
    assert world.names() == ["cpu", "l4", "theirs"]
    assert json.dumps([r for r in world.account.all() if r["name"] != "cpu"]) == before


def test_two_endpoints_of_one_name_are_reported(world: World) -> None:
    world.run("apply", "--yes")
    record = world.account.records[world.id("l4")]
    body = {key: record[key] for key in ("name", "type", "image", "scaling", "env", "workers")}
    world.account.create({**body, "workers": {"max": 1}, "gpu": {"pools": ["ADA_24"]}})
    for command in (("plan",), ("apply", "--yes")):
        assert "2 endpoints could be l4" in world.run(*command, status=1).stderr
    assert world.names() == ["cpu", "l4", "l4", "theirs"]


def test_too_many_workers_for_the_quota_are_refused_before_anything_is_created(world: World) -> None:
    world.account.quota = 5
    for command in (("plan",), ("apply", "--yes")):
        stderr = world.run(*command, status=1).stderr
        assert "would have 6 workers in all, over its quota of 5; lower `workers_max`" in stderr
    assert world.names() == ["theirs"]


def test_a_quota_that_is_not_reported_is_no_obstacle(world: World) -> None:
    world.runpod.faults.add(Fault(method="GET", path="/limits$", kind=FaultKind.ERROR, status=404, times=9))
    assert "RunPod did not report the quota" in world.run("plan").stdout
    world.run("apply", "--yes")
    assert world.actions() == SAME


def test_one_endpoint_that_runpod_refuses_does_not_stop_the_others(world: World) -> None:
    world.write(TOML.replace("AMPERE_24", "NO_SUCH_POOL"))
    done = world.run("apply", "--yes", status=1)
    assert "bridge: l4: RunPod: POST /v2/serverless: 400: Bad Request; unknown GPU pool: NO_SUCH_POOL" in done.stderr
    assert read_ids(world.config) == {"cpu": world.id("cpu")}


def test_a_wrong_key_and_a_missing_table_are_one_line(world: World) -> None:
    world.write("")
    assert world.run("plan", status=2).stderr.endswith("endpoint: missing; add an [[endpoint]] table\n")
    world.write(TOML)
    world.runpod.faults.add(Fault(method="GET", path="/serverless$", kind=FaultKind.ERROR, status=403))
    assert "403, RUNPOD_MANAGEMENT_API_KEY may not do this" in world.run("plan", status=1).stderr


def test_a_folder_that_cannot_be_written_creates_nothing(world: World) -> None:
    (world.folder / "bridge.endpoints.toml").mkdir()
    assert world.run("apply", "--yes", status=2).stderr.count("\n") == 1
    assert world.names() == ["theirs"]


class Killed(BaseException):
    """The process ends here."""


def killing(at: int, when: str) -> Any:
    """As `http_client`, whose process ends at one call: before it is sent, or when its answer has come."""
    count = iter(range(1000))

    async def hook(_message: object) -> None:
        if next(count) == at:
            raise Killed

    def client() -> httpx.AsyncClient:
        made = http_client()
        made.event_hooks[when] = [hook]
        return made

    return client


CALLS = 8
"""Of an `apply` that creates two endpoints: the list, two catalogs, the quota, and two for each creation."""


@pytest.mark.parametrize("when", ["request", "response"])
@pytest.mark.parametrize("at", range(CALLS + 1))
def test_apply_that_was_interrupted_at_any_call_is_repeated(
    world: World, monkeypatch: pytest.MonkeyPatch, at: int, when: str
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(management_http, "http_client", killing(at, when))
        try:
            world.run("apply", "--yes")
            interrupted = False
        except Killed:
            interrupted = True
    assert interrupted is (at < CALLS)
    world.run("apply", "--yes")
    assert world.names() == ["cpu", "l4", "theirs"]
    assert read_ids(world.config) == {"l4": world.id("l4"), "cpu": world.id("cpu")}
    assert world.actions() == SAME


LOST = [
    {"kind": FaultKind.ACCEPT_THEN_HANG},
    {"kind": FaultKind.ACCEPT_THEN_ERROR, "status": 502},
    {"kind": FaultKind.DUPLICATE},
]


@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize("lost", LOST, ids=lambda lost: str(lost["kind"]))
def test_a_creation_whose_answer_is_lost_or_that_is_doubled_makes_one_endpoint(
    world: World, lost: dict[str, Any], skip: int
) -> None:
    world.runpod.faults.add(Fault(method="POST", path="/serverless$", skip=skip, **lost))
    world.run("apply", "--yes")
    assert world.names() == ["cpu", "l4", "theirs"]
    assert world.actions() == SAME


def test_a_creation_that_may_not_have_been_done_is_not_repeated_by_the_same_run(world: World) -> None:
    world.runpod.faults.add(Fault(method="POST", path="/serverless$", kind=FaultKind.DROP))
    done = world.run("apply", "--yes", status=1)
    assert "bridge: l4: RunPod: POST /v2/serverless: no readable answer" in done.stderr
    assert (world.names(), world.changed_calls()) == (["cpu", "theirs"], 1)
    world.run("apply", "--yes")
    assert world.names() == ["cpu", "l4", "theirs"]


@pytest.mark.parametrize("done", [True, False])
def test_a_change_whose_answer_is_lost_is_looked_up(world: World, done: bool) -> None:
    world.run("apply", "--yes")
    world.write(TOML.replace("workers_max = 4", "workers_max = 5"))
    kind = FaultKind.ACCEPT_THEN_HANG if done else FaultKind.DROP
    world.runpod.faults.add(Fault(method="PATCH", path="/serverless/", kind=kind))
    world.run("apply", "--yes", status=0 if done else 1)
    world.run("apply", "--yes")
    assert world.runpod.state.endpoints[world.id("l4")].workers_max == 5


def test_two_applies_at_once_on_one_machine_follow_each_other(world: World) -> None:
    slow = Fault(method="POST", path="/serverless$", kind=FaultKind.LATE, seconds=0.5, times=9)
    world.runpod.faults.add(slow)
    environment = {"PATH": os.environ["PATH"], "HOME": str(world.folder), **world.environment}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "bridge", "endpoints", "apply", "--yes"],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    assert world.names() == ["cpu", "l4", "theirs"]
    assert world.actions() == SAME


class Local:
    """The account without HTTP, as several runs see it whose calls take turns at random."""

    def __init__(self, account: Account, chance: random.Random) -> None:
        self._account = account
        self._chance = chance

    async def pause(self, _seconds: float = 0.0) -> None:
        for _ in range(self._chance.randrange(6) if not _seconds else 60):
            await asyncio.sleep(0)

    async def endpoints(self) -> tuple[Endpoint, ...]:
        await self.pause()
        found = [EndpointDocument.model_validate(record).endpoint() for record in self._account.all()]
        await self.pause()
        return tuple(found)

    async def endpoint(self, endpoint_id: str) -> Endpoint | None:
        return next((each for each in await self.endpoints() if each.id == endpoint_id), None)

    async def create(self, settings: EndpointSettings) -> Endpoint:
        await self.pause()
        made = EndpointDocument.model_validate(self._account.create(creation(settings))).endpoint()
        await self.pause()
        return made

    async def update(self, endpoint_id: str, settings: EndpointSettings, changes: tuple[Change, ...]) -> Endpoint:
        await self.pause()
        body = update(settings, {change.setting for change in changes})
        return EndpointDocument.model_validate(self._account.update(endpoint_id, body)).endpoint()

    async def delete(self, endpoint_id: str) -> None:
        await self.pause()
        try:
            self._account.delete(endpoint_id)
        except Problem as problem:
            raise Rejected(problem.detail, status=problem.status) from None

    async def gpus(self, _count: int, _min_cuda: str | None) -> tuple[()]:
        return ()

    async def worker_quota(self) -> None:
        return None


WANTED = EndpointSettings(name="l4", image="i:1", gpu=("ADA_24",), workers_max=1, env={MARK: "acme/runpod/l4"})


def configuration(folder: Path) -> ManagementConfig:
    folder.mkdir(exist_ok=True)
    return ManagementConfig(
        path=folder / "bridge.toml", api_key=KEY, key_setting="K", url="", wanted=(WANTED,),
        ids=read_ids(folder / "bridge.toml"), owner_mark="acme/runpod", routes={}, database_url="sqlite://",
    )  # fmt: skip


@pytest.mark.parametrize("same_time", [True, False])
@pytest.mark.parametrize("seed", range(25))
def test_two_applies_at_once_on_two_machines_leave_one_endpoint(tmp_path: Path, seed: int, same_time: bool) -> None:
    """RunPod's clock may give both the same time of creation."""
    ticks = iter(range(10_000))
    state = RunPodState({}, clock=lambda: 1000.0 if same_time else 1000.0 + next(ticks))
    account, chance = Account(state, quota=10), random.Random(seed)

    async def machine(name: str) -> Applied:
        settings, local = configuration(tmp_path / name), Local(account, chance)
        client = cast("Management", local)
        await local.pause()
        return await apply_plan(settings, client, await compare(settings, client), lambda _line: None, local.pause)

    async def both() -> list[Applied]:
        return list(await asyncio.gather(machine("a"), machine("b")))

    done = asyncio.run(both())
    (record,) = account.all()
    assert [each.problems for each in done] == [[], []]
    assert [each.applied for each in done] == [{"l4": record["id"]}] * 2
    assert [read_ids(tmp_path / name / "bridge.toml") for name in "ab"] == [{"l4": record["id"]}] * 2


PIPELINE = """
[[endpoint]]
name = "l4"
image = "ghcr.io/acme/runner:1.0"
gpu = ["AMPERE_24"]
workers_max = 1

[[route]]
name = "gpu"
labels = ["runpod", "gpu"]
endpoints = ["l4"]
"""


def test_a_job_runs_on_an_endpoint_that_apply_created(tmp_path: Path) -> None:
    """From an empty folder to a green job; then the configuration and RunPod agree."""
    state = github_state()
    fill(state, 1, 1)
    with served(lambda: cloud(state, EndpointConfig())) as emulated:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **emulated.settings()}
        del environment["RUNPOD_ENDPOINT_ID"]
        environment["BRIDGE_CONFIG"] = str(tmp_path / "bridge.toml")
        (tmp_path / "bridge.toml").write_text(PIPELINE)

        def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
            return subprocess.run(
                [sys.executable, "-m", *arguments],
                cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60,
            )  # fmt: skip

        early = run("bridge.dispatch")
        assert (early.returncode, early.stderr.count("\n")) == (2, 1)
        assert "route gpu: endpoint l4 has no RunPod id yet; run `bridge endpoints apply`" in early.stderr
        assert run("bridge", "endpoints", "apply", "--yes").returncode == 0
        dispatched = run("bridge.dispatch", "--json")
        assert json.loads(dispatched.stdout)["counts"]["submitted"] == 1, dispatched.stderr
        (job,) = state.jobs.values()
        until(lambda: job.status == "completed", 120)
        assert job.conclusion == "success"
        planned = json.loads(run("bridge", "endpoints", "plan", "--json").stdout)
        assert [(each["action"], each["changes"]) for each in planned["endpoints"]] == [("unchanged", [])]
        assert run("bridge", "endpoints", "delete", "l4", "--yes").returncode == 1, "the ledger has not seen the end"
        assert run("bridge.dispatch").returncode == 0
        assert run("bridge", "endpoints", "delete", "l4", "--yes").returncode == 0


def submission(world: World, endpoint: str) -> None:
    """Write an open submission into a ledger, as the bridge would."""
    url = world.environment["BRIDGE_DATABASE_URL"]
    Ledger.open(url).close()
    columns = {
        "id": "a" * 32, "name": "runpod-7-1", "job_id": 7, "generation": 1, "route": "gpu", "target": "orgs/acme",
        "endpoint": endpoint, "credentials": "jit", "state": "busy", "since": time.time(), "created_at": time.time(),
        "lease_until": 0.0, "not_after": 0.0, "request_id": "req-1", "held_job_id": 8,
    }  # fmt: skip
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        marks = ", ".join("?" * len(columns))
        database.execute(f"INSERT INTO submissions ({', '.join(columns)}) VALUES ({marks})", list(columns.values()))
        database.commit()


def test_delete_refuses_while_the_ledger_has_open_submissions_there(world: World) -> None:
    world.run("apply", "--yes")
    id_ = world.id("l4")
    submission(world, id_)
    refused = world.run("delete", "l4", "cpu", "--yes", status=1).stderr
    assert "bridge: l4: runner runpod-7-1 (busy) runs job 8, request req-1" in refused
    assert "bridge: l4: not deleted, because RunPod would cancel this; wait, or add --force" in refused
    assert world.names() == ["cpu", "l4", "theirs"]
    forced = world.run("delete", "l4", "--yes", "--force").stdout
    assert "l4: runner runpod-7-1 (busy) runs job 8, request req-1" in forced
    assert "l4: route gpu uses it" in forced
    assert world.names() == ["cpu", "theirs"]
    assert read_ids(world.config) == {"cpu": world.id("cpu")}


def test_delete_refuses_while_runpod_reports_jobs(world: World) -> None:
    """As after the ledger was lost."""
    world.run("apply", "--yes")
    state, id_ = world.runpod.state, world.id("l4")
    state.submit(id_, {"input": {}})
    state.take(state.add_worker(id_).id)
    assert "l4: RunPod reports 1 workers with a job" in world.run("delete", "l4", "--yes", status=1).stderr
    assert "l4" in world.names()


@pytest.mark.parametrize("kind", [FaultKind.ACCEPT_THEN_HANG, FaultKind.DUPLICATE, FaultKind.ACCEPT_THEN_ERROR])
def test_a_deletion_whose_answer_is_lost_is_looked_up(world: World, kind: FaultKind) -> None:
    world.run("apply", "--yes")
    world.runpod.faults.add(Fault(method="DELETE", path="/serverless/", kind=kind))
    world.run("delete", "cpu", "--yes")
    assert world.names() == ["l4", "theirs"]


def test_what_is_gone_already_is_forgotten_and_what_was_never_there_is_named(world: World) -> None:
    world.run("apply", "--yes")
    world.account.delete(world.id("cpu"))
    assert world.actions() == {"l4": "unchanged", "cpu": "create"}
    assert "cpu: was already gone" in world.run("delete", "cpu", "--yes").stderr
    assert [*read_ids(world.config)] == ["l4"]
    assert "never: RunPod has no endpoint of this name" in world.run("delete", "never", "--yes", status=2).stderr


def test_an_endpoint_whose_table_is_gone_is_shown_and_can_be_deleted(world: World) -> None:
    world.run("apply", "--yes")
    world.write(TOML.replace('name = "cpu"', 'name = "small"').replace('["cpu"]', '["small"]'))
    assert "? cpu (" in world.run("plan").stdout
    world.run("delete", "cpu", "--yes")
    assert world.plan()["not_in_configuration"] == {}


def prices_of(world: World) -> dict[str, dict[str, float]]:
    """By endpoint name, the newest prices that the ledger has."""
    with closing(Ledger.open(world.environment["BRIDGE_DATABASE_URL"])) as ledger:
        prices = asyncio.run(ledger.read(lambda transaction: transaction.costs.prices()))
    names = {id_: name for name, id_ in read_ids(world.config).items()}
    return {names[id_]: dict(readings[-1].usd_per_hour) for id_, readings in prices.items()}


def test_apply_keeps_prices_where_there_is_a_ledger(world: World) -> None:
    world.run("apply", "--yes")
    assert not (world.folder / "ledger.sqlite3").exists(), "it makes no ledger"
    assert prices_of(world) == {}
    world.run("apply")
    found = prices_of(world)
    assert found["cpu"].keys() == {"cpu3c"}
    assert {"NVIDIA L4": 0.684, "NVIDIA GeForce RTX 4090": 1.116}.items() <= found["l4"].items()


def test_apply_keeps_no_price_that_the_configuration_sets(world: World) -> None:
    world.write(TOML.replace('name = "l4"\n', 'name = "l4"\nusd_per_hour = 0.5\n', 1))
    prices_of(world)  # makes the ledger
    world.run("apply", "--yes")
    assert prices_of(world).keys() == {"cpu"}


def test_a_ledger_that_cannot_be_opened_is_no_obstacle_to_apply(world: World) -> None:
    (world.folder / "ledger.sqlite3").write_text("no database, but a text that is long enough to be taken for one")
    assert "the prices were not written to the ledger: " in world.run("apply", "--yes").stderr
    assert world.actions() == SAME
