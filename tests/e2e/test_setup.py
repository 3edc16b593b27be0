"""`bridge setup` against the emulated GitHub and RunPod: from an empty folder to a configuration that works."""

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.commands.setup import progress as progress_file
from bridge.commands.setup.context import NotDone
from bridge.commands.setup.folder import Folder
from bridge.commands.setup.register import PAGE
from bridge.commands.setup.steps import Unfinished
from bridge.emulator.faults import Fault, FaultKind
from bridge.errors import BridgeError, ConfigError
from tests.support import ROOT
from tests.support.background import until
from tests.support.emulators import API_KEY, Emulators, emulators
from tests.support.github import a_run
from tests.support.setting_up import PastingPerson, Person, set_up, variables

CONVERSION = r"/app-manifests/.+/conversions"
FILES = ("app.pem", "secrets.env", "bridge.toml")


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Emulators]:
    with emulators(tmp_path / "home") as made:
        (tmp_path / "home").mkdir()
        made.github.state.add_repository("acme/site", private=False)
        made.github.app.installed = False
        yield made


def names_of_apps(made: Emulators) -> set[str]:
    """The Apps that were registered."""
    return made.github.registrations.names - {"emulated"}


def dry_run(made: Emulators, folder: Path) -> "subprocess.CompletedProcess[str]":
    """What a pass would do."""
    return dispatched(made, folder, "--dry-run")


def dispatched(made: Emulators, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """A pass with nothing but the files that were written."""
    secrets = dict(
        line.split("=", 1) for line in (folder / "secrets.env").read_text().splitlines() if not line.startswith("#")
    )
    return subprocess.run(
        [sys.executable, "-m", "bridge.dispatch", "--config", str(folder / "bridge.toml"), "--json", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(made.home), **secrets},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_new_app_is_registered_installed_and_its_configuration_works(services: Emulators, tmp_path: Path) -> None:
    folder, person = tmp_path / "new", Person()
    set_up(services, folder, person)

    app = services.github.app
    assert app.installed
    assert app.permissions == {"organization_self_hosted_runners": "write", "actions": "read", "metadata": "read"}
    assert (app.webhook_url, app.events) == (None, [])
    assert sorted(each.name for each in folder.iterdir()) == sorted(FILES)
    modes = {name: stat.S_IMODE((folder / name).stat().st_mode) for name in FILES}
    assert modes == {"app.pem": 0o600, "secrets.env": 0o600, "bridge.toml": 0o644}
    assert "acme/site  (public)" in person.text
    assert "acme/web\n" in person.text
    done = dry_run(services, folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["problems"] == []


def test_an_app_that_re_runs_lost_jobs_may_write_actions(services: Emulators, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    set_up(services, folder, Person(), rerun_lost_jobs=2)
    assert services.github.app.permissions["actions"] == "write"
    assert "\nrerun_lost_jobs = 2\n" in (folder / "bridge.toml").read_text()
    assert dry_run(services, folder).returncode == 0


def test_no_secret_is_shown(services: Emulators, tmp_path: Path) -> None:
    person = Person()
    set_up(services, tmp_path / "new", person, webhook_url="https://bridge.example.org/webhook")
    written = (tmp_path / "new" / "secrets.env").read_text()
    secrets = [line.split("=", 1)[1] for line in written.splitlines() if "=" in line]
    code = person.redirect.partition("code=")[2].partition("&")[0]
    assert len(secrets) == 3
    for secret in (*secrets, code, services.github.app.pem.splitlines()[1]):
        assert secret not in person.text
        assert secret not in (tmp_path / "new" / "bridge.toml").read_text()


def test_with_a_webhook_url_the_app_has_an_active_hook(services: Emulators, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    set_up(services, folder, Person(), webhook_url="https://bridge.example.org/webhook")
    app = services.github.app
    assert (app.webhook_url, app.events) == ("https://bridge.example.org/webhook", ["workflow_job"])
    written = (folder / "secrets.env").read_text()
    assert f"GITHUB_WEBHOOK_SECRET={app.webhook_secret}\n" in written
    assert 'public_url = "https://bridge.example.org"\n' in (folder / "bridge.toml").read_text()
    app.webhook_url = None  # nothing listens there
    assert dry_run(services, folder).returncode == 0


def test_for_a_user_runners_register_at_each_repository(services: Emulators, tmp_path: Path) -> None:
    services.github.state.add_repository("octocat/tool")
    folder = tmp_path / "new"
    set_up(services, folder, Person(), org=None, account="octocat")
    assert services.github.app.permissions == {"administration": "write", "actions": "read", "metadata": "read"}
    assert '"octocat/tool"' in (folder / "bridge.toml").read_text()
    done = dry_run(services, folder)
    assert done.returncode == 0, done.stderr


def test_without_a_browser_the_address_that_github_redirects_to_is_pasted(services: Emulators, tmp_path: Path) -> None:
    person = PastingPerson()
    person.folder = tmp_path / "new"
    set_up(services, person.folder, person, no_browser=True)
    assert sorted(each.name for each in person.folder.iterdir()) == sorted(FILES)
    assert f"file://{person.folder / PAGE}" in person.text


def test_a_script_gives_the_app_and_the_keys_in_the_environment(services: Emulators, tmp_path: Path) -> None:
    services.github.app.installed = True
    folder = tmp_path / "new"
    command = [sys.executable, "-m", "bridge", "setup", "--non-interactive", "--dir", str(folder)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=services.environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "RunPod endpoint ep-1: ok" in done.stdout
    assert API_KEY not in done.stdout + done.stderr
    assert dry_run(services, folder).returncode == 0

    again = subprocess.run(
        command,
        cwd=ROOT,
        env=services.environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert again.returncode == 2
    assert "has app.pem, secrets.env, bridge.toml, and nothing is overwritten" in again.stderr
    assert again.stderr.count("\n") == 1


def test_from_an_empty_folder_to_a_green_job(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "new"
    home.mkdir()
    with emulators(home, instant={}) as made:
        job = made.github.state.add_run("acme/web", a_run()).jobs["build"]
        done = subprocess.run(
            [sys.executable, "-m", "bridge", "setup", "--non-interactive", "--dir", str(folder)],
            cwd=ROOT,
            env=made.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert dispatched(made, folder).returncode == 0
        until(lambda: job.conclusion == "success")


def terminal(made: Emulators, folder: Path) -> "tuple[subprocess.Popen[bytes], int]":
    """The command on a terminal of its own, with the App in the environment; the process, and the terminal."""
    ours, theirs = os.openpty()
    given = {name: value for name, value in made.environment.items() if name != "RUNPOD_API_KEY"}
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", "setup", "--dir", str(folder)],
        cwd=ROOT,
        env=given | {"TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    return process, ours


def read_until(fd: int, text: bytes) -> bytes:
    """What a terminal shows, until `text` or its end."""
    shown = b""
    with contextlib.suppress(OSError):  # Linux's end of a terminal
        while text not in shown and (more := os.read(fd, 4096)):
            shown += more
    return shown


def test_a_key_that_is_typed_is_not_shown(services: Emulators, tmp_path: Path) -> None:
    services.github.app.installed = True
    process, fd = terminal(services, tmp_path / "new")
    try:
        shown = read_until(fd, b"not shown")
        until(lambda: not termios.tcgetattr(fd)[3] & termios.ECHO)
        os.write(fd, f"{API_KEY}\n".encode())
        shown += read_until(fd, b"--dry-run")
        assert process.wait(60) == 0, shown
    finally:
        process.kill()
        process.wait()
        os.close(fd)
    assert API_KEY.encode() not in shown
    assert b"RunPod endpoint ep-1: ok" in shown
    assert f"RUNPOD_API_KEY={API_KEY}" in (tmp_path / "new" / "secrets.env").read_text()


def test_ctrl_c_at_a_question_ends_the_command_at_once(services: Emulators, tmp_path: Path) -> None:
    services.github.app.installed = True
    process, fd = terminal(services, tmp_path / "new")
    try:
        read_until(fd, b"not shown")
        until(lambda: not termios.tcgetattr(fd)[3] & termios.ECHO)
        process.send_signal(signal.SIGINT)
        shown = read_until(fd, b"stopped")
        assert process.wait(60) == 130
        assert termios.tcgetattr(fd)[3] & termios.ECHO
    finally:
        process.kill()
        process.wait()
        os.close(fd)
    assert b"interrupted; run the same command again" in shown
    assert b"Traceback" not in shown


def test_a_script_without_an_app_is_told_how_to_get_the_code(services: Emulators, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    script = Person(interactive=False)
    with pytest.raises(Unfinished, match=r"or open .*register-app.html in a browser and repeat with --code CODE"):
        set_up(services, folder, script)
    person = PastingPerson()
    person.folder = folder
    redirect = person.ask("Paste", "")
    code = redirect.partition("code=")[2].partition("&")[0]
    environment = variables(services, RUNPOD_API_KEY=API_KEY, RUNPOD_ENDPOINT_ID="ep-1")
    script.open = person.open  # type: ignore[method-assign]
    set_up(services, folder, script, environment=environment, code=code)
    assert dry_run(services, folder).returncode == 0


# --- interrupted ---


class Killed(BaseException):
    """The end of the process."""


class Interrupting(Folder):
    """Ends the run before or after the nth change to a file."""

    def __init__(self, path: Path, at: int, *, after: bool) -> None:
        super().__init__(path)
        self.left = at
        self._after = after

    def write(self, name: str, text: str, mode: int = 0o600) -> None:
        self.left -= 1
        if self.left == 0 and not self._after:
            raise Killed
        super().write(name, text, mode)
        if self.left == 0:
            raise Killed


def resumed(made: Emulators, folder: Path) -> int:
    """Repeat an interrupted run; how many Apps are left that nobody has the key of."""
    try:
        set_up(made, folder, Person())
    except Unfinished as error:
        # It ended between GitHub's answer and the write of the key, which GitHub does not show again.
        assert "used already" in str(error)
        set_up(made, folder, Person())
        return 1
    return 0


@pytest.mark.parametrize("after", [False, True])
def test_a_run_that_is_interrupted_at_any_write_goes_on_where_it_stopped(
    services: Emulators, tmp_path: Path, after: bool
) -> None:
    lost, number, finished = 0, 0, False
    while not finished:
        number += 1
        folder, known = Interrupting(tmp_path / f"{number}", number, after=after), names_of_apps(services)
        try:
            set_up(services, folder, Person())
            finished = True
        except Killed:
            lost += resumed(services, folder.path)
        assert sorted(each.name for each in folder.path.iterdir()) == sorted(FILES)
        assert (folder.path / "app.pem").read_text() == services.github.app.pem
        # Two also where it ended after the person's last click and before the code was stored.
        assert len(names_of_apps(services) - known) in (1, 2)
    assert number > 7
    assert lost <= 1


@pytest.mark.parametrize("place", ["registered", "not installed", "no RunPod key"])
def test_a_run_that_stopped_at_a_step_goes_on_there(services: Emulators, tmp_path: Path, place: str) -> None:
    folder = tmp_path / "new"
    person = Person(clicks=place == "no RunPod key", answers={"endpoint": "ep-1"})
    if place == "registered":
        person.clicks = True
        services.github.faults.add(Fault(method="GET", path="/app$", kind=FaultKind.ERROR, status=503, times=1000))
    if place == "not installed":
        person.open = lambda url: Person.open(person, url) if "installations" not in url else None  # type: ignore
        person.clicks = True
    with pytest.raises(BridgeError, match="continues where it stopped"):
        set_up(services, folder, person, wait=5.0)
    app = services.github.app.client_id
    services.github.faults.clear()
    set_up(services, folder, Person())
    assert services.github.app.client_id == app
    assert dry_run(services, folder).returncode == 0


def test_an_interrupted_run_for_another_owner_is_not_continued(services: Emulators, tmp_path: Path) -> None:
    with pytest.raises(Unfinished):
        set_up(services, tmp_path, Person(clicks=False), wait=1.0)
    with pytest.raises(ConfigError, match=r"another owner \(acme\)"):
        set_up(services, tmp_path, Person(), org="other")


# --- files that are there ---


def test_a_file_of_somebody_else_is_replaced_only_after_a_yes(services: Emulators, tmp_path: Path) -> None:
    (tmp_path / "bridge.toml").write_text("# mine\n")
    with pytest.raises(ConfigError, match="nothing is overwritten"):
        set_up(services, tmp_path, Person())
    assert (tmp_path / "bridge.toml").read_text() == "# mine\n"
    assert not names_of_apps(services)
    person = Person()
    person.answers["will be replaced"] = "y"
    set_up(services, tmp_path, person)
    assert "acme" in (tmp_path / "bridge.toml").read_text()


def test_a_file_that_was_changed_between_two_runs_is_not_replaced(services: Emulators, tmp_path: Path) -> None:
    with pytest.raises(Unfinished):
        set_up(services, tmp_path, Person(answers={}))
    (tmp_path / "secrets.env").write_text("# mine\n")
    with pytest.raises(Unfinished, match=r"secrets\.env: was changed since this command wrote it; move it away"):
        set_up(services, tmp_path, Person())
    assert (tmp_path / "secrets.env").read_text() == "# mine\n"


# --- each call to the outside ---

HTML = "<html><body>A proxy that wants a login.</body></html>"
KINDS = {
    "slow": {"kind": FaultKind.LATE, "seconds": 1.0},
    "doubled": {"kind": FaultKind.DUPLICATE},
    "lost": {"kind": FaultKind.DROP, "times": 1000},
    "failed": {"kind": FaultKind.ERROR, "status": 502, "times": 1000},
    "done and lost": {"kind": FaultKind.ACCEPT_THEN_HANG, "seconds": 0.1},
    "HTML": {
        "kind": FaultKind.ERROR,
        "status": 200,
        "body": HTML,
        "headers": {"content-type": "text/html"},
        "times": 1000,
    },
    "refused": {"kind": FaultKind.ERROR, "status": 403, "times": 1000},
    "limited": {"kind": FaultKind.ERROR, "status": 429, "headers": {"retry-after": "30"}, "times": 1000},
    "unknown": {"kind": FaultKind.ERROR, "status": 404, "times": 1000},
}
CALLS = {
    "conversion": ("POST", CONVERSION),
    "App": ("GET", "/app$"),
    "installation": ("GET", "/orgs/acme/installation$"),
    "token": ("POST", "/access_tokens$"),
    "repositories": ("GET", "/installation/repositories"),
    "health": ("GET", "/health$"),
}
OUTCOMES = {
    ("conversion", "doubled"): "used already or has expired.*delete it: GitHub does not show its key again",
    ("conversion", "lost"): "no answer",
    ("conversion", "failed"): "502, GitHub failed",
    ("conversion", "done and lost"): "used already or has expired.*delete it: GitHub does not show its key again",
    ("conversion", "HTML"): r"200, unreadable \(text/html\)",
    ("conversion", "refused"): "403, access denied; a policy",
    ("conversion", "limited"): "rate limit reached; try again in 30 s",
    ("conversion", "unknown"): "used already or has expired",
    ("App", "lost"): "GET .*/app",
    ("App", "failed"): "GET .*/app: 502",
    ("App", "HTML"): r"GET .*/app: 200.*unreadable answer \(text/html\)",
    ("App", "refused"): "GET .*/app: 403.*access denied",
    ("App", "limited"): "rate limit",
    ("App", "unknown"): "there is no App with this client id",
    ("installation", "lost"): "installation",
    ("installation", "failed"): "502",
    ("installation", "HTML"): r"unreadable answer \(text/html\)",
    ("installation", "refused"): "403.*access denied",
    ("installation", "limited"): "rate limit",
    ("installation", "unknown"): "not installed after 5 s; install it at http",
    ("token", "lost"): "access_tokens",
    ("token", "failed"): "502",
    ("token", "HTML"): r"unreadable answer \(text/html\)",
    ("token", "refused"): "403.*access denied",
    ("token", "limited"): "rate limit",
    ("token", "unknown"): "has no installation|is not installed",
    ("repositories", "lost"): "installation/repositories",
    ("repositories", "failed"): "502",
    ("repositories", "HTML"): r"unreadable answer \(text/html\)",
    ("repositories", "refused"): "403.*access denied",
    ("repositories", "limited"): "rate limit",
    ("repositories", "unknown"): "404",
    ("health", "lost"): "RunPod: GET /ep-1/health: no readable answer",
    ("health", "failed"): "RunPod: GET /ep-1/health: 502",
    ("health", "done and lost"): "RunPod: GET /ep-1/health: no readable answer",
    ("health", "HTML"): "RunPod: GET /ep-1/health: no readable answer",
    ("health", "refused"): "403 Forbidden: RUNPOD_API_KEY may not use this endpoint",
    ("health", "limited"): "429 Too Many Requests: rate limit reached",
    ("health", "unknown"): "404 Not Found: check the endpoint's id",
}
"""What the person reads; a pair that is not here succeeds."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", CALLS)
def test_each_call_that_fails_has_one_clear_line_and_the_next_run_finishes(
    services: Emulators, tmp_path: Path, call: str, kind: str
) -> None:
    folder, (method, path) = tmp_path / "new", CALLS[call]
    faults = services.runpod.faults if call == "health" else services.github.faults
    faults.add(Fault(method=method, path=path, **KINDS[kind]))  # type: ignore[arg-type]
    expected = OUTCOMES.get((call, kind))
    wait = 5.0 if (call, kind) == ("installation", "unknown") else 30.0
    if expected is None:
        set_up(services, folder, Person(), wait=wait)
    else:
        with pytest.raises(Unfinished, match=f"(?s){expected}.*continues where it stopped") as told:
            set_up(services, folder, Person(), wait=wait)
        assert "\n" not in str(told.value)
        assert "wants a login" not in str(told.value)
        faults.clear()
        set_up(services, folder, Person())
    assert sorted(each.name for each in folder.iterdir()) == sorted(FILES)


# --- what a person can do differently ---


def test_an_app_of_another_owner_is_refused_and_forgotten(services: Emulators, tmp_path: Path) -> None:
    services.github.registrations.user = "somebody"
    services.github.state.add_repository("octocat/tool")
    with pytest.raises(Unfinished, match="was registered for somebody, not for octocat; delete it at http") as told:
        set_up(services, tmp_path, Person(), org=None, account="octocat")
    assert isinstance(told.value.error, NotDone)
    services.github.registrations.user = "octocat"
    set_up(services, tmp_path, Person(), org=None, account="octocat")
    assert services.github.app.owner == "octocat"


def test_who_is_no_owner_of_the_organisation_is_told_after_the_wait(services: Emulators, tmp_path: Path) -> None:
    with pytest.raises(Unfinished, match="If GitHub showed 404, you are not signed in as an owner of acme"):
        set_up(services, tmp_path, Person(clicks=False), wait=1.0)


def test_a_permission_that_was_not_granted_is_named(services: Emulators, tmp_path: Path) -> None:
    environment = services.environment
    services.github.app.installed = True
    services.github.app.permissions = {
        "metadata": "read",
        "actions": "read",
        "organization_self_hosted_runners": "read",
    }
    with pytest.raises(Unfinished, match="not granted organization_self_hosted_runners: write; add it in"):
        set_up(services, tmp_path, Person(), environment=environment)


def test_a_suspended_installation_is_named(services: Emulators, tmp_path: Path) -> None:
    services.github.app.installed = services.github.app.suspended = True
    with pytest.raises(Unfinished, match="suspended; unsuspend it at"):
        set_up(services, tmp_path, Person(), environment=services.environment)


def test_the_key_of_another_app_is_refused(services: Emulators, tmp_path: Path) -> None:
    from bridge.emulator.github import App

    other = {**services.environment, "GITHUB_APP_PRIVATE_KEY": App(owner="acme").pem}
    with pytest.raises(Unfinished, match="was rejected; check that GITHUB_APP_CLIENT_ID is right"):
        set_up(services, tmp_path, Person(), environment=other)


def test_a_wrong_runpod_key_is_asked_for_again(services: Emulators, tmp_path: Path) -> None:
    typed = iter(["rpa_wrong_key_1", API_KEY])
    person = Person()
    person.ask_secret = lambda *_: next(typed)  # type: ignore[method-assign]
    set_up(services, tmp_path, person, no_endpoints=True)
    assert "RunPod rejected RUNPOD_API_KEY; set a valid key. Try again." in person.text
    assert f"RUNPOD_API_KEY={API_KEY}\n" in (tmp_path / "secrets.env").read_text()


def test_without_an_endpoint_the_route_says_what_to_fill_in(services: Emulators, tmp_path: Path) -> None:
    person = Person(answers={"API key": API_KEY})
    set_up(services, tmp_path, person)
    assert '# endpoint = "abc123"' in (tmp_path / "bridge.toml").read_text()
    assert "put its id into bridge.toml" in person.text


def test_a_progress_file_that_cannot_be_read_is_named(services: Emulators, tmp_path: Path) -> None:
    (tmp_path / progress_file.FILE).write_text("{")
    with pytest.raises(ConfigError, match="delete it to start again"):
        set_up(services, tmp_path, Person())
