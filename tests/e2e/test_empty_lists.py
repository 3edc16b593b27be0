"""Lists with nothing to show say what is empty, and what to do next."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.test_cost import MANAGED, run
from tests.support.emulators import Emulators, emulators
from tests.support.github import a_github, a_run, a_spec

NO_LEDGER = "there is no ledger yet; run `bridge dispatch` first, or correct BRIDGE_DATABASE_URL\n"

EMPTY = {
    ("jobs",): "no job is queued or running; `bridge dispatch` asks GitHub for new ones\n",
    ("jobs", "--repository", "acme/web", "--status", "queued"): (
        "nothing matches --repository acme/web --status queued; leave out options to list more\n"
    ),
    ("submissions",): ("no runner is requested, and none has ended within 24 hours; `bridge jobs` shows what waits\n"),
    ("submissions", "--route", "a\x1b[2J"): "nothing matches --route a\ufffd[2J; leave out options to list more\n",
    ("cost",): "no runner was paid for since {day} (UTC); `bridge jobs` shows what waits\n",
    ("cost", "--reconcile"): (
        "neither the ledger nor RunPod's bill has costs since {day} (UTC); --since looks further back\n"
    ),
}
"""What is printed by command, if no job was ever queued."""


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Emulators]:
    with emulators(tmp_path, state=a_github()) as served:
        yield served


def test_a_list_without_rows_says_what_is_empty_and_what_to_do(made: Emulators) -> None:
    made.dispatch()
    for arguments, said in EMPTY.items():
        days = 29 if "--reconcile" in arguments else 30
        day = time.strftime("%Y-%m-%d", time.gmtime(time.time() - days * 86_400))
        done = run(made, *arguments, columns=80, **MANAGED, RUNPOD_MANAGEMENT_URL=made.runpod.management_url)
        assert (done.exit_code, done.stdout) == (0, said.format(day=day)), done.stderr
    for arguments in (("jobs",), ("submissions",)):
        assert json.loads(run(made, *arguments, "--json").stdout) == []
    assert json.loads(run(made, "cost", "--json").stdout)["rows"] == []


def test_without_a_ledger_the_lists_say_so(made: Emulators) -> None:
    for command in ("jobs", "submissions"):
        assert (done := run(made, command)).exit_code == 0
        assert done.stdout == NO_LEDGER
        assert json.loads(run(made, command, "--json").stdout) == []
    assert run(made, "cost").stderr == f"bridge: {NO_LEDGER}"


def test_a_list_with_rows_says_nothing_else(made: Emulators) -> None:
    made.github.state.add_run("acme/web", a_run(a_spec("a")))
    made.dispatch()
    for command in ("jobs", "submissions"):
        assert "nothing matches" not in (shown := run(made, command, "--route", "default").stdout)
        assert len(shown.splitlines()) >= 2
