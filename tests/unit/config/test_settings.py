"""The configuration: which settings work, and the error line for those that do not."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from bridge import database_url
from bridge.commands.composition import composed
from bridge.config.credentials import App, Pat
from bridge.config.environment import Environment
from bridge.config.file import File
from bridge.config.settings import Config, load
from bridge.core.worker import Credentials
from bridge.errors import ConfigError

MINIMAL = {
    "GITHUB_ORG": "acme",
    "GITHUB_PAT": "ghp_secret",
    "RUNPOD_API_KEY": "rp_secret",
    "RUNPOD_ENDPOINT_ID": "ep-1",
}

CACHES = {"none": "", "usual": "cache = true", "small": "cache = true\ncache_gb = 0.5"}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("GITHUB_", "RUNPOD_", "BRIDGE_", "XDG_")):
            monkeypatch.delenv(name)


def loaded(monkeypatch: pytest.MonkeyPatch, path: Path | None = None, **variables: str) -> Config:
    for name, value in (MINIMAL | variables).items():
        monkeypatch.setenv(name, value)
    return load(path)


def refused(monkeypatch: pytest.MonkeyPatch, path: Path | None = None, **variables: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(monkeypatch, path, **variables)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "bridge.toml"
    path.write_text(text)
    return path


def test_the_environment_alone_configures_one_route(monkeypatch: pytest.MonkeyPatch) -> None:
    config = loaded(monkeypatch, XDG_STATE_HOME="/state")
    (route,) = config.scope.routes
    assert (config.scope.owner, config.scope.organisation) == ("acme", "acme")
    assert (route.labels, route.endpoints, route.max_workers) == ({"runpod", "gpu"}, ("ep-1",), 3)
    assert route.credentials is Credentials.JIT
    assert config.database_url == "sqlite:////state/runpod-actions-bridge/ledger.sqlite3"


def test_without_an_organisation_runners_register_at_each_listed_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    config = loaded(monkeypatch, GITHUB_ORG="", GITHUB_REPOSITORIES="acme/web, acme/api")
    assert (config.scope.owner, config.scope.organisation) == ("acme", None)
    assert config.scope.repositories == ("acme/web", "acme/api")


def test_an_app_wins_over_a_personal_access_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("PEM")
    config = loaded(
        monkeypatch,
        GITHUB_APP_CLIENT_ID="Iv1.abc",
        GITHUB_APP_PRIVATE_KEY_FILE=str(key),
        GITHUB_APP_INSTALLATION_ID="7",
    )
    assert config.github == App(
        issuer="Iv1.abc",
        private_key="PEM",
        private_key_setting="GITHUB_APP_PRIVATE_KEY_FILE",
        installation_id=7,
    )


def test_the_file_adds_routes_and_the_environment_wins_over_its_values(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = toml(
        tmp_path,
        """
        [bridge]
        prefix = "filed"
        max_workers = 9
        [github]
        app_id = 12
        [[route]]
        name = "big"
        labels = ["RunPod", "A100"]
        endpoint = "ep-big"
        credentials = "registration"
        repositories = ["acme/Web"]
        job_timeout = 60
        [[route]]
        name = "rest"
        """,
    )
    config = loaded(monkeypatch, path, BRIDGE_PREFIX="ours", GITHUB_APP_PRIVATE_KEY="PEM")
    big, rest = config.scope.routes
    assert config.scope.prefix == "ours"
    assert config.github == App(issuer="12", private_key="PEM", installation_id=None)
    assert (big.labels, big.endpoints, big.job_timeout) == ({"runpod", "a100"}, ("ep-big",), 60)
    assert (big.credentials, big.repositories) == (Credentials.REGISTRATION, {"acme/web"})
    assert (rest.labels, rest.endpoints, rest.max_workers) == ({"runpod", "gpu"}, ("ep-1",), 9)


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"GITHUB_ORG": ""}, "GITHUB_ORG: missing; set it, or GITHUB_REPOSITORIES=owner/name,..."),
        ({"RUNPOD_API_KEY": ""}, "RUNPOD_API_KEY: missing; set it to a key that may use the endpoints"),
        ({"RUNPOD_ENDPOINT_ID": ""}, "RUNPOD_ENDPOINT_ID: missing; set it, or `endpoint` in route default"),
        ({"GITHUB_APP_ID": "1"}, "GITHUB_APP_PRIVATE_KEY: missing; set it, or GITHUB_APP_PRIVATE_KEY_FILE"),
        ({"GITHUB_APP_PRIVATE_KEY": "PEM"}, "GITHUB_APP_CLIENT_ID: missing; set it to the App's client id"),
        (
            {"GITHUB_ORG": "", "GITHUB_REPOSITORIES": "a/b,c/d"},
            "GITHUB_REPOSITORIES: more than one owner (a, c); run one bridge for each owner",
        ),
        (
            {"GITHUB_REPOSITORIES": "other/x"},
            "GITHUB_REPOSITORIES: other is not GITHUB_ORG; run one bridge for each owner",
        ),
        (
            {"GITHUB_APP_PRIVATE_KEY_FILE": "/no/such/key"},
            "GITHUB_APP_PRIVATE_KEY_FILE: /no/such/key: cannot be read: No such file or directory; "
            "set it to the path of the App's key (PEM)",
        ),
        (
            {"GITHUB_APP_PRIVATE_KEY_FILE": "~nosuchuser/key.pem"},
            "GITHUB_APP_PRIVATE_KEY_FILE: ~nosuchuser/key.pem: cannot be read: there is no such user; "
            "set it to the path of the App's key (PEM)",
        ),
        (
            {"GITHUB_APP_PRIVATE_KEY_FILE": "/dev/null"},
            "GITHUB_APP_PRIVATE_KEY_FILE: /dev/null: the file is empty; set it to the path of the App's key (PEM)",
        ),
    ],
)
def test_a_missing_or_contradictory_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], line: str
) -> None:
    assert refused(monkeypatch, None, **variables) == line


@pytest.mark.parametrize(
    ("variables", "key"),
    [
        ({"BRIDGE_MAX_WORKERS": "0"}, "BRIDGE_MAX_WORKERS"),
        ({"BRIDGE_MAX_WORKERS": "many"}, "BRIDGE_MAX_WORKERS"),
        ({"BRIDGE_PREFIX": "Has Space"}, "BRIDGE_PREFIX"),
        ({"BRIDGE_LABELS": "x" * 300}, "BRIDGE_LABELS"),
        ({"BRIDGE_MAX_WORKER": "2"}, "BRIDGE_MAX_WORKER"),
        ({"GITHUB_API_URL": "api.github.com"}, "GITHUB_API_URL"),
        ({"GITHUB_APP_INSTALLATION_ID": "seven"}, "GITHUB_APP_INSTALLATION_ID"),
        ({"GITHUB_REPOSITORIES": "acme"}, "GITHUB_REPOSITORIES"),
        ({"RUNPOD_ENDPOINT_ID": "ep/../1"}, "RUNPOD_ENDPOINT_ID"),
        ({"BRIDGE_DATABASE_URL": "garbage"}, "BRIDGE_DATABASE_URL"),
    ],
)
def test_an_error_names_the_variable_with_the_invalid_value(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], key: str
) -> None:
    assert refused(monkeypatch, None, **variables).startswith(key)


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("GITHUB_ORG", "a cme", "the name of an organisation, such as acme"),
        ("GITHUB_REPOSITORIES", "acme", "owner/name, such as acme/web"),
        ("GITHUB_API_URL", "api.github.com", "a URL such as https://HOST/PATH"),
        ("GITHUB_APP_ID", "Iv1.abc", "a number"),
        ("RUNPOD_ENDPOINT_ID", "ep/../1", "an endpoint id: at most 32 letters, digits and -"),
        ("GITHUB_APP_CLIENT_ID", "S" * 40, "the App's client id, such as Iv23liExample"),
        ("BRIDGE_PREFIX", "-x", "at most 24 characters: a-z, 0-9 and -, with no - at the start or the end"),
        ("BRIDGE_LABELS", "x" * 300, "a label of at most 256 characters, without a comma"),
    ],
)
def test_an_error_says_in_words_what_a_value_must_be(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str, wanted: str
) -> None:
    assert (
        refused(monkeypatch, None, **{key: value}).removeprefix(f"{key}.0:").removeprefix(f"{key}:")
        == f" must be {wanted}"
    )


@pytest.mark.parametrize("key", ["GITHUB_API_URL", "RUNPOD_ENDPOINT_BASE_URL", "BRIDGE_PUBLIC_URL"])
@pytest.mark.parametrize(
    "address",
    [
        "http://[::1",
        "http://[::1]x",
        "http://h:99999",
        "http://h:0",
        "http://h:x",
        "http://a..b",
        "http://@",
        "https://me:secret@h",
        "ftp://h",
    ],
)
def test_an_unusable_url_is_refused(monkeypatch: pytest.MonkeyPatch, key: str, address: str) -> None:
    assert refused(monkeypatch, None, **{key: address}) == f"{key}: must be a URL such as https://HOST/PATH"


@pytest.mark.parametrize(
    ("web", "api"),
    [
        ("https://github.com", "https://api.github.com"),
        ("https://acme.ghe.com", "https://api.acme.ghe.com"),
        ("https://ghes.example:8443", "https://ghes.example:8443/api/v3"),
        ("http://127.0.0.1:4000", "http://127.0.0.1:4000/api/v3"),
    ],
)
def test_githubs_web_address_follows_from_its_api_url(monkeypatch: pytest.MonkeyPatch, web: str, api: str) -> None:
    assert loaded(monkeypatch, GITHUB_API_URL=api).scope.web_url == web


@pytest.mark.parametrize("address", ["http://[::1]:8080/api/v3", "https://api.runpod.ai/v2", "http://localhost:1"])
def test_a_url_is_used_as_given(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    assert loaded(monkeypatch, GITHUB_API_URL=address).github_api_url == address


def test_a_key_in_the_setting_for_its_path_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ("-----BEGIN RSA PRIVATE KEY-----\nMIIsecret\n", "MIIsecret", "MIIsecret" * 500, "/MIIsecret" * 500)
    for key in (*keys, "/MIIsecret+/a=", "./ghp_MIIsecret", "rpa_MIIsecret.pem"):
        assert "MIIsecret" not in refused(monkeypatch, GITHUB_APP_PRIVATE_KEY_FILE=key)


def test_an_invalid_key_is_reported_for_the_setting_that_it_comes_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "key.pem"
    path.write_text("no key")
    file = loaded(monkeypatch, GITHUB_APP_CLIENT_ID="Iv1.abc", GITHUB_APP_PRIVATE_KEY_FILE=str(path))
    variable = loaded(monkeypatch, GITHUB_APP_CLIENT_ID="Iv1.abc", GITHUB_APP_PRIVATE_KEY="no key")
    assert error_of_composing(file).startswith("GITHUB_APP_PRIVATE_KEY_FILE: not an RSA private key; ")
    assert error_of_composing(variable).startswith("GITHUB_APP_PRIVATE_KEY: not an RSA private key; ")


def error_of_composing(config: Config) -> str:
    """The error of building a bridge from this configuration."""

    async def main() -> None:
        async with composed(config, dry_run=True):
            pass

    with pytest.raises(ConfigError) as caught:
        asyncio.run(main())
    return str(caught.value)


def test_files_may_start_with_a_byte_order_mark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("\ufeffPEM", encoding="utf-8")
    path = toml(tmp_path, f"\ufeff[github]\napp_private_key_file = '{key}'\napp_id = 1")
    assert loaded(monkeypatch, path).secrets()[0] == "PEM"


SECRETS = {
    "GITHUB_PAT": "GITHUB_APP_CLIENT_ID: missing; ",
    "RUNPOD_API_KEY": "RUNPOD_API_KEY: missing; ",
    "BRIDGE_CALLBACK_KEY": "BRIDGE_CALLBACK_KEY: missing; ",
    "GITHUB_APP_CLIENT_ID": "GITHUB_APP_CLIENT_ID: missing; ",
    "GITHUB_APP_PRIVATE_KEY": "GITHUB_APP_PRIVATE_KEY: missing; ",
}
OTHERS = {
    "BRIDGE_CALLBACK_KEY": {"BRIDGE_PUBLIC_URL": "https://bridge"},
    "GITHUB_APP_CLIENT_ID": {"GITHUB_APP_PRIVATE_KEY": "PEM"},
    "GITHUB_APP_PRIVATE_KEY": {"GITHUB_APP_CLIENT_ID": "Iv1.abc"},
}


@pytest.mark.parametrize("key", SECRETS)
def test_a_blank_secret_counts_as_missing(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    assert refused(monkeypatch, None, **OTHERS.get(key, {}), **{key: " \n"}).startswith(SECRETS[key])


@pytest.mark.parametrize("key", [*SECRETS, "GITHUB_WEBHOOK_SECRET"])
def test_whitespace_around_secrets_is_stripped(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    others = {"BRIDGE_CALLBACK_KEY": "k" * 16, "BRIDGE_PUBLIC_URL": "https://bridge"} | OTHERS.get(key, {})
    value = "Iv23liExample123" if key == "GITHUB_APP_CLIENT_ID" else "s" * 16
    config = loaded(monkeypatch, None, **others | {key: f" {value}\n"})
    assert f"'{value}'" in str([getattr(config.github, "issuer", ""), *config.secrets()])


@pytest.mark.parametrize("key", ["GITHUB_PAT", "RUNPOD_API_KEY", "BRIDGE_CALLBACK_KEY", "GITHUB_APP_CLIENT_ID"])
@pytest.mark.parametrize("value", ["sécret", "sec\nret", "sec\x7fret", "sec\udcffret"])
def test_a_secret_with_characters_that_headers_cannot_carry_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str
) -> None:
    line = refused(monkeypatch, None, **{key: value})
    assert line.startswith(f"{key}: must contain only printable")
    assert "ret" not in line


def test_a_webhook_secret_may_have_any_printable_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ("schlüssel-" * 2, "zweiter " * 2 + "'")
    assert loaded(monkeypatch, GITHUB_WEBHOOK_SECRET=", ".join(given)).webhook_secrets == given
    assert refused(monkeypatch, GITHUB_WEBHOOK_SECRET="a\nb").startswith(
        "GITHUB_WEBHOOK_SECRET: must contain only printable"
    )


@pytest.mark.parametrize("value", ["x", "x" * 15, f"{'x' * 16},short"])
def test_a_short_webhook_secret_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    why = "shorter than 16 characters; create one with `openssl rand -hex 32`"
    assert refused(monkeypatch, GITHUB_WEBHOOK_SECRET=value) == f"GITHUB_WEBHOOK_SECRET: {why}"


RUNPOD_KEY = "rpa_ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
GITHUB_TOKEN = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"


@pytest.mark.parametrize("value", [RUNPOD_KEY, GITHUB_TOKEN, "github_pat_11ABC_xyz", "-----BEGIN RSA PRIVATE KEY-----"])
@pytest.mark.parametrize(
    "key",
    sorted(
        name.upper()
        for name in Environment.model_fields
        if name
        not in (
            "bridge_config",
            "github_app_private_key",
            "github_app_private_key_file",
            "github_pat",
            "runpod_api_key",
            "runpod_management_api_key",
        )
    ),
)
def test_a_key_in_another_setting_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str
) -> None:
    line = refused(monkeypatch, None, **{key: value})
    assert line.startswith(key)
    assert value not in line


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_missing_trusted_certificates_are_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    variables: dict[str, Any] = {name: "/no/such.pem"}
    assert refused(monkeypatch, **variables) == f"{name}: /no/such.pem does not exist; correct or unset it"


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        (
            "RUNPOD_API_KEY",
            GITHUB_TOKEN,
            "RUNPOD_API_KEY: contains a GitHub token; check that settings are not swapped",
        ),
        ("GITHUB_PAT", RUNPOD_KEY, "GITHUB_PAT: contains a RunPod API key; check that settings are not swapped"),
        (
            "RUNPOD_ENDPOINT_ID",
            RUNPOD_KEY,
            "RUNPOD_ENDPOINT_ID: must be an endpoint id: at most 32 letters, digits and -; this is a RunPod API key",
        ),
    ],
)
def test_swapped_settings_are_reported_as_swapped(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str, line: str
) -> None:
    assert refused(monkeypatch, None, **{key: value}) == line


@pytest.mark.parametrize("value", ["rpa_...", "rpa_", "rpa_xxxxxxxx", "<key>", "rpa_ab...cd"])
def test_the_placeholder_of_an_example_is_no_key(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    why = "RUNPOD_API_KEY: is a placeholder; create a key in RunPod's console under Settings, API Keys"
    assert refused(monkeypatch, RUNPOD_API_KEY=value) == why


@pytest.mark.parametrize(
    ("name", "fix"),
    [("BRIDGE_LABEL", "did you mean BRIDGE_LABELS?"), ("BRIDGE_COLOUR", "the settings are BRIDGE_ALLOW_FORKS, ")],
)
def test_a_misspelt_variable_is_refused_with_the_likely_name(
    monkeypatch: pytest.MonkeyPatch, name: str, fix: str
) -> None:
    assert f"{name}: no such setting; {fix}" in refused(monkeypatch, None, **{name: "x"})


@pytest.mark.parametrize("table", ["name = 'KEY'", "name = 'a'\nrunner_group = 'KEY'", "name = 'a'\nendpoint = 'KEY'"])
def test_a_key_in_a_route_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, table: str) -> None:
    line = refused(monkeypatch, toml(tmp_path, f"[[route]]\n{table.replace('KEY', RUNPOD_KEY)}"))
    assert "this is a RunPod API key" in line
    assert RUNPOD_KEY not in line


@pytest.mark.parametrize("quote", ["'", '"'])
def test_keys_may_be_in_the_quotes_that_docker_keeps(monkeypatch: pytest.MonkeyPatch, quote: str) -> None:
    config = loaded(monkeypatch, RUNPOD_API_KEY=f"{quote}{RUNPOD_KEY}{quote}\n")
    assert config.runpod_api_key == RUNPOD_KEY
    why = "GITHUB_WEBHOOK_SECRET: is in quotes, and `docker run --env-file` keeps them; remove the quotes"
    assert refused(monkeypatch, GITHUB_WEBHOOK_SECRET=f"{quote}{'x' * 32}{quote}") == why


@pytest.mark.parametrize("key", ["GITHUB_API_URL", "RUNPOD_ENDPOINT_BASE_URL"])
@pytest.mark.parametrize(
    "host", ["github.example.org", "10.0.0.1", "[fe80::1]", "localhost.example.org", "127.0.0.1.nip.io"]
)
def test_a_key_is_not_sent_unencrypted(monkeypatch: pytest.MonkeyPatch, key: str, host: str) -> None:
    why = "must begin with https://; otherwise a key would be sent unencrypted"
    assert refused(monkeypatch, None, **{key: f"http://{host}/v2"}) == f"{key}: {why}"
    for local in ("127.0.0.1", "127.9.9.9", "[::1]", "localhost"):
        loaded(monkeypatch, None, **{key: f"http://{local}:8080/v2"})
    loaded(monkeypatch, None, **{key: f"https://{host}/v2"})


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://bridge:db_secret@host/db",
        "postgresql://host/db?password=db_secret",
        "postgresql:///?sslpassword=db_secret",
    ],
)
def test_a_database_password_comes_from_the_environment_and_is_masked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str
) -> None:
    assert loaded(monkeypatch, BRIDGE_DATABASE_URL=url).secrets()[-1] == "db_secret"
    monkeypatch.delenv("BRIDGE_DATABASE_URL")
    line = refused(monkeypatch, toml(tmp_path, f"[bridge]\ndatabase_url = '{url}'"))
    assert "bridge.toml: bridge.database_url: must not contain a password; use BRIDGE_DATABASE_URL" in line
    assert "db_secret" not in line


@pytest.mark.parametrize("state", ["/a?b", "/a%41", "/a#b", "/a b"])
def test_the_ledgers_folder_may_have_any_name(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    url = loaded(monkeypatch, XDG_STATE_HOME=state).database_url
    assert database_url.parse(url).database == f"{state}/runpod-actions-bridge/ledger.sqlite3"


def test_a_machine_without_a_home_directory_needs_a_database_url(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert refused(monkeypatch).startswith("BRIDGE_DATABASE_URL: missing; set it")
    assert loaded(monkeypatch, BRIDGE_DATABASE_URL="sqlite://").database_url == "sqlite://"


@pytest.mark.parametrize("through", ["option", "variable"])
def test_the_files_path_may_start_with_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, through: str) -> None:
    toml(tmp_path, "[bridge]\nprefix = 'filed'")
    monkeypatch.setenv("HOME", str(tmp_path))
    path = "~/bridge.toml"
    config = loaded(monkeypatch, Path(path)) if through == "option" else loaded(monkeypatch, BRIDGE_CONFIG=path)
    assert config.scope.prefix == "filed"
    assert (
        refused(monkeypatch, Path("~nosuchuser/b.toml")) == "~nosuchuser/b.toml: cannot be read: there is no such user"
    )


def test_a_file_in_the_working_directory_is_read_unless_another_one_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert loaded(monkeypatch).scope.prefix == "runpod"
    toml(tmp_path, "[bridge]\nprefix = 'here'")
    other = tmp_path / "other.toml"
    other.write_text("[bridge]\nprefix = 'other'")
    assert loaded(monkeypatch).scope.prefix == "here"
    assert loaded(monkeypatch, other).scope.prefix == "other"
    assert loaded(monkeypatch, BRIDGE_CONFIG=str(other)).scope.prefix == "other"
    (tmp_path / "bridge.toml").unlink()
    assert refused(monkeypatch, Path("bridge.toml")) == "bridge.toml: cannot be read: No such file or directory"


def test_a_repository_with_two_spellings_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    config = loaded(monkeypatch, GITHUB_ORG="", GITHUB_REPOSITORIES="Acme/Web,acme/api,acme/web")
    assert (config.scope.owner, config.scope.repositories) == ("Acme", ("Acme/Web", "acme/api"))


def test_a_route_for_a_repository_of_another_owner_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = toml(tmp_path, "[[route]]\nname = 'a'\nrepositories = ['Acme/web', 'other/x']")
    assert (
        refused(monkeypatch, path)
        == "route a: repositories: other/x does not belong to acme; run one bridge for each owner"
    )


def test_a_route_can_have_a_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = "\n".join(f"[[route]]\nname = '{name}'\n{more}" for name, more in CACHES.items())
    routes = loaded(monkeypatch, toml(tmp_path, text)).scope.routes
    assert [(route.cache, route.cache_gb) for route in routes] == [(False, 50.0), (True, 50.0), (True, 0.5)]


def test_the_size_of_a_cache_that_is_off_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = toml(tmp_path, "[[route]]\nname = 'a'\ncache_gb = 50")
    assert refused(monkeypatch, path) == "route a: cache_gb has no effect without `cache = true`"


def test_a_cache_needs_a_network_volume(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    endpoint = "[[endpoint]]\nname = 'l4'\nimage = 'i:1'\ngpu = ['ADA_24']\n"
    (tmp_path / "bridge.endpoints.toml").write_text('[endpoints]\nl4 = "abc123"\n')
    for key in ("endpoint = 'l4'", "endpoints = ['l4']"):
        route = f"[[route]]\nname = 'a'\n{key}\ncache = true\n"
        line = "route a: a cache needs a network volume; add `volumes` to endpoint l4"
        assert refused(monkeypatch, toml(tmp_path, f"{endpoint}{route}")) == line
        path = toml(tmp_path, f"{endpoint}volumes = ['vol1']\n{route}")
        assert loaded(monkeypatch, path).scope.routes[0].cache


def test_labels_that_every_runner_has_are_dropped_from_a_route(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = toml(
        tmp_path, "[[route]]\nname = 'a'\nlabels = ['Self-Hosted', 'Linux', 'X64', 'A100']\n[[route]]\nname = 'b'"
    )
    written, common = loaded(monkeypatch, path, BRIDGE_LABELS="self-hosted,gpu").scope.routes
    assert (written.labels, common.labels) == ({"a100"}, {"gpu"})


@pytest.mark.parametrize("labels", [",", " ", "self-hosted, LINUX"])
def test_a_route_without_a_label_of_its_own_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, labels: str
) -> None:
    why = "needs at least one label other than self-hosted, linux, x64, which every runner has"
    assert refused(monkeypatch, BRIDGE_LABELS=labels) == f"BRIDGE_LABELS: {why}"
    monkeypatch.delenv("BRIDGE_LABELS")
    assert refused(monkeypatch, toml(tmp_path, "[bridge]\nlabels = []")) == f"BRIDGE_LABELS: {why}"
    path = toml(tmp_path, "[[route]]\nname = 'a'\nlabels = ['x64']")
    assert refused(monkeypatch, path) == f"route a: labels: {why}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[[route]]\nname = 'a'\nlabel = ['x']", "route.0.label: no such setting; did you mean labels?"),
        ("[[route]]\nname = 'a'\njob_timeout = -1", "route.0.job_timeout: "),
        ("[[route]]\nname = 'a'\njob_timeout = nan", "route.0.job_timeout: "),
        ("[[route]]\nname = 'a'\ncache = true\ncache_gb = 0", "route.0.cache_gb: "),
        ("[[route]]\nname = 'a'\ncache = true\ncache_gb = nan", "route.0.cache_gb: "),
        ("[[route]]\nname = 'a'\ncache = true\ncache_gb = inf", "route.0.cache_gb: "),
        ("[[route]]\nname = 'a'\ncredentials = 'magic'", "route.0.credentials: "),
        ("[[route]]\nname = 'a'\nlabels = []", "route.0.labels: "),
        ("[[route]]\nname = 'a'\nlabels = ['a,b']", "route.0.labels.0: "),
        ("[github]\npat = 'ghp_x'", "github.pat: no such setting; remove it or correct its spelling"),
        (
            "[github]\napp_private_key = 'PEM'",
            "github.app_private_key: no such setting; did you mean app_private_key_file?",
        ),
        ("[runpod]\napi_key = 'rp_x'", "runpod.api_key: no such setting; remove it or correct its spelling"),
        ("[bridge]\nmax_worker = 3", "bridge.max_worker: no such setting; did you mean max_workers?"),
        ("[[routes]]\nname = 'a'", "routes: no such setting; did you mean route?"),
        ("x = ", "not valid TOML"),
        ("[github]\napp_id = " + "9" * 5000, "not valid TOML"),
        ("x = " + "[" * 5000, "not valid TOML"),
    ],
)
def test_a_bad_key_or_value_in_the_file_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, line: str
) -> None:
    assert f"bridge.toml: {line}" in refused(monkeypatch, toml(tmp_path, text))


@pytest.mark.parametrize(
    ("route", "why"),
    [
        ("queue_timeout = 90000", "queue_timeout is over 86400 s"),
        ("job_timeout = 604800", "RunPod keeps a request for at most 604800 s"),
    ],
)
def test_times_longer_than_github_or_runpod_allow_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, route: str, why: str
) -> None:
    assert why in refused(monkeypatch, toml(tmp_path, f"[[route]]\nname = 'a'\n{route}"))


def test_two_routes_with_one_name_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = toml(tmp_path, "[[route]]\nname = 'a'\n[[route]]\nname = 'a'")
    assert refused(monkeypatch, path) == "route.name: a is used twice; give each route its own name"


def test_no_repr_and_no_error_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    config = loaded(monkeypatch)
    assert config.github == Pat(token="ghp_secret")
    assert config.secrets() == ("ghp_secret", "rp_secret")
    assert "secret" not in repr(config)
    assert "secret" not in refused(monkeypatch, GITHUB_APP_INSTALLATION_ID="ghp_secret")


def test_every_setting_is_documented() -> None:
    settings = (Path(__file__).parents[3] / "docs" / "settings.md").read_text()
    for name in Environment.model_fields:
        assert f"`{name.upper()}`" in settings
    for table, model in File.model_fields.items():
        shape: Any = model.annotation
        fields = getattr(shape, "model_fields", None) or shape.__args__[0].model_fields
        for key in fields:
            assert f"`{table}.{key}`" in settings, f"{table}.{key} is not in docs/settings.md"


DASHBOARD_TOKEN = "a token that is long enough"


def test_without_settings_nobody_can_sign_in_to_the_dashboard(monkeypatch: pytest.MonkeyPatch) -> None:
    found = loaded(monkeypatch).dashboard
    assert (found.token, found.client_secret, found.teams, found.secrets()) == (None, None, (), ())


def test_the_dashboards_settings_come_from_the_environment_and_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = toml(tmp_path, '[dashboard]\nclient_id = "Iv23liOther"\nteams = ["gpu", "platform-team"]\n')
    config = loaded(
        monkeypatch,
        path,
        BRIDGE_DASHBOARD_TOKEN=DASHBOARD_TOKEN,
        BRIDGE_DASHBOARD_SECRET="a secret that is long enough",
        BRIDGE_DASHBOARD_CLIENT_SECRET="0123456789abcdef0123",
        BRIDGE_PUBLIC_URL="https://bridge.example.org",
        BRIDGE_CALLBACK_KEY="a key that all copies share",
    )
    found = config.dashboard
    assert (found.client_id, found.teams) == ("Iv23liOther", ("gpu", "platform-team"))
    assert set(found.secrets()) == {DASHBOARD_TOKEN, "a secret that is long enough", "0123456789abcdef0123"}
    assert set(found.secrets()) <= set(config.secrets())
    assert not any(secret in repr(config) for secret in found.secrets())


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        (
            {"BRIDGE_DASHBOARD_TOKEN": "short"},
            "BRIDGE_DASHBOARD_TOKEN: shorter than 16 characters; create one with `openssl rand -hex 32`",
        ),
        (
            {"BRIDGE_DASHBOARD_SECRET": "short"},
            "BRIDGE_DASHBOARD_SECRET: shorter than 16 characters; create one with `openssl rand -hex 32`",
        ),
        (
            {"BRIDGE_DASHBOARD_CLIENT_SECRET": "short"},
            "BRIDGE_DASHBOARD_CLIENT_SECRET: shorter than 16 characters; copy it from the App's page",
        ),
        (
            {"BRIDGE_DASHBOARD_CLIENT_SECRET": "0123456789abcdef0123"},
            "BRIDGE_DASHBOARD_CLIENT_ID: missing; set it to the client id of the App",
        ),
        (
            {"BRIDGE_DASHBOARD_CLIENT_SECRET": "0123456789abcdef0123", "BRIDGE_DASHBOARD_CLIENT_ID": "Iv23liExample"},
            "BRIDGE_PUBLIC_URL: missing; BRIDGE_DASHBOARD_CLIENT_SECRET needs it",
        ),
        (
            {"BRIDGE_DASHBOARD_TEAMS": "gpu"},
            "BRIDGE_DASHBOARD_CLIENT_SECRET: missing; BRIDGE_DASHBOARD_TEAMS needs it",
        ),
        (
            {"BRIDGE_DASHBOARD_TEAMS": "acme/gpu"},
            "BRIDGE_DASHBOARD_TEAMS.0: must be a team's name as in its address, such as platform-team",
        ),
    ],
)
def test_a_dashboard_setting_that_cannot_work_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], line: str
) -> None:
    assert refused(monkeypatch, None, **variables) == line
