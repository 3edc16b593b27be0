"""`bridge doctor`: each way in which GitHub, the webhook or a route can be broken is one line with its fix."""

import base64
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from bridge.emulator.cloud import OWNER
from bridge.emulator.faults import Fault, FaultKind
from bridge.emulator.github.model import GroupRules
from tests.support.doctor import TOML, Clinic, clinic
from tests.support.github import a_run, a_spec

PAT = "ghp_" + "a" * 36
NO_APP = {"GITHUB_APP_CLIENT_ID": "", "GITHUB_APP_PRIVATE_KEY": "", "GITHUB_PAT": PAT}
EXAMPLE = 'image = "ghcr.io/acme/runner:1.0"\n'


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clinic]:
    with clinic(Path(tmp_path_factory.mktemp("doctor"))) as made:
        yield made


@pytest.fixture
def healthy(shared: Clinic) -> Iterator[Clinic]:
    with restored(shared):
        yield shared


@contextmanager
def restored(made: Clinic) -> Iterator[None]:
    """Undo at the end of the block what a test has changed."""
    github = made.cloud.github
    state, app = github.state, github.app
    kept, text = dict(vars(app)), made.config.read_text()
    tables: tuple[dict[Any, Any], ...] = (state.groups, state.group_rules, state.admitted, state.repositories)
    before = [dict(table) for table in tables]
    clock = state.clock
    try:
        yield
    finally:
        vars(app).update(kept)
        for table, content in zip(tables, before, strict=True):
            table.clear()
            table.update(content)
        state.clock = clock
        github.faults.clear()
        made.variables.clear()
        made.config.write_text(text)


def set_app(**changes: object) -> Callable[[Clinic], None]:
    return lambda made: vars(made.cloud.github.app).update(changes)


def set_variables(**variables: str) -> Callable[[Clinic], None]:
    return lambda made: made.variables.update(variables)


def route(*lines: str) -> Callable[[Clinic], None]:
    """Add lines to the route of bridge.toml."""
    return lambda made: void(made.config.write_text(TOML + "\n".join(lines) + "\n"))


def void(_value: object) -> None:
    """Return nothing."""


def another_key(made: Clinic) -> None:
    kept = made.cloud.github.app.key
    made.cloud.github.app.key = rsa.generate_private_key(65537, 2048)
    made.variables["GITHUB_APP_PRIVATE_KEY"] = base64.b64encode(made.cloud.github.app.pem.encode()).decode()
    made.cloud.github.app.key = kept


def wrong_clock(made: Clinic) -> None:
    made.cloud.github.state.clock = lambda: time.time() + 600


def public_repository(made: Clinic) -> None:
    made.cloud.github.state.add_repository(f"{OWNER}/site", private=False)


def public_route(made: Clinic) -> None:
    public_repository(made)
    route("allow_public_repositories = true")(made)


def public_group(made: Clinic) -> None:
    made.cloud.github.state.group_rules[1] = GroupRules(public=True)


def closed_group(made: Clinic) -> None:
    made.cloud.github.state.groups[2], made.cloud.github.state.admitted[2] = "gpus", frozenset({f"{OWNER}/other"})
    route('runner_group = "gpus"')(made)


def closed_group_of_a_named_repository(made: Clinic) -> None:
    closed_group(made)
    route('runner_group = "gpus"', f'repositories = ["{OWNER}/web"]')(made)


def queued(*labels: str) -> Callable[[Clinic], None]:
    """Queue a job in a repository of its own."""

    def queue(made: Clinic) -> None:
        state = made.cloud.github.state
        state.add_repository(f"{OWNER}/{'-'.join(labels)}")
        state.add_run(f"{OWNER}/{'-'.join(labels)}", a_run(a_spec("train\n[red]", labels)))

    return queue


def pat(*, scopes: tuple[str, ...] = ("admin:org", "repo"), days: float | None = None) -> Callable[[Clinic], None]:
    def use(made: Clinic) -> None:
        end = float("inf") if days is None else time.time() + days * 86_400 + 60
        made.cloud.github.access.add_pat(PAT, scopes=scopes, expires_at=end)
        made.variables |= NO_APP

    return use


def fault(path: str, body: str = "{}", **given: object) -> Callable[[Clinic], None]:
    """Every call of a path is answered otherwise."""
    made_of = {"kind": FaultKind.ERROR, "times": 99, "body": body, **given}
    return lambda made: made.cloud.github.faults.add(Fault(method="GET", path=path, **made_of))  # type: ignore[arg-type]


BROKEN: dict[str, tuple[Callable[[Clinic], None], dict[str, str]]] = {
    "the key of another App": (
        another_key,
        {
            "github.app": "GitHub: the App Iv23liEmulated was rejected; check that GITHUB_APP_CLIENT_ID is right and "
            "that the private key belongs to this App"
        },
    ),
    "an unknown App": (
        set_variables(GITHUB_APP_CLIENT_ID="Iv23liOther"),
        {"github.app": "GitHub: there is no App with this client id; correct GITHUB_APP_CLIENT_ID"},
    ),
    "the clock": (
        wrong_clock,
        {
            "github.clock": "this machine's clock is 10 min behind GitHub's; turn on NTP; the bridge uses GitHub's "
            "clock, but times in logs are wrong, and TLS fails if the error grows"
        },
    ),
    "a permission is missing": (
        set_app(permissions={"actions": "read", "metadata": "read", "organization_self_hosted_runners": "read"}),
        {
            "github.permission organization_self_hosted_runners": "granted read, needs write; grant it in the "
            "settings of the App emulated, then accept it at {url}/organizations/acme/settings/installations/777"
        },
    ),
    "lost jobs cannot be re-run": (
        route("rerun_lost_jobs = 1"),
        {
            "github.permission actions": "granted read, needs write; grant it in the settings of the App emulated, "
            "then accept it at {url}/organizations/acme/settings/installations/777"
        },
    ),
    "jobs cannot be read": (
        set_app(permissions={"metadata": "read", "organization_self_hosted_runners": "write"}),
        {
            "github.permission actions": "granted none, needs read; grant it in the settings of the App emulated, "
            "then accept it at {url}/organizations/acme/settings/installations/777"
        },
    ),
    "not installed": (
        set_app(installed=False),
        {
            "github.installation": "the App emulated is not installed on acme; install it at {url}/apps/emulated/"
            "installations/new, or correct GITHUB_ORG or GITHUB_REPOSITORIES"
        },
    ),
    "another organization": (
        set_variables(GITHUB_ORG="elsewhere"),
        {
            "github.installation": "the App emulated is not installed on elsewhere; install it at {url}/apps/emulated/"
            "installations/new, or correct GITHUB_ORG or GITHUB_REPOSITORIES"
        },
    ),
    "suspended": (
        set_app(suspended=True),
        {
            "github.installation": "the installation on acme is suspended; unsuspend it at "
            "{url}/organizations/acme/settings/installations/777"
        },
    ),
    "another installation id": (
        set_variables(GITHUB_APP_INSTALLATION_ID="123"),
        {
            "github.installation": "GITHUB_APP_INSTALLATION_ID is 123, but the installation on acme has the id 777; "
            "set it to 777, or remove it"
        },
    ),
    "a repository is missing": (
        set_variables(GITHUB_REPOSITORIES="acme/web,acme/gone"),
        {
            "github.repositories acme/gone": "the credentials cannot see it, or it is archived; select it at "
            "{url}/organizations/acme/settings/installations/777, or correct its name in the configuration"
        },
    ),
    "a route's repository is missing": (
        route('repositories = ["acme/web", "acme/gone"]'),
        {
            "github.repositories acme/gone": "the credentials cannot see it, or it is archived; select it at "
            "{url}/organizations/acme/settings/installations/777, or correct its name in the configuration"
        },
    ),
    "no repository is selected": (
        set_app(repositories=frozenset()),
        {
            "github.repositories": "the credentials can see no repository; select some at "
            "{url}/organizations/acme/settings/installations/777"
        },
    ),
    "a public repository": (
        public_repository,
        {
            "github.repositories.public": "jobs of public repositories are refused: acme/site; leave it so, or set "
            "allow_public_repositories after you have read who may use your runners in README.md"
        },
    ),
    "the runner group is missing": (
        route('runner_group = "gpus"'),
        {
            "github.group gpu": "acme has no runner group gpus; create it in the organization's settings, under "
            "Actions, Runner groups, or correct runner_group"
        },
    ),
    "the group excludes a repository": (
        closed_group,
        {
            "github.group gpu": "the group gpus does not admit acme/web; select them in the group; or limit "
            "`repositories` of the route: a worker would start and get no job"
        },
    ),
    "the group excludes a repository that is named": (
        closed_group_of_a_named_repository,
        {
            "github.group gpu": "the group gpus does not admit acme/web; select them in the group; or limit "
            "`repositories` of the route: a worker would start and get no job"
        },
    ),
    "the group refuses public repositories": (
        public_route,
        {
            "github.group gpu": "the group Default refuses public repositories: acme/site; allow public repositories "
            "in the group, or remove allow_public_repositories"
        },
    ),
    "the group admits public repositories": (
        public_group,
        {
            "github.group gpu": "the group Default admits public repositories, whose jobs may take runners of the "
            "route; forbid public repositories in the group"
        },
    ),
    "a label typo": (
        queued("self-hosted", "runpod", "gpuu"),
        {
            "route.jobs acme/self-hosted-runpod-gpuu": 'job "train\N{REPLACEMENT CHARACTER}[red]" (id {job}) waits: '
            'route gpu lacks "gpuu"; write "gpu" instead of "gpuu" in runs-on'
        },
    ),
    "a label that no route has, but nearly": (
        queued("runpodd"),
        {
            "route.jobs acme/runpodd": 'job "train\N{REPLACEMENT CHARACTER}[red]" (id {job}) waits: '
            'no route has any of the labels "runpodd"; write "runpod" instead of "runpodd" in runs-on'
        },
    ),
    "a label more than the route has": (
        queued("runpod", "a100"),
        {
            "route.jobs acme/runpod-a100": 'job "train\N{REPLACEMENT CHARACTER}[red]" (id {job}) waits: '
            'route gpu lacks "a100"; correct runs-on, or add the label to route gpu'
        },
    ),
    "self-hosted alone": (
        queued("self-hosted"),
        {
            "route.jobs acme/self-hosted": 'job "train\N{REPLACEMENT CHARACTER}[red]" (id {job}) waits: it asks only '
            'for labels that every runner has; add a label of a route, such as "gpu", "runpod", or set '
            "`generic_jobs = true` on a route; nothing, if other runners serve it"
        },
    ),
    "jobs of GitHub's runners are not ours": (queued("ubuntu-latest"), {}),
    "a route is shadowed": (
        route('[[route]]\nname = "second"\nlabels = ["gpu", "runpod"]\nendpoint = "l4"'),
        {
            "route second": "it never gets a job: route gpu has the same labels and comes first; give it a label "
            "that the other does not have, or remove it"
        },
    ),
    "a route contains another": (
        route('[[route]]\nname = "large"\nlabels = ["gpu", "runpod", "big"]\nendpoint = "l4"'),
        {
            "route large": "it has all labels of route gpu: GitHub may give jobs of that route to its runners; "
            "give each route a label that the other does not have"
        },
    ),
    "a token": (pat(), {}),
    "a token without a scope": (
        pat(scopes=("repo",)),
        {
            "github.scope admin:org": "missing; the token's scopes are: repo; add the scope to the token in "
            "GitHub's settings"
        },
    ),
    "a token that expires": (
        pat(days=3),
        {
            "github.token": "GitHub accepts the token; it expires in 3 days; create a new token and set GITHUB_PAT, "
            "or use a GitHub App"
        },
    ),
    "a token that has expired": (
        pat(days=-3),
        {
            "github.token": "GitHub: GET /api/v3/rate_limit: 401 Unauthorized: GitHub rejected the credentials; "
            "check GITHUB_PAT, or the App's client id and key"
        },
    ),
    "GitHub answers with HTML": (
        fault("/app$", "<html>", status=200, headers={"content-type": "text/html"}),
        {"github.app": "GitHub: GET /api/v3/app: 200 OK: unreadable answer (text/html); if you use a proxy, check it"},
    ),
    "the runner groups cannot be listed": (
        fault("/runner-groups$", status=503),
        {
            "github.group": "GitHub: GET /api/v3/orgs/acme/actions/runner-groups: 503 Service Unavailable; "
            "see https://www.githubstatus.com"
        },
    ),
    "the rate limit is reached": (
        fault("/installation/repositories$", status=429, headers={"retry-after": "60"}),
        {"github.repositories": "GitHub: GET /api/v3/installation/repositories: 429 Too Many Requests: rate limit"},
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_one_line_with_its_fix(healthy: Clinic, case: str) -> None:
    breaks, expected = BROKEN[case]
    breaks(healthy)
    job = max(healthy.cloud.github.state.jobs, default=0)
    filled = {
        key: text.replace("{url}", healthy.cloud.github.url).replace("{job}", str(job))
        for key, text in expected.items()
    }
    found = of_ours(healthy)
    if case == "the rate limit is reached":  # its end is a time
        found = {key: text[: len(filled[key])] for key, text in found.items()}
    assert found == filled


def of_ours(made: Clinic) -> dict[str, str]:
    """The troubles with everything but RunPod."""
    found = {key: text for key, text in made.troubles().items() if not key.startswith(("runpod", "endpoint"))}
    return {key: re.sub(r" \(request EMU:\d+\)", "", text) for key, text in found.items()}


def test_a_key_that_is_none_is_a_wrong_configuration(healthy: Clinic) -> None:
    healthy.variables["GITHUB_APP_PRIVATE_KEY"] = "not a key"
    (check,) = healthy.checks(status=2)
    assert (check["id"], check["evidence"], check["fix"]) == (
        "configuration",
        "GITHUB_APP_PRIVATE_KEY: not an RSA private key; give the App's PEM, or base64 of it",
        "correct GITHUB_APP_PRIVATE_KEY",
    )


def test_what_depends_on_a_failed_check_is_skipped(healthy: Clinic) -> None:
    healthy.cloud.github.app.installed = False
    found = {check["id"]: check["evidence"] for check in healthy.checks() if check["status"] == "skipped"}
    why = "the App has no usable installation"
    assert (
        found.items()
        >= dict.fromkeys(("github.permission", "github.repositories", "github.group", "route.jobs"), why).items()
    )


def test_a_github_that_does_not_answer_costs_less_than_a_minute(healthy: Clinic) -> None:
    healthy.cloud.github.faults.add(Fault(method="GET", path="/app$", kind=FaultKind.HANG, times=9, seconds=30))
    began = time.monotonic()
    assert healthy.troubles()["github.app"] == "no answer within 12 s; check the network and the proxy"
    assert time.monotonic() - began < 20


def test_runners_of_single_repositories_need_another_permission_and_no_group(healthy: Clinic) -> None:
    healthy.variables |= {"GITHUB_ORG": "", "GITHUB_REPOSITORIES": "acme/web"}
    assert of_ours(healthy) == {}
    route('runner_group = "gpus"')(healthy)
    assert of_ours(healthy) == {
        "github.group gpu": "runner_group is gpus, but runners of a repository have only the group Default; remove "
        "runner_group, or set GITHUB_ORG"
    }
    healthy.cloud.github.app.permissions = {"actions": "read", "metadata": "read"}
    assert "github.permission administration" in of_ours(healthy)
