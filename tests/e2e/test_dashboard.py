"""The dashboard in a real browser: headless Chromium, driven by Playwright, and axe-core for its accessibility."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from bridge.emulator.github import github_emulator
from bridge.emulator.github.access import PERMISSIONS
from bridge.emulator.github.sign_in import Person
from tests.support.background import served, until
from tests.support.browser import CHROMIUM, NO_CHROMIUM, PATIENCE, chromium, violations
from tests.support.dashboard import Filled, a_config, filled, shown
from tests.support.emulators import real_workers
from tests.support.github import a_github, a_run, an_app
from tests.support.runners import a_job_of_steps
from tests.support.service import free_port, running_service

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
NAMED = "bridge.example.org"
TOKEN = "a token that is long enough"
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium(f"--host-resolver-rules=MAP {NAMED} 127.0.0.1") as opened:
        yield opened


class Tab:
    """An open page, and what its console says."""

    def __init__(self, browser: Browser, **given: Any) -> None:
        self.page: Page = browser.new_page(**given)
        self.page.set_default_timeout(PATIENCE)
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))


@pytest.fixture
def ledger(tmp_path: Path) -> Filled:
    return filled(f"sqlite:///{tmp_path}/ledger.sqlite3")


def busy(ledger: Filled, jobs: int) -> None:
    """A ledger with so many open jobs, one of which has a hostile name."""
    if jobs:
        ledger.finished(range(9000, 9030))
        ledger.running(2)
        ledger.starting(4)
        names = {6: "<script>alert(1)</script>", 8: "n" * 200, 10: "\u202egnp.exe"}
        ledger.queued(*(ledger.job(n, **({"name": names[n]} if n in names else {})) for n in range(6, 2 * jobs + 1, 2)))


LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": WIDE},
    "dark": {"viewport": WIDE, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "device_scale_factor": 2},
    "dark phone": {"viewport": PHONE, "color_scheme": "dark"},
}


@pytest.mark.parametrize("jobs", [0, 3, 500])
def test_the_page_is_accessible_and_fits_each_screen(
    browser: Browser, ledger: Filled, tmp_path: Path, jobs: int
) -> None:
    busy(ledger, jobs)
    with shown(a_config(ledger.url)) as site:
        for name, look in LOOKS.items():
            tab = Tab(browser, **look)
            for path in ("/", "/?jobs=queued", *(["/jobs/6", "/jobs/2", "/jobs/9001"] if jobs else [])):
                tab.page.goto(site.url + path)
                tab.page.get_by_role("button", name="Pause updates").wait_for()
                assert violations(tab.page) == [], (name, path)
                width = tab.page.evaluate("document.documentElement.scrollWidth")
                assert width <= look["viewport"]["width"], (name, path)
                tab.page.screenshot(path=tmp_path / f"{jobs} {name}{path.replace('/', ' ')}.png", full_page=True)
            background = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
            brightness = sum(map(int, re.findall(r"\d+", background))) / 3
            assert brightness < 60 if "dark" in name else brightness > 200
            tab.page.close()
            assert tab.said == []


def test_hostile_names_are_shown_and_do_nothing(browser: Browser, ledger: Filled) -> None:
    busy(ledger, 10)
    tab = Tab(browser, viewport=PHONE)
    with shown(a_config(ledger.url)) as site:
        tab.page.goto(site.url)
        queued = tab.page.get_by_role("region", name="Queued")
        expect(queued.get_by_role("link", name="<script>alert(1)</script>", exact=True)).to_be_visible()
        expect(queued.get_by_role("link", name="n" * 200, exact=True)).to_be_visible()
        expect(queued.get_by_role("link", name="\N{REPLACEMENT CHARACTER}gnp.exe", exact=True)).to_be_visible()
        before = tab.page.content()
        ledger.queued(ledger.job(40, name="<img src=x onerror=alert(1)>"))
        expect(queued.get_by_role("link", name="<img src=x onerror=alert(1)>", exact=True)).to_be_visible()
        assert tab.page.content() != before
        tab.page.close()
    assert tab.said == []


def test_a_job_that_ends_moves_without_a_reload(browser: Browser, tmp_path: Path) -> None:
    """With the real service: a push, the bridge's passes, a worker, and GitHub's events."""
    tab = Tab(browser, viewport=WIDE)
    with real_workers(tmp_path) as made, running_service(made) as service:
        tab.page.goto(service.url)
        numbers = tab.page.get_by_role("navigation", name="Jobs by state")
        expect(numbers).to_contain_text("0 finished")
        tab.page.evaluate("window.isTheSamePage = true")
        gate = tmp_path / "gate"
        wait = f"until test -e {gate}; do sleep 0.1; done"
        job = made.github.state.add_run("acme/web", a_run(a_job_of_steps(wait))).jobs["build"]
        expect(numbers).to_contain_text("1 running")
        running = tab.page.get_by_role("region", name="Running")
        expect(running).to_contain_text("Runs on runner runpod-")
        gate.touch()
        until(lambda: job.status == "completed")
        expect(numbers).to_contain_text("1 finished")
        expect(tab.page.get_by_role("region", name="Finished")).to_contain_text("Ended as success on runner runpod-")
        expect(running).to_contain_text("No job runs.")
        assert tab.page.evaluate("window.isTheSamePage")
        assert service.get("/healthz").status_code == 200
        tab.page.get_by_role("region", name="Finished").get_by_role("link", name="build").click()
        expect(tab.page.get_by_role("status").first).to_contain_text("ended as success on runner")
        tab.page.close()
        log = service.stop()
    assert "Traceback" not in log
    assert tab.said == []


def test_a_job_page_is_updated_too(browser: Browser, ledger: Filled) -> None:
    ledger.queued(ledger.job(2))
    tab = Tab(browser)
    with shown(a_config(ledger.url)) as site:
        tab.page.goto(f"{site.url}/jobs/2")
        sentence = tab.page.locator("#sentence")
        expect(sentence).to_contain_text("the next pass asks for runner")
        ledger.running(2)
        expect(sentence).to_contain_text("runs on runner runpod-2-1")
        expect(tab.page.get_by_role("list").last).to_contain_text("took the job")
        tab.page.close()


def test_the_keyboard_reaches_everything_and_keeps_its_place_when_the_page_changes(
    browser: Browser, ledger: Filled
) -> None:
    ledger.queued(ledger.job(2), ledger.job(4))
    tab = Tab(browser)
    with shown(a_config(ledger.url)) as site:
        tab.page.goto(site.url)
        tab.page.keyboard.press("Tab")
        expect(tab.page.get_by_role("link", name="Skip to the content")).to_be_focused()
        tab.page.keyboard.press("Enter")
        expect(tab.page.locator("main")).to_be_focused()
        link = tab.page.locator('a[href="/jobs/4"]')
        link.focus()
        ledger.queued(ledger.job(6))
        expect(tab.page.locator('a[href="/jobs/6"]')).to_be_visible()
        expect(link).to_be_focused()
        tab.page.keyboard.press("Enter")
        expect(tab.page).to_have_url(f"{site.url}/jobs/4")
        tab.page.close()


def test_updates_can_be_paused(browser: Browser, ledger: Filled) -> None:
    tab = Tab(browser)
    with shown(a_config(ledger.url)) as site:
        tab.page.goto(site.url)
        tab.page.get_by_role("button", name="Pause updates").click()
        expect(tab.page.locator("#connection")).to_have_text("Updates are paused")
        ledger.queued(ledger.job(2))
        tab.page.wait_for_timeout(2500)
        expect(tab.page.locator('a[href="/jobs/2"]')).to_have_count(0)
        tab.page.get_by_role("button", name="Resume updates").click()
        expect(tab.page.locator('a[href="/jobs/2"]')).to_be_visible()
        tab.page.close()


def test_the_page_is_useful_without_scripts(browser: Browser, ledger: Filled) -> None:
    busy(ledger, 30)
    tab = Tab(browser, java_script_enabled=False)
    with shown(a_config(ledger.url)) as site:
        tab.page.goto(site.url)
        expect(tab.page.get_by_role("button", name="Pause updates")).to_have_count(0)
        assert 'http-equiv="refresh" content="30"' in tab.page.content()
        tab.page.get_by_role("link", name="All 28 queued jobs").click()
        expect(tab.page.get_by_role("heading", name="Queued 28")).to_be_visible()
        tab.page.get_by_role("link", name="<script>alert(1)</script>").click()
        expect(tab.page.get_by_role("heading", name="Timeline")).to_be_visible()
        tab.page.close()


def own_address() -> str | None:
    """An address of this machine that is not loopback."""
    found = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
    return next((each for each in found if ":" not in each and not each.startswith("127.")), None)


def test_another_address_is_refused(browser: Browser, ledger: Filled) -> None:
    ledger.queued(ledger.job(2))
    address = own_address()
    tab = Tab(browser)
    with shown(a_config(ledger.url), host="0.0.0.0") as site:
        port = site.url.rpartition(":")[2]
        for host in filter(None, (address, NAMED)):
            answer = tab.page.goto(f"http://{host}:{port}/")
            assert answer is not None
            assert answer.status == 403
            expect(tab.page.get_by_role("heading")).to_have_text("Not open here")
            assert "runpod-2-1" not in tab.page.content()
            assert violations(tab.page) == []
        tab.page.close()


def test_the_token_opens_the_page_from_elsewhere(browser: Browser, ledger: Filled) -> None:
    ledger.queued(ledger.job(2))
    with shown(a_config(ledger.url, token=TOKEN)) as site:
        context = browser.new_context()
        tab = context.new_page()
        address = f"http://{NAMED}:{site.url.rpartition(':')[2]}"
        tab.goto(f"{address}/jobs/2")
        expect(tab).to_have_url(f"{address}/login")
        assert violations(tab) == []
        tab.get_by_label("Access token").fill("a wrong one")
        tab.get_by_role("button", name="Sign in").click()
        expect(tab.get_by_role("alert")).to_contain_text("This is not the token")
        assert violations(tab) == []
        tab.get_by_label("Access token").fill(TOKEN)
        tab.get_by_role("button", name="Sign in").click()
        expect(tab.get_by_role("region", name="Queued")).to_contain_text("the next pass asks for runner")
        ledger.queued(ledger.job(4))
        expect(tab.locator('a[href="/jobs/4"]')).to_be_visible()
        tab.get_by_role("button", name="Sign out").click()
        expect(tab).to_have_url(f"{address}/login")
        tab.goto(address)
        expect(tab).to_have_url(f"{address}/login")
        context.close()


def test_members_sign_in_with_github_and_others_do_not(browser: Browser, ledger: Filled) -> None:
    """GitHub's page, the way back with a code, and the check of the membership."""
    ledger.queued(ledger.job(2))
    port = free_port()
    address = f"http://{NAMED}:{port}"
    app = an_app(callback_urls=[f"{address}/login/callback"], permissions={**PERMISSIONS, "members": "read"})
    with served(lambda: github_emulator(a_github(), app)) as github:
        config = a_config(
            ledger.url,
            public_url=address,
            web_url=github.url,
            api_url=github.api_url,
            client_id=app.client_id,
            client_secret=app.client_secret,
        )
        with shown(config, port=port):
            context = browser.new_context()
            tab = context.new_page()
            tab.goto(address)
            tab.get_by_role("link", name="Sign in with GitHub").click()
            tab.get_by_role("button", name="Authorize acme").click()
            expect(tab.get_by_role("alert")).to_contain_text("octocat is no member of acme")
            github.sign_ins.people["octocat"] = Person(memberships={"acme": "active"})
            tab.get_by_role("link", name="Sign in with GitHub").click()
            tab.get_by_role("button", name="Cancel").click()
            expect(tab.get_by_role("alert")).to_contain_text("GitHub signed nobody in")
            tab.get_by_role("link", name="Sign in with GitHub").click()
            tab.get_by_role("button", name="Authorize acme").click()
            expect(tab.get_by_role("region", name="Queued")).to_contain_text("the next pass asks for runner")
            expect(tab.get_by_role("button", name="Sign out @octocat")).to_be_visible()
            for cookie in context.cookies():
                assert (cookie.get("httpOnly"), cookie.get("sameSite")) == (True, "Lax")
            tab.goto(f"{address}/login/callback?code=stolen&state=made-up")
            expect(tab.get_by_role("alert")).to_contain_text("This sign-in began elsewhere or took too long")
            context.close()


def test_a_job_can_be_retried_with_a_button(browser: Browser, ledger: Filled) -> None:
    ledger.queued(ledger.job(2))
    with shown(a_config(ledger.url, actions=True)) as site:
        context = browser.new_context()
        tab = context.new_page()
        tab.goto(f"{site.url}/jobs/2")
        assert violations(tab) == []
        tab.get_by_role("button", name="Retry this job").click()
        expect(tab.get_by_role("list").last).to_contain_text("Retried by hand")
        context.close()
