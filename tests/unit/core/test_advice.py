"""Every reason why a job waits comes with what to do, or says it itself."""

import pytest

from bridge.core.advice import ADVICE, advice
from tests.support import ROOT

NO_REASONS = ("it failed, and may be re-run", "asking for runner", "runs on", "its status on GitHub is")
"""What the table also has: states of jobs that do not wait for the bridge."""

LABELS = "correct `runs-on`, or the labels of the route"
OTHERS = "set it to serve the job; then you pay for what others push"
CAUSE = "fix the cause, then run `bridge retry`"
CHECK = "check `max-parallel`, the runner group, and whether the repository is archived"


@pytest.mark.parametrize(
    ("why", "todo"),
    [
        ('route gpu lacks "gpuu"', LABELS),
        ('route gpu lacks "a, b"; "a, b" is one label with a comma in it: write runs-on: [a, b]', ""),
        ("no route serves the repository acme/web", "add it to the `repositories` of a route"),
        ('no route has any of the labels "x"', "correct `runs-on`, or add a route with these labels"),
        ("it asks only for labels that every runner has; add a label of a route, such as ...", ""),
        ("it names a runner group and no labels, and no route sets ...", "add labels to `runs-on`"),
        ("its repository is public, and route gpu does not set allow_public_repositories", OTHERS),
        ("its run comes from a fork, and route gpu does not set allow_forks", OTHERS),
        ("it is not known yet whether its run comes from a fork", "the next pass asks GitHub"),
        (
            "the runners of orgs/acme have not been read from GitHub recently",
            "if this stays, see the problems that a pass prints",
        ),
        (
            "its last runner ended, and GitHub has not been asked about the job since",
            "the next resync asks GitHub",
        ),
        ("route gpu has reached its max_workers of 1", "wait, or raise `max_workers`"),
        ("already requested: runner r is submitted", "wait for the worker"),
        (
            "already requested: runner r is submitted; RunPod has no capacity for its workers (throttled 1)",
            "wait, or allow more GPU types on the endpoint",
        ),
        ("already requested: runner r is submitted; its worker is starting (initializing 1)", "wait for the worker"),
        ("already requested: runner r is submitted; its workers are unhealthy: see the endpoint's logs (...)", ""),
        (
            "2 jobs of its run are in progress, and the run has never used more than 2 runners at a time",
            "`max-parallel` of its matrix holds it back: wait",
        ),
        ("stuck: 5 runners failed before they took a job; next try in 60 s", CAUSE),
        ("given up: it has been queued for more than a day, and this ledger is new; re-run the job in GitHub", ""),
        ("given up: 9 runners in a day did not get this job; fix the cause, then use `retry 1`", ""),
        ("GitHub gives no job to runners of route gpu: 2 jobs are stuck; one runner at a time is tried", CHECK),
        ("stuck: a runner listened, and GitHub gave it no job; next try in 60 s", CHECK),
        ("queued for 60 min, and this ledger is new: one try every 4 h", "keep the ledger between passes"),
        (
            "endpoint ep-1: its last 3 requests failed (RunPod did not answer); next try in 9 s",
            "check RunPod's status page and your network",
        ),
        (
            "endpoint ep-1: its last 3 workers failed (crashed); next try in 9 s",
            "fix what the parentheses name, or see the endpoint's logs",
        ),
        ("orgs/acme has reached a rate limit: 429; next try in 9 s", "wait"),
        ("endpoint ep-1 was refused: 401; next try in 9 s", CAUSE),
    ],
)
def test_what_to_do_about_each_reason(why: str, todo: str) -> None:
    assert advice(why) == todo


def test_each_advice_is_used_by_one_of_these_reasons() -> None:
    """A part that comes after a more general one would never count."""
    mark = next(m for m in test_what_to_do_about_each_reason.pytestmark if m.name == "parametrize")  # type: ignore[attr-defined]
    used = {next(part for part, _ in ADVICE if part in why) for why, _ in mark.args[1]}
    assert used == {part for part, _ in ADVICE}


def test_a_reason_that_is_not_known_has_no_advice() -> None:
    assert advice("something new") is None


def test_every_documented_reason_has_its_advice() -> None:
    """docs/troubleshooting.md has all reasons: tests/unit/test_docs.py. Lines with `...;` follow another reason."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    table = page.split("## Why a job waits")[1].split("\n## ")[0]
    rows = [row.split(" | ")[0].removeprefix("| ") for row in table.splitlines() if row.startswith("| ")]
    waits = [row for row in rows[1:] if not row.startswith((*NO_REASONS, "...;"))]
    assert len(waits) > 20
    assert [row for row in waits if advice(row) is None] == []
