"""What an operator asks of one run: why does a job wait, what happened to it, and what did it cost.

Five jobs, each with its own story; `bridge explain`, the dashboard, `bridge cost` and RunPod's bill must agree.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from bridge.commands.app import app
from bridge.config.settings import load
from bridge.emulator.github import Limits
from bridge.emulator.github.state import Job
from bridge.emulator.runpod.state import Request
from tests.support.background import until
from tests.support.dashboard import shown
from tests.support.emulators import API_KEY, Emulators, assert_no_secret, emulators
from tests.support.github import a_github, a_run, a_spec
from tests.support.instant import Fate

CONFIGURATION = """
[[route]]
name = "gpu"
labels = ["runpod", "gpu"]
max_workers = 1

[[route]]
name = "a100"
labels = ["runpod", "a100"]
max_workers = 1
usd_per_day = 0.0001

[[route]]
name = "l4"
labels = ["runpod", "l4"]
"""

JOBS = {"fine": "a100", "budget": "a100", "crash": "l4", "over": "gpu", "typo": "gpuu"}
"""The jobs of the run, and the label of each beside `runpod`."""


@dataclass(kw_only=True)
class Told:
    """The run of five jobs, and one job of another run that takes the only place of route gpu."""

    made: Emulators
    jobs: dict[str, Job] = field(default_factory=dict)
    dying: int = 0

    def fate(self, request: Request) -> Fate:
        job_id = int(request.input["runner_name"].split("-")[1])
        if job_id == self.dying:
            return Fate.DIES_DURING
        return Fate.NORMAL if job_id in {job.id for job in self.jobs.values()} else Fate.NEVER_STARTS

    def run(self, *arguments: str) -> str:
        """A command of `bridge` in this process; its output."""
        bare = dict.fromkeys((n for n in os.environ if n.startswith(("GITHUB_", "RUNPOD_", "BRIDGE_"))), "")
        done = CliRunner().invoke(app, arguments, env=bare | self.made.environment | {"COLUMNS": "80"})
        assert done.exit_code == 0, done.output
        assert_no_secret(self.made, done.output)
        return done.output

    def drive(self) -> None:
        """Passes until the two jobs that can end have ended, and RunPod has told about their requests."""
        state = self.made.github.state
        state.add_run("acme/web", a_run(a_spec("earlier", labels=("self-hosted", "runpod", "gpu"))))
        self.made.dispatch()
        specs = [a_spec(key, labels=("self-hosted", "runpod", label)) for key, label in JOBS.items()]
        self.jobs = dict(state.add_run("acme/web", a_run(*specs)).jobs)
        self.dying = self.jobs["crash"].id
        deadline = time.monotonic() + 60
        while any(self.jobs[key].status != "completed" for key in ("fine", "crash")):
            assert time.monotonic() < deadline, "the jobs did not end"
            self.made.dispatch()
            time.sleep(0.1)
        for _ in range(3):
            self.made.dispatch()

    def sentence(self, key: str) -> str:
        """What `explain` says first, with the job's own id and runner replaced by words."""
        job_id = self.jobs[key].id
        first = self.run("explain", str(job_id)).splitlines()[0]
        return re.sub(
            r"\d+(\.\d)? s\b", "N s", first.replace(f"runpod-{job_id}-1", "RUNNER").replace(str(job_id), "ID")
        )

    def billed(self) -> float:
        answer = httpx.get(
            f"{self.made.runpod.management_url}/v2/billing/serverless?bucketSize=day&lastN=2",
            headers={"Authorization": f"Bearer {API_KEY}"},
        )
        return float(answer.json()["metadata"]["totals"]["totalAmount"])


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    home = tmp_path_factory.mktemp("operator")
    (home / "bridge.toml").write_text(CONFIGURATION)
    state = a_github(limits=Limits(pickup=2.0, heartbeat=1.0, renewal=2.0))
    stories: list[Told] = []

    def fate(request: Request) -> Fate:
        return stories[0].fate(request)

    with emulators(home, state=state, instant={"fate": fate, "seconds": 2.0}, redeliver=False) as made:
        made.variables |= {
            "BRIDGE_CONFIG": str(home / "bridge.toml"),
            "RUNPOD_MANAGEMENT_API_KEY": API_KEY,
            "RUNPOD_MANAGEMENT_URL": made.runpod.management_url,
        }
        stories.append(Told(made=made))
        stories[0].drive()
        yield stories[0]


def test_the_first_sentence_tells_the_story_of_each_job(told: Told) -> None:
    sentences = {key: told.sentence(key) for key in JOBS}
    sentences["budget"] = re.sub(r"0\.\d{4} of", "N of", sentences["budget"])
    assert sentences == {
        "fine": "Job ID ended as success on runner RUNNER: it waited for N s and ran for N s.",
        "crash": "Job ID failed because the worker of runner RUNNER failed: worker exited unexpectedly; "
        "re-run it in GitHub, or set `rerun_lost_jobs`.",
        "over": "Job ID waits: route gpu has reached its max_workers of 1; wait, or raise `max_workers`.",
        "budget": "Job ID waits: budget of route a100: N of 0.0001 USD used today; it resets at 00:00 UTC; "
        "raise it with `bridge budget --raise USD --route a100`.",
        "typo": 'Job ID waits: route gpu lacks "gpuu"; correct `runs-on`, or the labels of the route.',
    }


def test_the_dashboard_says_the_same(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in told.made.environment.items():
        monkeypatch.setenv(name, value)
    with shown(load(None)) as site:
        overview = unescape(httpx.get(site.url).text)
        for key in JOBS:
            job = told.jobs[key]
            (sentence,) = re.findall(r'id="sentence"><bdi>(.*)</bdi>', httpx.get(f"{site.url}/jobs/{job.id}").text)
            explained = told.run("explain", str(job.id)).splitlines()[0]
            assert unescape(sentence) == explained
            said = explained.removeprefix(f"Job {job.id} ").removesuffix(".")
            assert f"<bdi>{said[:1].upper()}{said[1:]}</bdi>" in overview
        until(lambda: re.search(r"Stock</dt><dd>ADA_24 (low|medium|high)", httpx.get(site.url).text), 10.0)
    assert "Cost today" in overview
    assert re.search(r"a100.*of \$0\.00", re.sub(r"<[^>]+>", "", overview), re.DOTALL)


def test_the_cost_of_the_run_is_what_runpod_billed(told: Told) -> None:
    found: Any = json.loads(told.run("cost", "--by", "route", "--json"))
    assert {row["key"]: row["jobs"] for row in found["rows"]} == {"a100": 1, "l4": 1}
    assert found["total"]["usd"] == pytest.approx(told.billed(), rel=0.01)


def test_a_raised_budget_lets_its_job_run(told: Told) -> None:
    told.run("budget", "--raise", "5", "--route", "a100")
    told.made.dispatch()
    assert told.sentence("budget").startswith("Job ID waits: already requested: runner RUNNER is submitted")
