"""`[[endpoint]]` tables, the file with the ids, and the names that routes use."""

import os
from pathlib import Path

import pytest

from bridge.config.endpoints import ids_path, read_ids, write_ids
from bridge.config.management import ManagementConfig, load_management
from bridge.config.settings import Config, load
from bridge.core.endpoints import MARK, Cpu, EndpointSettings
from bridge.errors import ConfigError

L4 = """
[[endpoint]]
name = "l4"
image = "ghcr.io/acme/runner:1.0"
gpu = ["AMPERE_24"]
"""
ROUTE = """
[[route]]
name = "gpu"
labels = ["gpu"]
"""
ENVIRONMENT = {"GITHUB_ORG": "Acme", "GITHUB_PAT": "ghp_x", "RUNPOD_API_KEY": "rpa_runtime", "HOME": "/home/someone"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("GITHUB_", "RUNPOD_", "BRIDGE_"))]:
        monkeypatch.delenv(name)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def written(folder: Path, text: str, ids: str | None = None) -> Path:
    path = folder / "bridge.toml"
    path.write_text(text)
    if ids is not None:
        (folder / "bridge.endpoints.toml").write_text(ids)
    return path


def managed(folder: Path, text: str) -> ManagementConfig:
    return load_management(written(folder, text))


def settings(folder: Path, text: str) -> EndpointSettings:
    (only,) = managed(folder, text).wanted
    return only


def test_a_table_becomes_settings_with_our_mark_and_the_defaults(tmp_path: Path) -> None:
    assert settings(tmp_path, L4) == EndpointSettings(
        name="l4",
        image="ghcr.io/acme/runner:1.0",
        gpu=("AMPERE_24",),
        env={MARK: "acme/runpod/l4"},
        timeout=22_320.0,
    )


def test_every_key_is_read(tmp_path: Path) -> None:
    more = """
exclude = ["NVIDIA L4"]
gpu_count = 2
min_cuda = "12.6"
workers_max = 5
workers_min = 1
regions = ["EU-RO-1"]
disk_gb = 40
volumes = ["vol1"]
registry = "reg1"
env = {HF_HOME = "/cache", HF_TOKEN = "{{ RUNPOD_SECRET_hf }}"}
"""
    assert settings(tmp_path, L4 + more) == EndpointSettings(
        name="l4",
        image="ghcr.io/acme/runner:1.0",
        gpu=("AMPERE_24",),
        exclude=("NVIDIA L4",),
        gpu_count=2,
        min_cuda="12.6",
        workers_max=5,
        workers_min=1,
        regions=("EU-RO-1",),
        disk_gb=40,
        volumes=("vol1",),
        registry="reg1",
        env={"HF_HOME": "/cache", "HF_TOKEN": "{{ RUNPOD_SECRET_hf }}", MARK: "acme/runpod/l4"},
        timeout=22_320.0,
    )


def test_cpu_workers(tmp_path: Path) -> None:
    text = '[[endpoint]]\nname = "c"\nimage = "i:1"\ncpu = {flavor = "cpu5c", vcpus = 4}\n'
    assert settings(tmp_path, text).cpu == (Cpu(flavor="cpu5c", vcpus=4),)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (L4 + "gpus = 2", "endpoint.0.gpus: no such setting; did you mean gpu?"),
        (L4 + 'cpu = {flavor = "cpu5c", vcpus = 4}', "endpoint.0: l4 needs either `gpu` or `cpu`"),
        (L4.replace('gpu = ["AMPERE_24"]', ""), "endpoint.0: l4 needs either `gpu` or `cpu`"),
        (L4.replace("AMPERE_24", "NVIDIA L4"), "endpoint.0.gpu.0: must be the id of a GPU pool, such as ADA_24"),
        (L4.replace('"l4"', '"l 4"'), "endpoint.0.name: must be at most 63 letters, digits, ., - and _"),
        (L4 + L4, "endpoint.name: l4 is used twice; give each endpoint its own name"),
        (L4 + "min_cuda = 12.6", "endpoint.0.min_cuda: input should be a valid string"),
        (L4 + 'min_cuda = "12"', "endpoint.0.min_cuda: must be a version in quotes, such as '12.6'"),
        (L4 + 'regions = ["Europe"]', "endpoint.0.regions.0: must be the id of a data center, such as EU-RO-1"),
        (L4 + "workers_min = 4", "endpoint.0: l4: `workers_min` is over `workers_max`; lower it"),
        (L4 + "workers_max = 0", "endpoint.0.workers_max: input should be greater than or equal to 1"),
        (L4 + f'env = {{{MARK} = "x"}}', f"endpoint.0: l4: env.{MARK} is set by the bridge; remove it"),
        (
            '[[endpoint]]\nname = "c"\nimage = "i:1"\ncpu = {flavor = "cpu5c", vcpus = 6}\n',
            "endpoint.0.cpu.vcpus: must be a power of two, such as 4",
        ),
        (
            '[[endpoint]]\nname = "c"\nimage = "i:1"\ngpu_count = 2\ncpu = {flavor = "cpu5c", vcpus = 4}\n',
            "endpoint.0: c has CPU workers; remove `exclude`, `gpu_count` and `min_cuda`",
        ),
    ],
)
def test_a_table_that_cannot_work_is_one_line_with_the_fix(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        managed(tmp_path, text)
    assert str(error.value).removeprefix(f"{tmp_path / 'bridge.toml'}: ") == line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", "hf_abcdefghijkl"),
        ("X", "ghp_abcdefghijklmnop"),
        ("X", "rpa_ABCDEFGH12345"),
        ("X", "https://user:hunter22@proxy.example"),
        ("X", "eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl"),
        ("HF_TOKEN", "anything"),
        ("DB_PASSWORD", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x{{ RUNPOD_SECRET_x }}"),
        ("API_KEY", "{{ RUNPOD_SECRET_ }}"),
    ],
)
def test_a_secret_that_is_written_out_is_refused_and_not_shown(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match="looks like a secret; create a secret in RunPod") as error:
        managed(tmp_path, f"{L4}env = {{{name} = '{value}'}}")
    assert f"env.{name}" in str(error.value)
    assert len(value) == 1 or value not in str(error.value)


@pytest.mark.parametrize(("name", "value"), [("TOKENIZERS_PARALLELISM", "false"), ("HF_HOME", "/runpod-volume/hf")])
def test_an_ordinary_variable_is_accepted(tmp_path: Path, name: str, value: str) -> None:
    assert settings(tmp_path, f"{L4}env = {{{name} = '{value}'}}").env[name] == value


def test_the_timeout_is_the_longest_of_the_routes(tmp_path: Path) -> None:
    route = f'{ROUTE}endpoints = ["l4"]\njob_timeout = 60\nidle_timeout = 60\n'
    short = settings(tmp_path, L4 + route).timeout
    longer = route.replace('"gpu"', '"gpu2"', 1).replace("job_timeout = 60", "job_timeout = 100")
    assert settings(tmp_path, L4 + route + longer).timeout == short + 40


def test_the_management_key_wins_over_the_run_time_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = managed(tmp_path, L4)
    assert (found.key_setting, found.api_key) == ("RUNPOD_API_KEY", "rpa_runtime")
    monkeypatch.setenv("RUNPOD_MANAGEMENT_API_KEY", "rpa_management\n")
    found = managed(tmp_path, L4)
    assert (found.key_setting, found.api_key) == ("RUNPOD_MANAGEMENT_API_KEY", "rpa_management")
    assert {"rpa_management", "rpa_runtime"} <= set(found.secrets())
    assert "rpa_management" not in repr(found)
    monkeypatch.setenv("RUNPOD_MANAGEMENT_API_KEY", "")
    monkeypatch.setenv("RUNPOD_API_KEY", "")
    with pytest.raises(ConfigError, match="RUNPOD_MANAGEMENT_API_KEY: missing"):
        managed(tmp_path, L4)


def test_github_needs_no_credentials_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_PAT")
    monkeypatch.delenv("GITHUB_ORG")
    assert settings(tmp_path, L4).env[MARK] == "-/runpod/l4"


def test_the_file_in_the_working_directory_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, L4)
    monkeypatch.chdir(tmp_path)
    assert load_management(None).path == Path("bridge.toml")
    monkeypatch.chdir("/")
    with pytest.raises(ConfigError, match=r"bridge\.toml: cannot be read"):
        load_management(None)


def test_ids_are_written_and_read(tmp_path: Path) -> None:
    config = tmp_path / "prod.toml"
    assert read_ids(config) == read_ids(None) == {}
    write_ids(config, {"l4": "abc", "a.100": "def"})
    assert ids_path(config) == tmp_path / "prod.endpoints.toml"
    assert read_ids(config) == {"l4": "abc", "a.100": "def"}
    ids_path(config).chmod(0o600)
    write_ids(config, {})
    assert read_ids(config) == {}
    assert ids_path(config).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["prod.endpoints.toml"]


@pytest.mark.parametrize("text", ["[endpoints", "[endpoints]\nl4 = 7", "[other]\nl4 = 'x'", "[endpoints]\nl4 = 'a b'"])
def test_a_damaged_file_with_ids_says_how_to_go_on(tmp_path: Path, text: str) -> None:
    config = written(tmp_path, L4, text)
    with pytest.raises(ConfigError, match="remove it and run `bridge endpoints apply`"):
        read_ids(config)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"b\.endpoints\.toml: cannot be written: No such file or directory"):
        write_ids(tmp_path / "missing" / "b.toml", {"l4": "abc"})


def test_no_endpoint_is_created_for_a_cache_that_has_no_network_volume(tmp_path: Path) -> None:
    route = '[[route]]\nname = "a"\nendpoint = "l4"\ncache = true\n'
    with pytest.raises(ConfigError, match="route a: a cache needs a network volume; add `volumes` to endpoint l4"):
        managed(tmp_path, L4 + route)


def loaded(folder: Path, text: str, ids: str | None = None) -> Config:
    return load(written(folder, text, ids))


def route_endpoint(config: Config) -> str:
    (route,) = config.scope.routes
    return route.endpoints[0]


IDS = '[endpoints]\n"l4" = "abc123"\n'


@pytest.mark.parametrize(
    ("choice", "endpoint"),
    [
        ('endpoints = ["l4"]', "abc123"),
        ('endpoint = "l4"', "abc123"),
        ('endpoints = ["bareid1"]', "bareid1"),
        ('endpoint = "bareid1"', "bareid1"),
    ],
)
def test_a_route_names_an_endpoint_or_gives_a_bare_id(tmp_path: Path, choice: str, endpoint: str) -> None:
    assert route_endpoint(loaded(tmp_path, f"{L4}{ROUTE}{choice}\n", IDS)) == endpoint


def test_a_route_keeps_the_order_of_its_endpoints(tmp_path: Path) -> None:
    (route,) = loaded(tmp_path, f'{L4}{ROUTE}endpoints = ["bareid1", "l4"]\nspill_after = 60\n', IDS).scope.routes
    assert (route.endpoints, route.spill_after) == (("bareid1", "abc123"), 60)


def test_two_names_of_one_endpoint_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"route gpu: endpoints: l4 is there twice; name each endpoint once"):
        loaded(tmp_path, f'{L4}{ROUTE}endpoints = ["l4", "abc123"]\n', IDS)


def test_the_limits_of_managed_endpoints_and_the_quota_are_known(tmp_path: Path) -> None:
    scope = loaded(tmp_path, f'[runpod]\nworker_quota = 7\n{L4}{ROUTE}endpoints = ["bareid1", "l4"]\n', IDS).scope
    assert (dict(scope.workers_max), scope.worker_quota) == ({"abc123": 3}, 7)


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (IDS, {"abc123": "l4"}),
        ('[endpoints]\n"l4" = "abc123"\n"gone" = "def456"\n', {"abc123": "l4", "def456": "gone"}),
        ('[endpoints]\n"l4" = "abc123"\n"old" = "abc123"\n', {"abc123": "l4"}),
        ('[endpoints]\n"l4" = "abc123"\n"a-old" = "abc123"\n', {"abc123": "l4"}),
    ],
)
def test_endpoints_have_the_names_that_apply_has_written_and_bare_ids_have_none(
    tmp_path: Path, ids: str, names: dict[str, str]
) -> None:
    scope = loaded(tmp_path, f'{L4}{ROUTE}endpoints = ["bareid1", "l4"]\n', ids).scope
    assert dict(scope.endpoint_names) == names


def test_a_name_needs_no_table_where_the_ids_are(tmp_path: Path) -> None:
    """As on a server that has a bridge.toml without the tables."""
    assert route_endpoint(loaded(tmp_path, f'{ROUTE}endpoints = ["l4"]\n', IDS)) == "abc123"


@pytest.mark.parametrize(
    ("choice", "line"),
    [
        ('endpoints = ["l4"]', "route gpu: endpoint l4 has no RunPod id yet; run `bridge endpoints apply`"),
        ('endpoints = ["a", "b", "a"]', "route gpu: endpoints: a is there twice; name each endpoint once"),
        ('endpoints = ["l4"]\nendpoint = "x"', "route gpu: has both `endpoint` and `endpoints`; remove `endpoint`"),
        ('endpoints = ["rpa_ABCDEFGH12345"]', "PATH: route.0.endpoints.0: must be at most 63 letters"),
        ('endpoints = ["a_b"]', "route gpu: endpoint a_b is neither an [[endpoint]] nor a RunPod id; correct it"),
    ],
)
def test_a_route_without_one_known_endpoint_is_refused(tmp_path: Path, choice: str, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, f"{L4}{ROUTE}{choice}\n")
    assert str(error.value).replace(str(tmp_path / "bridge.toml"), "PATH").startswith(line)
    assert "rpa_ABC" not in str(error.value)
