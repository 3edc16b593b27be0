"""`bridge doctor`: the webhook, the service, the ledger and the files; each fault is one line with its fix."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from bridge.commands.doctor import github
from bridge.commands.doctor.context import opened
from bridge.config.settings import load
from bridge.core.pauses import Pause
from bridge.emulator.serving import serving
from bridge.ledger import SCHEMA, Ledger
from tests.e2e.test_doctor_github import of_ours, restored
from tests.support.background import served, until
from tests.support.doctor import TOML, Clinic, clinic
from tests.support.service import free_port

Usage = namedtuple("Usage", "total used free")


@contextmanager
def a_service(made: Clinic, port: int) -> Iterator[None]:
    """The bridge as a service, until the block ends."""
    command = [sys.executable, "-m", "bridge.dispatch", "--serve", f"127.0.0.1:{port}"]
    environment = {**os.environ, **made.environment}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _is_ready(port))
        yield
    finally:
        process.terminate()
        process.wait(60)


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Clinic]:
    folder = Path(tmp_path_factory.mktemp("doctor"))
    with clinic(folder, webhook_url=f"http://127.0.0.1:{port}/webhook") as made, a_service(made, port):
        yield made


@pytest.fixture
def running(shared: Clinic) -> Iterator[Clinic]:
    """A set-up with a running service."""
    settings = shared.cloud.settings()
    with restored(shared):
        names = ("GITHUB_WEBHOOK_SECRET", "BRIDGE_PUBLIC_URL", "BRIDGE_CALLBACK_KEY")
        shared.variables |= {name: settings[name] for name in names}
        yield shared
    shared.cloud.github.webhooks.log.clear()


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    with clinic(Path(tmp_path_factory.mktemp("doctor"))) as made:
        yield made


@pytest.fixture
def healthy(still: Clinic) -> Iterator[Clinic]:
    """A set-up without a service."""
    with restored(still):
        yield still


def ping(made: Clinic, *, secret: str | None = None, url: str | None = None) -> None:
    """Let GitHub send a delivery, with another secret or to another URL."""
    hooks, app = made.cloud.github.webhooks, made.cloud.github.app
    kept = app.webhook_secret, app.webhook_url
    app.webhook_secret, app.webhook_url = secret or kept[0], url or kept[1]
    before = len(hooks.log.newest(None, 100)[0])
    hooks.ping()
    until(lambda: len(hooks.log.newest(None, 100)[0]) > before)
    app.webhook_secret, app.webhook_url = kept


def test_a_service_without_faults_has_no_failed_check(running: Clinic) -> None:
    ping(running)
    assert of_ours(running) == {}
    shown = {check["id"]: check["status"] for check in running.checks()}
    assert {id_ for id_, status in shown.items() if status == "skipped"} == {"image.runner", "image.support"}


def test_the_webhook_of_another_host_is_named(running: Clinic, port: int) -> None:
    running.cloud.github.app.webhook_url = "https://old.example.org/webhook"
    ours = f"http://127.0.0.1:{port}/webhook"
    assert of_ours(running) == {
        "github.webhook.url": "the webhook posts to https://old.example.org/webhook; set the webhook's URL to "
        f"{ours}, or correct BRIDGE_PUBLIC_URL"
    }


def test_a_wrong_secret_shows_in_the_last_delivery(running: Clinic) -> None:
    ping(running)
    ping(running, secret="another secret than ours")
    assert of_ours(running) == {
        "github.webhook.secret": "the service refused the signature of the last delivery (401); set the App's webhook "
        "secret and GITHUB_WEBHOOK_SECRET to the same value, and restart the service"
    }


def test_deliveries_that_failed_are_counted(running: Clinic) -> None:
    ping(running)
    ping(running, url="http://127.0.0.1:9/webhook")
    line = "1 of the last 2 deliveries failed; the last failure had status 502"
    fix = "see `service.healthz`, and the log of the service and its proxy"
    assert of_ours(running) == {"github.webhook.deliveries": f"{line}; {fix}"}
    ping(running)
    line = "1 of the last 3 deliveries failed; the last failure had status 502"
    fix = "nothing if the service was down then: it reads missed deliveries from GitHub's log"
    assert of_ours(running) == {"github.webhook.deliveries": f"{line}; {fix}"}


def test_an_app_without_the_event_or_without_a_webhook(running: Clinic) -> None:
    running.cloud.github.app.events = []
    assert of_ours(running) == {
        "github.webhook.events": "the App does not subscribe to workflow_job; tick Workflow job in the settings of "
        "the App emulated, under Permissions & events"
    }
    running.cloud.github.app.webhook_url = None
    assert of_ours(running) == {
        "github.webhook": "the App emulated has no webhook; set its URL and secret at "
        f"{running.cloud.github.url}/apps/emulated, and tick Active; until then the service finds jobs by scanning"
    }


def test_a_webhook_without_verification_is_a_warning(running: Clinic) -> None:
    running.cloud.github.app.webhook_insecure_ssl = "1"
    assert of_ours(running) == {
        "github.webhook.certificate": "GitHub does not verify the certificate of the webhook's URL; turn on SSL "
        "verification in the webhook settings of the App emulated"
    }


def test_a_service_without_a_secret_is_named(running: Clinic) -> None:
    running.variables["GITHUB_WEBHOOK_SECRET"] = ""
    assert of_ours(running) == {
        "github.webhook.secret": "GITHUB_WEBHOOK_SECRET is not set; set it to the App's webhook secret"
    }


# --- another server at the public address ---


async def html(_request: Request) -> Response:
    return HTMLResponse("<html>welcome</html>")


async def elsewhere(_request: Request) -> Response:
    return RedirectResponse("https://example.org/login", 302)


async def endless(_request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536
            await asyncio.sleep(0.001)  # so that the server sees that the client has gone

    return StreamingResponse(parts(), media_type="text/plain")


async def alive(request: Request) -> Response:
    """A bridge whose database has failed, behind a proxy that forwards no webhooks."""
    if request.url.path == "/healthz":
        return Response('{"status": "ok"}', media_type="application/json")
    if request.url.path == "/readyz":
        body = '{"status": "not ready", "checks": {"ledger": "cannot be written", "passes": "ok"}}'
        return Response(body, 503, media_type="application/json")
    return HTMLResponse("not found", 404)


@contextmanager
def a_server(answer: Callable[[Request], object]) -> Iterator[str]:
    @asynccontextmanager
    async def server() -> AsyncIterator[str]:
        route = Route("/{path:path}", answer, methods=["GET", "POST"])
        async with serving(Starlette(routes=[route]), 0) as url:
            yield url

    with served(server) as url:
        yield url


def service_troubles(made: Clinic, url: str) -> dict[str, str]:
    made.variables |= {"BRIDGE_PUBLIC_URL": url, "BRIDGE_CALLBACK_KEY": "k" * 32, "GITHUB_WEBHOOK_SECRET": "s" * 32}
    made.cloud.github.app.webhook_url = f"{url}/webhook"
    return {key: text.replace(url, "URL") for key, text in of_ours(made).items()}


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (html, "200, text/html; charset=utf-8"),
        (elsewhere, "302, no content type, redirects to https://example.org/login"),
        (endless, "200, text/plain; charset=utf-8"),
    ],
)
def test_another_server_at_the_public_url_is_named(
    healthy: Clinic, answer: Callable[[Request], object], shown: str
) -> None:
    with a_server(answer) as url:
        found = service_troubles(healthy, url)
    fix = "let the proxy forward URL to the bridge, or correct BRIDGE_PUBLIC_URL"
    assert found == {"service.healthz": f"GET URL/healthz: {shown}; {fix}"}


def test_a_public_url_that_does_not_answer_is_named(healthy: Clinic) -> None:
    assert service_troubles(healthy, f"http://127.0.0.1:{free_port()}") == {
        "service.healthz": "GET URL/healthz: no connection (ConnectError); start the service, and check DNS, the "
        "firewall and the proxy"
    }


def test_a_service_that_is_not_ready_and_gets_no_webhooks_is_named(healthy: Clinic) -> None:
    with a_server(alive) as url:
        found = service_troubles(healthy, url)
    assert found == {
        "service.readyz": "the service is not ready: ledger: cannot be written; see docs/troubleshooting.md and the "
        "service's log",
        "service.webhook": "POST URL/webhook: 404, text/html; charset=utf-8; let the proxy forward URL to the bridge, "
        "or correct BRIDGE_PUBLIC_URL",
    }


# --- the ledger ---


def ledger_of(made: Clinic) -> Path:
    return made.folder / "ledger.sqlite3"


@pytest.fixture
def with_ledger(healthy: Clinic) -> Iterator[Clinic]:
    path = ledger_of(healthy)
    Ledger.open(f"sqlite:///{path}").close()
    yield healthy
    for each in path.parent.glob("ledger.sqlite3*"):
        each.unlink()


def test_a_newer_ledger_is_named(with_ledger: Clinic) -> None:
    engine = sa.create_engine(f"sqlite:///{ledger_of(with_ledger)}")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    assert of_ours(with_ledger) == {
        "ledger": f"the schema 9999 of {ledger_of(with_ledger)} is newer than this bridge's {SCHEMA}; upgrade the "
        "bridge, or give it another ledger"
    }


def test_an_older_ledger_is_no_fault(with_ledger: Clinic) -> None:
    engine = sa.create_engine(f"sqlite:///{ledger_of(with_ledger)}")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    engine.dispose()
    assert of_ours(with_ledger) == {}
    (found,) = (check for check in with_ledger.checks() if check["id"] == "ledger")
    assert found["evidence"].endswith(f"is older than this bridge's {SCHEMA}; a pass upgrades it")


def test_a_paused_route_is_a_warning(with_ledger: Clinic) -> None:
    ledger = Ledger.open(f"sqlite:///{ledger_of(with_ledger)}")
    pause = Pause(route="gpu", at=time.time() - 600, by="anna", reason="new image")
    asyncio.run(ledger.transact(lambda transaction: transaction.pause(pause)))
    ledger.close()
    assert of_ours(with_ledger) == {
        "ledger.pauses": "route gpu is paused by anna: new image; it was paused 10 min ago; run `bridge resume gpu`"
    }


def test_a_file_that_is_no_database_is_named(healthy: Clinic) -> None:
    ledger_of(healthy).write_text("something else " * 100)
    try:
        assert of_ours(healthy) == {
            "ledger": "BRIDGE_DATABASE_URL: cannot open the ledger: file is not a database; correct it, and run "
            "`bridge doctor` again"
        }
    finally:
        ledger_of(healthy).unlink()


def test_checking_creates_no_ledger(healthy: Clinic) -> None:
    healthy.run("doctor")
    assert not ledger_of(healthy).exists()


def test_a_ledger_that_cannot_be_written_is_named(with_ledger: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests may run as root, who can write everywhere."""
    path, access = ledger_of(with_ledger), os.access
    monkeypatch.setattr(os, "access", lambda at, mode: Path(at) != path and access(at, mode))
    assert of_ours(with_ledger) == {
        "ledger.access": f"{path} or its directory cannot be written; give both to the user that runs the bridge, or "
        "set BRIDGE_DATABASE_URL to another place"
    }


@pytest.mark.parametrize(
    ("free", "fix"),
    [(99_000_000, "free some space"), (0, "free some space: the bridge cannot write down what it asks for")],
)
def test_a_full_disk_is_named(healthy: Clinic, monkeypatch: pytest.MonkeyPatch, free: int, fix: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - free, free))
    found = of_ours(healthy)
    assert found == {"ledger.disk": f"{free // 10**6} MB free where {ledger_of(healthy)} is; {fix}"}


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs"])
def test_sqlite_on_a_network_file_system_is_a_warning(healthy: Clinic, kind: str) -> None:
    with mounted(healthy, kind):
        assert of_ours(healthy) == {
            "ledger.storage": f"{ledger_of(healthy)} is on a network file system ({kind}), where SQLite can lose data; "
            "put it on a local disk, or use PostgreSQL"
        }


def test_a_ledger_that_does_not_last_is_a_warning(healthy: Clinic) -> None:
    with mounted(healthy, "tmpfs"):
        assert of_ours(healthy) == {
            "ledger.storage": f"{ledger_of(healthy)} is on a file system that does not last (tmpfs); put it on a disk "
            "or a volume; what runs survives the loss, but history does not"
        }
    healthy.variables["BRIDGE_DATABASE_URL"] = "sqlite://"
    assert of_ours(healthy) == {
        "ledger.storage": "the ledger is in memory, and is lost at the end of each process; set BRIDGE_DATABASE_URL "
        "to a file or to PostgreSQL"
    }


@contextmanager
def mounted(made: Clinic, kind: str) -> Iterator[None]:
    """The folder of the ledger is a file system of its own."""
    before = made.mounts.read_text()
    made.mounts.write_text(f"{before}2 1 0:40 / {made.folder} rw,relatime shared:5 - {kind} server:/x rw\n")
    try:
        yield
    finally:
        made.mounts.write_text(before)


# --- files ---


def test_files_that_others_can_read_are_named(healthy: Clinic) -> None:
    secret = healthy.folder / "secrets.env"
    secret.write_text("X=y")
    secret.chmod(0o644)
    healthy.config.chmod(0o666)
    try:
        assert of_ours(healthy) == {
            f"configuration.files {secret}": f"its mode is 0644: other users can read it; chmod 600 {secret}",
            f"configuration.files {healthy.config}": "its mode is 0666: other users can change it; "
            f"chmod go-w {healthy.config}",
        }
    finally:
        secret.unlink()
        healthy.config.chmod(0o644)


def test_an_endpoint_that_no_route_uses_is_named(healthy: Clinic) -> None:
    table = '[[endpoint]]\nname = "a100"\nimage = "ghcr.io/acme/runner:1.0"\ngpu = ["AMPERE_80"]\n'
    healthy.config.write_text(TOML + table)
    assert of_ours(healthy) == {
        "configuration.endpoints a100": "no route uses this endpoint; name it in `endpoint` of a route; or delete it "
        "with `bridge endpoints delete`, and remove its table"
    }


def test_the_repair_sets_the_webhooks_url_and_secret(
    running: Clinic, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    app = running.cloud.github.app
    secret = app.webhook_secret
    app.webhook_url, app.webhook_secret = "https://old.example.org/webhook", "another secret"

    async def repair() -> str:
        async with opened(load(running.config), running.config) as context:
            (found,) = (check for check in await github.checks(context) if check.repair)
            assert found.id == "github.webhook.url"
            assert found.repair
            return await found.repair.work()

    ours = f"http://127.0.0.1:{port}/webhook"
    assert asyncio.run(repair()) == f"the webhook's URL is {ours}, and its secret is GITHUB_WEBHOOK_SECRET"
    assert (app.webhook_url, app.webhook_secret) == (ours, secret)


def test_a_budget_without_a_price_is_named(healthy: Clinic) -> None:
    healthy.config.write_text(f"[budget]\nusd_per_day = 5\n{TOML}")
    healthy.variables["RUNPOD_MANAGEMENT_API_KEY"] = ""
    try:
        assert "the price of endpoint" in healthy.troubles()["budget.price gpu"]
        healthy.config.write_text(f"[budget]\nusd_per_day = 5\n{TOML}usd_per_hour = 0.7\n")
        assert "budget.price gpu" not in healthy.troubles()
        assert {"id": "budget", "status": "ok"}.items() <= next(
            check.items() for check in healthy.checks() if check["id"] == "budget"
        )
    finally:
        healthy.config.write_text(TOML)
        del healthy.variables["RUNPOD_MANAGEMENT_API_KEY"]
