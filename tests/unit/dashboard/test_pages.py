"""What the pages show of jobs, routes and endpoints, and that hostile names stay text."""

import asyncio
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from bridge.commands.composition import composed
from bridge.core.budget import ALL, Budget, Spent
from bridge.core.model import JobStatus
from bridge.core.pauses import Pause
from bridge.core.prices import PriceReading, PriceSource
from bridge.core.steps import span
from bridge.dashboard.content import Content, read_content
from bridge.dashboard.costs import Amount, costs_of
from bridge.dashboard.queries import Group, Query
from bridge.dashboard.render import Extras, Fragment, Pages
from tests.support.dashboard import Filled, a_config, filled

OVERVIEW = Query()


@pytest.fixture
def ledger(tmp_path: Path) -> Filled:
    return filled(f"sqlite:///{tmp_path}/ledger.sqlite3")


@pytest.fixture
def both(database_url: str) -> Filled:
    return filled(database_url)


def seen(ledger: Filled, *queries: Query, **given: Any) -> Content:
    async def main() -> Content:
        config = a_config(ledger.url, **given)
        async with composed(config, dry_run=True) as bridge:
            return await bridge.ledger.read(
                lambda transaction: read_content(
                    transaction, bridge.reconciler.outlook(transaction), config.scope, queries, ledger.now
                )
            )

    return asyncio.run(main())


def fragment(ledger: Filled, query: Query = OVERVIEW, **extras: Any) -> Fragment:
    made = Pages("acme", "https://github.com").fragment(query, seen(ledger, query), Extras(**extras))
    assert made is not None
    return made


def text_of(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def listed(content: Content, group: Group, query: Query = OVERVIEW) -> list[int]:
    return [row.job.id for listing in content.lists[query] if listing.group is group for row in listing.rows]


def test_each_job_is_in_one_list_with_its_reason(both: Filled) -> None:
    both.finished([100, 101])
    both.running(4)
    both.starting(6)
    both.queued(both.job(8), both.job(10, labels=("runpod", "l44")), both.job(12, status=JobStatus.WAITING))
    content = seen(both, OVERVIEW)
    lists = {group: set(listed(content, group)) for group in Group}
    assert lists == {
        Group.QUEUED: {8, 10, 12},
        Group.STARTING: {6},
        Group.RUNNING: {4},
        Group.FINISHED: {100, 101},
    }
    assert content.totals == {Group.QUEUED: 3, Group.STARTING: 1, Group.RUNNING: 1, Group.FINISHED: 2}
    rows = {row.job.id: row for listing in content.lists[OVERVIEW] for row in listing.rows}
    assert rows[8].told.startswith("waits: the next pass asks for runner runpod-8-1")
    assert rows[10].told.startswith('waits: route l4 lacks "l44"')
    assert rows[12].told == "is not queued: it waits for a deployment review: approve it in GitHub"
    assert rows[6].told.startswith("waits: already requested: runner runpod-6-1 is submitted")
    assert rows[4].told.startswith("runs on runner runpod-4-1 for ")
    assert rows[100].told.startswith("ended as success on runner runpod-100-1: it waited for ")
    routes = {number: rows[number].route for number in (4, 6, 8, 10, 101)}
    assert routes == {4: "l4", 6: "l4", 8: "l4", 10: None, 101: "a100"}


def test_the_reason_is_that_of_explain(ledger: Filled) -> None:
    ledger.queued(ledger.job(1), ledger.job(2, labels=("runpod", "l44")))
    content = seen(ledger, OVERVIEW, Query(job=1), Query(job=2))
    rows = {row.job.id: row.told for listing in content.lists[OVERVIEW] for row in listing.rows}
    assert {number: f"Job {number} {told}." for number, told in rows.items()} == {
        number: story.sentence for number, (_, story) in content.stories.items()
    }


def test_routes_show_their_use_and_how_long_jobs_waited(both: Filled) -> None:
    both.finished(range(100, 140, 2))
    both.running(4, 6)
    both.starting(8)
    both.queued(both.job(10), both.job(12))
    l4, a100 = seen(both, OVERVIEW).routes
    assert (l4.used, l4.queued, l4.oldest) == (3, 2, both.job(12).created_at)
    assert l4.waits is not None
    waited = sorted([20 + n % 90 for n in range(100, 140, 2)] + [65, 65])
    assert (l4.waits.jobs, l4.waits.p50, l4.waits.p95) == (22, pytest.approx(waited[10]), pytest.approx(waited[20]))
    assert (a100.used, a100.queued, a100.oldest, a100.waits) == (0, 0, None, None)


def test_endpoints_show_their_names_and_what_happened_at_them_does_too(both: Filled) -> None:
    both.starting(6)
    one = Query(job=6)
    content = seen(both, OVERVIEW, one, endpoint_names={"ep-l4": "cheap", "ep-a100": "<b>"})
    assert [each.shown for each in content.endpoints] == ["cheap (ep-l4)", "<b> (ep-a100)"]
    pages = Pages("acme", "https://github.com")
    page, job = pages.fragment(OVERVIEW, content, Extras()), pages.fragment(one, content, Extras())
    assert page is not None
    assert job is not None
    assert "<bdi>cheap (ep-l4)</bdi>" in page.html
    assert "<bdi>&lt;b&gt; (ep-a100)</bdi>" in page.html
    assert "sending a request to endpoint cheap (ep-l4)" in text_of(job.html)


def test_endpoints_show_their_workers_and_their_breaker(both: Filled) -> None:
    both.failing(21, 23, 25)
    l4, a100 = seen(both, OVERVIEW).endpoints
    assert l4.probe_at is None
    assert l4.health is not None
    assert l4.health.workers["running"] == 2
    assert a100.probe_at is not None
    assert a100.streak is not None
    page = text_of(fragment(both).html)
    assert "ep-l4 breaker closed Workers 1 initializing, 2 running" in page
    assert (
        "ep-a100 breaker open Its last 3 requests failed: crashed. One request is due as a try. Workers 2 throttled"
        in page
    )


def test_lists_have_pages_and_filters(both: Filled) -> None:
    both.finished(range(1000, 1120))
    both.queued(*(both.job(number) for number in range(1, 121)))
    pages = [Query(group=group, page=page) for group in (Group.QUEUED, Group.FINISHED) for page in (1, 2, 3, 4)]
    of_web = Query(group=Group.FINISHED, repository="ACME/web", route="a100")
    content = seen(both, *pages, of_web)
    for group, numbers in ((Group.QUEUED, range(1, 121)), (Group.FINISHED, range(1000, 1120))):
        found = [number for page in pages if page.group is group for number in listed(content, group, page)]
        assert sorted(found) == list(numbers)
    newest = [row.job.completed_at for row in content.lists[pages[4]][0].rows]
    assert newest == sorted(newest, key=lambda at: -(at or 0))
    (listing,) = content.lists[of_web]
    assert {(row.job.repository, row.route) for row in listing.rows} == {("acme/web", "a100")}
    assert listing.total == 20


def test_a_page_beyond_the_last_leads_back(ledger: Filled) -> None:
    ledger.queued(ledger.job(1))
    page = fragment(ledger, Query(group=Group.QUEUED, page=9)).html
    assert "No jobs on this page." in page
    assert 'href="/?jobs=queued"' in page


def test_a_job_page_tells_the_story_with_durations(ledger: Filled) -> None:
    ledger.finished([100])
    page = fragment(ledger, Query(job=100))
    shown = text_of(page.html)
    assert "Job 100 ended as success on runner runpod-100-1" in shown
    assert f"runpod-100-1: its worker started after {span(12)} in RunPod's queue" in shown
    assert 'href="https://github.com/acme/web/actions/runs/7/job/100"' in page.html
    assert " now " not in shown
    ledger.queued(ledger.job(2))
    assert "now Waits: the next pass asks for runner runpod-2-1" in text_of(fragment(ledger, Query(job=2)).html)
    assert page.title == "evaluate · Actions bridge"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "https://github.com.evil.example/x", "http://github.com/x", None]
)
def test_only_links_to_github_are_links(ledger: Filled, url: str | None) -> None:
    ledger.queued(ledger.job(1, html_url=url))
    assert re.findall(r'href="([^"]+)"', fragment(ledger, Query(job=1)).html) == ["/"]


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.exe\u2066",
    "a\x00\x1b[31mb\r\n\u2028data: x\n\nevent: main",
    "x" * 5000,
    "\u0645\u0631\u062d\u0628\u0627",
    "&amp;lt;",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("query", [OVERVIEW, Query(job=1)], ids=["overview", "job"])
def test_hostile_names_stay_text(ledger: Filled, name: str, query: Query) -> None:
    stored = name.replace("\0", "\N{REPLACEMENT CHARACTER}")
    labels = ("runpod", stored)
    ledger.queued(ledger.job(1, name=stored, workflow_name=stored, head_branch=stored, labels=labels))
    html = fragment(ledger, query).html
    plain = fragment(ledger_with_a_harmless_job(ledger), query).html
    tags = lambda text: re.findall(r"<(/?\w+)", text)  # noqa: E731
    assert set(tags(html)) <= set(tags(plain)) | {"bdi", "/bdi"}
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x09\x0b-\x1f\u2028]", html)
    assert max(map(len, re.findall(r"\w+", html))) <= 400
    shown = stored if stored.isprintable() else None
    assert shown is None or len(shown) > 400 or shown in unescape(html)


def ledger_with_a_harmless_job(ledger: Filled) -> Filled:
    ledger.queued(ledger.job(1, labels=("runpod", "harmless")))
    return ledger


def test_secrets_in_names_are_masked(ledger: Filled) -> None:
    ledger.queued(ledger.job(1, name="rp_secret_key", head_branch="ghp_abcdefgh12345678"))
    html = fragment(ledger).html
    assert "rp_secret_key" not in html
    assert "ghp_" not in html


def test_the_content_is_the_same_until_something_changes(ledger: Filled) -> None:
    ledger.queued(ledger.job(1))
    first = fragment(ledger)
    assert fragment(ledger).digest == first.digest
    ledger.running(4)
    assert fragment(ledger).digest != first.digest


def test_costs_of_today_are_shown_by_route_and_repository(both: Filled) -> None:
    """Each request ran for 210 s; the price of one of the two endpoints is known."""
    both.finished([100, 101, 102])
    price = {"ep-l4": {"NVIDIA L4": 3600 / 210}}
    both.write(lambda transaction: transaction.costs.note_prices(price, PriceSource.CATALOG, both.now))
    costs = seen(both, OVERVIEW).costs
    assert costs is not None
    assert {each.name: each.usd and round(each.usd, 6) for each in costs.routes} == {"a100": None, "l4": 2.0}
    assert costs.total.usd is None
    shown = text_of(fragment(both).html)
    assert "Cost today unknown estimated By route a100 unknown l4 $2.00 By repository" in shown


def test_a_budget_is_shown_beside_what_is_used_of_it() -> None:
    spent = [("acme/<web>", Spent(route="l4", endpoint="ep-l4", gpu_type=None, seconds=3600.0))]
    prices = {"ep-l4": (PriceReading(at=0.0, read_at=0.0, usd_per_hour={"": 2.5}),)}
    budgets = [
        Budget(route=name, configured=usd, used=0.0, resets_at=0.0) for name, usd in ((ALL, 40.0), ("a100", 5.0))
    ]
    costs = costs_of(spent, budgets, prices, 9.0)
    assert costs is not None
    assert costs.total == Amount(name="all routes", usd=2.5, budget=40.0)
    assert costs.routes == (Amount(name="a100", usd=0, budget=5.0), Amount(name="l4", usd=2.5))
    assert costs.repositories == (Amount(name="acme/<web>", usd=2.5),)
    assert costs_of([], [], prices, 9.0) is None


def test_without_a_cost_or_a_budget_there_is_no_panel_of_costs(ledger: Filled) -> None:
    assert "Cost today" not in fragment(ledger).html


def test_a_paused_route_says_who_paused_it(ledger: Filled) -> None:
    pause = Pause(route="l4", at=ledger.now - 60, by="ops@host", reason="<maintenance>")
    ledger.write(lambda transaction: transaction.pause(pause))
    assert "paused Route l4 is paused by ops@host: <maintenance>" in text_of(fragment(ledger).html)


def test_ten_thousand_finished_and_five_hundred_open_jobs_make_a_small_page(ledger: Filled) -> None:
    ledger.queued(*(ledger.job(number, name=f"job {number} " + "n" * 190) for number in range(1, 501)))
    ledger.finished(range(1000, 1060))
    assert len(fragment(ledger).html.encode()) < 100_000
    assert len(fragment(ledger, Query(group=Group.QUEUED)).html.encode()) < 200_000
