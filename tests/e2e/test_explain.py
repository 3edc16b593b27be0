"""`bridge explain` as a person runs it: five jobs of one run, each with its own story, told from the ledger alone."""

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from bridge.commands.app import app
from bridge.config.settings import load
from bridge.emulator.github import Limits
from bridge.emulator.github.state import Job
from bridge.emulator.runpod.state import Request
from tests.support.dashboard import shown
from tests.support.emulators import API_KEY, Emulators, assert_no_secret, emulators
from tests.support.github import a_github, a_run, a_spec
from tests.support.instant import Fate

HOSTILE = f"\x1b[31m[red]\n{API_KEY}"
"""The name of a job, which anyone who may write a workflow chooses."""

KEYS = ("fine", "crash", "wait", "over", "typo")


def explain(made: Emulators, *arguments: str) -> Result:
    return run(made, "explain", *arguments)


def run(made: Emulators, *arguments: str) -> Result:
    """A command of `bridge` in this process."""
    bare = dict.fromkeys((n for n in os.environ if n.startswith(("GITHUB_", "RUNPOD_", "BRIDGE_"))), "")
    environment = bare | made.environment | {"COLUMNS": "80"}
    done = CliRunner().invoke(app, arguments, env=environment, catch_exceptions=False)
    assert_no_secret(made, done.output)
    return done


class Five:
    """One run of five jobs at `max_workers` 1, after the first two have ended."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.run_id = 0

    def fate(self, request: Request) -> Fate:
        job_id = int(request.input["runner_name"].split("-")[1])
        fates = {"crash": Fate.DIES_DURING, "wait": Fate.NEVER_STARTS}
        return next((fate for key, fate in fates.items() if self.jobs[key].id == job_id), Fate.NORMAL)

    def queue(self, made: Emulators) -> None:
        typo = ("self-hosted", "runpod", "gpuu")
        specs = [a_spec(key) for key in KEYS]
        specs[KEYS.index("over")] = replace(a_spec("over"), name=HOSTILE)
        specs[KEYS.index("typo")] = a_spec("typo", labels=typo)
        run = made.github.state.add_run("acme/web", a_run(*specs))
        self.jobs, self.run_id = dict(run.jobs), run.id

    def drive(self, made: Emulators) -> None:
        """Passes until the first two jobs have ended and a request was sent for the third."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            made.dispatch()
            if all(self.jobs[key].status == "completed" for key in ("fine", "crash")):
                break
            time.sleep(0.1)
        made.runpod.state.endpoints["ep-1"].capacity = 0
        for _ in range(3):
            made.dispatch()

    def sentence(self, made: Emulators, key: str) -> str:
        """The first line, with the job's own id and runner replaced by words."""
        done = explain(made, f"https://github.com/acme/web/actions/runs/{self.run_id}/job/{self.jobs[key].id}")
        assert done.exit_code == 0, done.output
        job_id = str(self.jobs[key].id)
        return done.output.splitlines()[0].replace(f"runpod-{job_id}-1", "RUNNER").replace(job_id, "ID")


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Emulators, Five]]:
    home = tmp_path_factory.mktemp("explain")
    told = Five()
    state = a_github(limits=Limits(pickup=2.0, heartbeat=1.0, renewal=2.0))
    with emulators(home, state=state, instant={"fate": told.fate, "seconds": 0.4}, redeliver=False) as made:
        made.variables["BRIDGE_MAX_WORKERS"] = "1"
        told.queue(made)
        told.drive(made)
        yield made, told


def test_each_of_five_jobs_is_explained_in_its_first_sentence(five: tuple[Emulators, Five]) -> None:
    made, told = five
    sentences = {key: told.sentence(made, key) for key in KEYS}
    sentences["fine"] = re.sub(r"\d+(\.\d)? s", "N s", sentences["fine"])
    assert sentences == {
        "fine": "Job ID ended as success on runner RUNNER: it waited for N s and ran for N s.",
        "crash": "Job ID failed because the worker of runner RUNNER failed: worker exited unexpectedly; "
        "re-run it in GitHub, or set `rerun_lost_jobs`.",
        "wait": "Job ID waits: already requested: runner RUNNER is submitted; RunPod has no capacity for its workers "
        "(throttled 1); wait, or allow more GPU types on the endpoint.",
        "over": "Job ID waits: route default has reached its max_workers of 1; wait, or raise `max_workers`.",
        "typo": 'Job ID waits: route default lacks "gpuu"; correct `runs-on`, or the labels of the route.',
    }


def test_the_dashboard_says_the_same(five: tuple[Emulators, Five], monkeypatch: pytest.MonkeyPatch) -> None:
    made, told = five
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    with shown(load(None)) as site:
        overview = unescape(httpx.get(site.url).text)
        for key in KEYS:
            job = told.jobs[key]
            page = httpx.get(f"{site.url}/jobs/{job.id}").text
            (sentence,) = re.findall(r'id="sentence"><bdi>(.*)</bdi>', page)
            explained = explain(made, str(job.id)).output.splitlines()[0]
            assert unescape(sentence) == explained
            said = explained.removeprefix(f"Job {job.id} ").removesuffix(".")
            assert f"<bdi>{said[:1].upper()}{said[1:]}</bdi>" in overview


def test_the_steps_of_a_job_are_told_in_order(five: tuple[Emulators, Five]) -> None:
    made, told = five
    (document,) = json.loads(explain(made, str(told.jobs["fine"].id), "--json").output)
    (submission,) = document["submissions"]
    runner, request = submission["runner"], submission["request_id"]
    worker = submission["execution"]["worker_id"]
    told_steps = [re.sub(r"\d+\.\d s", "N s", step["what"]) for step in document["steps"]]
    assert told_steps[:6] == [
        "queued in GitHub for self-hosted, runpod, gpu",
        "seen when the bridge asked GitHub; route default serves it",
        f"{runner}: claimed, route default",
        f"{runner}: registered with GitHub",
        f"{runner}: sending a request to endpoint ep-1",
        f"{runner}: RunPod accepted request {request}",
    ]
    assert f"GitHub gave it to runner {runner}" in told_steps
    assert "completed in GitHub: success" in told_steps
    assert f"{runner}: ended: its job is over; its request ran for N s on worker {worker}" in told_steps
    assert [step["from"] for step in submission["transitions"]] == [
        None,
        *(step["to"] for step in submission["transitions"][:-1]),
    ]
    assert submission["transitions"][-1]["to"] == submission["state"] == "finished"


def test_a_runs_url_tells_all_its_jobs_within_80_columns_and_breaks_no_id(five: tuple[Emulators, Five]) -> None:
    made, told = five
    shown = explain(made, f"https://github.com/acme/web/actions/runs/{told.run_id}").output
    assert [int(number) for number in re.findall(r"^Job (\d+) ", shown, re.MULTILINE)] == [
        told.jobs[key].id for key in KEYS
    ]
    tables = [line for line in shown.splitlines() if re.match(r"\d\d-\d\d \d\d:", line) or line.startswith("   ")]
    assert tables
    assert max(map(len, tables)) <= 80
    requests = made.runpod.state.requests
    assert requests
    assert all(request_id in shown for request_id in requests)


def test_the_name_of_a_job_controls_no_terminal_and_shows_no_secret(five: tuple[Emulators, Five]) -> None:
    """`explain` checks all output for secrets, too."""
    made, told = five
    shown = explain(made, str(told.jobs["over"].id)).output
    assert "\x1b" not in shown
    assert "acme/web, \N{REPLACEMENT CHARACTER}[31m[red]\N{REPLACEMENT CHARACTER}***, http" in shown


def test_a_jobs_own_link_names_it(five: tuple[Emulators, Five]) -> None:
    made, told = five
    (document,) = json.loads(explain(made, str(told.jobs["over"].id), "--json").output)
    link = document["job"]["html_url"]
    assert explain(made, link).output.splitlines()[0] == document["sentence"]


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("7", "the ledger has no job or run 7"),
        ("https://github.com/acme/web/actions/runs/8", "the ledger has no job of run 8"),
        ("https://github.com/acme/web/actions/runs/8/job/9", "the ledger has no job 9"),
        ("train\x1b[2J", "'train\\x1b[2J' is no job"),
    ],
)
def test_an_unknown_job_is_one_line_and_status_1(five: tuple[Emulators, Five], named: str, said: str) -> None:
    done = explain(five[0], named)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"bridge: {said}")


def test_without_a_ledger_it_says_so_and_a_wrong_configuration_is_status_2(tmp_path: Path) -> None:
    with emulators(tmp_path) as made:
        done = explain(made, "7")
        assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
        assert done.stderr.startswith("bridge: there is no ledger yet; run `bridge dispatch` first")
        assert not made.ledger.exists()
        made.variables["BRIDGE_MAX_WORKERS"] = "none"
        assert explain(made, "7").exit_code == 2


def test_lists_are_limited_to_what_is_wanted(five: tuple[Emulators, Five]) -> None:
    made, told = five
    ids = {key: job.id for key, job in told.jobs.items()}

    def listed(*arguments: str) -> list[int]:
        return [row.get("id", row.get("job_id")) for row in json.loads(run(made, *arguments, "--json").output)]

    assert listed("jobs", "--status", "queued") == [ids["wait"], ids["over"], ids["typo"]]
    assert listed("jobs", "--repository", "Acme/Web") == listed("jobs")
    assert listed("jobs", "--repository", "acme/docs") == listed("jobs", "--status", "waiting") == []
    assert listed("submissions", "--state", "submitted", "--route", "default") == [ids["wait"]]
    assert listed("submissions", "--state", "finished") == [ids["fine"], ids["crash"]]
    assert listed("submissions", "--route", "other") == []
