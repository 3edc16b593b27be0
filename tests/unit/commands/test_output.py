"""What the commands print, and how they wait."""

import asyncio
import json
import re
import time
from dataclasses import replace
from typing import Any

import pytest

from bridge.commands.listing import matching
from bridge.commands.report import document, lost_jobs, print_rows, queued_jobs, show
from bridge.commands.signals import is_set_within
from bridge.controller.report import Decision, Report
from bridge.core.actions import Claim, Plan, Skip, SkipKind
from bridge.core.lost import Rerun, RerunState
from bridge.core.submissions import Pool
from bridge.telemetry import plain
from tests.support.values import ORG, a_job

ROW: dict[str, Any] = {"runner": "r[red]-1", "since": time.time() - 5, "why": None, "request_id": "q-1"}
TOKEN = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"


def test_text_of_others_cannot_control_the_terminal_and_shows_no_secret() -> None:
    assert plain(f"\x1b[31m {TOKEN}\n") == "\N{REPLACEMENT CHARACTER}[31m ***\N{REPLACEMENT CHARACTER}"


def test_json_has_every_column_and_masks_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([{**ROW, "why": TOKEN}], ("runner",), as_json=True)
    assert json.loads(capsys.readouterr().out) == [{**ROW, "why": "***"}]


def test_the_table_has_the_shown_columns_as_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([ROW], ("runner", "since", "why"), as_json=False)
    shown = capsys.readouterr().out
    assert "r[red]-1" in shown
    assert re.search(r"\d+ s ago", shown)
    assert "q-1" not in shown


def test_a_name_that_a_person_copies_is_whole_in_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = f"{'bridge' * 5}-12345678901-1"
    print_rows([{"runner": name, "route": "r" * 40, "why": "because " * 30}], ("runner", "route", "why"), as_json=False)
    shown = capsys.readouterr().out
    assert name in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_rows_are_chosen_by_the_values_of_their_columns() -> None:
    rows: list[dict[str, Any]] = [
        {"repository": "acme/Web", "status": "queued"},
        {"repository": "acme/docs", "status": None},
    ]
    assert matching(rows) == matching(rows, repository=None) == rows
    assert matching(rows, repository="ACME/web") == rows[:1]
    assert matching(rows, repository="acme/web", status="completed") == []


def a_report(state: RerunState | None) -> Report:
    rerun = Rerun(job=a_job(1), route="gpu", state=state, job_id=1, run_attempt=1, tries=1, why=f"lost {TOKEN}")
    decision = Decision(plan=Plan(reruns=(rerun,)))
    return Report(decision=decision, submitted=(), problems=(), seconds=0.1, reruns=(rerun,) if state else ())


def test_a_job_that_may_be_re_run_is_listed_until_that_is_decided() -> None:
    (row,) = lost_jobs(a_report(None).decision)
    assert (row["id"], row["route"], row["why"]) == (1, "gpu", f"it failed, and may be re-run: lost {TOKEN}")
    assert list(lost_jobs(a_report(RerunState.SKIPPED).decision)) == []


@pytest.mark.parametrize(
    ("state", "dry_run", "said"),
    [(None, True, "decided later"), (RerunState.RERUN, False, "rerun"), (RerunState.SKIPPED, False, "skipped")],
)
def test_a_pass_says_what_became_of_lost_jobs(
    capsys: pytest.CaptureFixture[str], state: RerunState | None, dry_run: bool, said: str
) -> None:
    show(a_report(state), dry_run=dry_run)
    assert f"job 1 (job 1): {said}: lost ***" in capsys.readouterr().out
    calls: dict[str, dict[str, int]] = {"github": {}, "runpod": {}}
    (shown,) = document(a_report(state), dry_run=dry_run, calls=calls)["reruns"]
    assert (shown["job_id"], shown["state"]) == (1, state)


def test_a_queued_job_shows_where_its_request_goes_and_why() -> None:
    claim = Claim(
        pool=Pool("gpu", ORG), job_id=1, name="r-1-1", generation=1, endpoint="ep-2", placed="endpoint ep-1 is full"
    )
    alone = replace(claim, job_id=2, name="r-2-1", placed="")
    found = list(queued_jobs(Decision(plan=Plan(claims=(claim, alone)), jobs=(a_job(1), a_job(2)))))
    assert [(row["endpoint"], row["why"]) for row in found] == [
        ("ep-2", "asking for runner r-1-1 at endpoint ep-2: endpoint ep-1 is full"),
        ("ep-2", "asking for runner r-2-1"),
    ]


def printed(decision: Decision, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The rows of a pass's table, as the texts of their cells."""
    monkeypatch.setenv("COLUMNS", "200")
    show(Report(decision=decision, submitted=(), problems=(), seconds=0.1), dry_run=True)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in row.strip("│").split("│")] for row in rows]


def waiting(*ids: int, why: str = "route gpu is full", route: str = "gpu") -> tuple[Skip, ...]:
    return tuple(Skip(job_id=job_id, kind=SkipKind.ROUTE_FULL, why=why, route=route) for job_id in ids)


def test_more_than_five_jobs_that_wait_for_the_same_reason_have_one_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = (a_job(1, name="first"), *map(a_job, range(2, 20)), a_job(20, labels=("gpu", "other")))
    claim = Claim(pool=Pool("gpu", ORG), job_id=5, name="r-5-1", generation=1, endpoint="ep-1", placed="")
    skips = (
        *waiting(*range(2, 5), 6, 7, 20),  # with job 20, which has other labels
        *waiting(*range(8, 13), why="route gpu is paused"),  # only five
        *waiting(1, *range(13, 18)),
        *waiting(18, 19, route="a100"),
    )
    rows = printed(Decision(plan=Plan(claims=(claim,), skips=skips), jobs=jobs), monkeypatch, capsys)
    assert rows == [
        ["12 jobs", "acme/web first (1) and 11 more", "different ones", "gpu", "route gpu is full"],
        ["5", "acme/web job 5", "self-hosted, runpod, gpu", "gpu", "asking for runner r-5-1"],
        *(
            [str(n), f"acme/web job {n}", "self-hosted, runpod, gpu", "gpu", "route gpu is paused"]
            for n in range(8, 13)
        ),
        *([str(n), f"acme/web job {n}", "self-hosted, runpod, gpu", "a100", "route gpu is full"] for n in (18, 19)),
    ]


def test_the_document_of_a_pass_has_each_job_alone() -> None:
    jobs = tuple(map(a_job, range(1, 8)))
    report = Report(
        decision=Decision(plan=Plan(skips=waiting(*range(1, 8))), jobs=jobs), submitted=(), problems=(), seconds=0.1
    )
    shown = document(report, dry_run=True, calls={"github": {}, "runpod": {}})["jobs"]
    assert [job["id"] for job in shown] == list(range(1, 8))


def test_a_queued_job_shows_the_name_of_its_endpoint_and_json_the_id() -> None:
    claim = Claim(
        pool=Pool("gpu", ORG), job_id=1, name="r-1-1", generation=1, endpoint="ep-2", placed="endpoint l4 is full"
    )
    seen = Decision(plan=Plan(claims=(claim,)), jobs=(a_job(1),), endpoint_names={"ep-2": "a100"})
    (row,) = queued_jobs(seen)
    assert (row["endpoint"], row["endpoint_name"]) == ("ep-2", "a100")
    assert row["why"] == "asking for runner r-1-1 at endpoint a100: endpoint l4 is full"


def test_waiting_for_an_event_ends_when_it_is_set_or_the_time_is_over() -> None:
    async def main() -> tuple[bool, bool]:
        event = asyncio.Event()
        over = await is_set_within(0.01, event)
        event.set()
        return over, await is_set_within(60, event)

    assert asyncio.run(main()) == (False, True)
