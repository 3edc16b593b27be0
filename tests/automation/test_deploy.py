"""The files in deploy/ are valid for the tools that read them, and name what this version of the bridge has."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

import bridge
from bridge.commands.app import app
from bridge.commands.dispatch import ADDRESS
from bridge.config.environment import Environment
from bridge.config.settings import load
from tests.support import ROOT

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
UNITS = sorted((DEPLOY / "systemd").glob("bridge*"))
SERVICES = ["bridge.service", "bridge-pass.service"]
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
MANIFESTS = sorted(path for path in KUBERNETES.glob("*.yaml") if path.name != "kustomization.yaml")
OLDEST_KUBERNETES = "1.32"
STATE = "/var/lib/runpod-actions-bridge"
SECRETS = {"GITHUB_WEBHOOK_SECRET": "n" * 32, "BRIDGE_CALLBACK_KEY": "c" * 32, "RUNPOD_API_KEY": "rpa_" + "A1" * 20}
"""What `bridge setup` writes to secrets.env."""


def tool(*names: str) -> str:
    """The path of the first of these programs that is installed. Without any, the test is skipped."""
    found = next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.skip(f"{' or '.join(names)} is not installed")
    return found


def checked(*command: str | Path, folder: Path = DEPLOY, **variables: str) -> str:
    """The output of a command that must succeed."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def texts() -> dict[str, str]:
    return {str(path.relative_to(DEPLOY)): path.read_text() for path in DEPLOY.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of deploy/ and deploy/kubernetes/ with the files that `bridge setup` writes."""
    for source in (DEPLOY, KUBERNETES):
        for path in source.glob("*"):
            if path.is_file():
                shutil.copy(path, tmp_path)
    shutil.copy(ROOT / "docs" / "examples" / "bridge.toml", tmp_path)
    (tmp_path / "app.pem").write_text("a key")
    url = "BRIDGE_DATABASE_URL=postgresql+psycopg://bridge:secret@db.example.org/bridge?sslmode=require"
    lines = ["# written by `bridge setup`", *(f"{name}={value}" for name, value in SECRETS.items()), url, ""]
    (tmp_path / "secrets.env").write_text("\n".join(lines))
    return tmp_path


# What all have in common


def test_every_variable_is_a_setting() -> None:
    known = {name.upper() for name in Environment.model_fields}
    for name, text in texts().items():
        named = set(re.findall(r"(?<!\$\{)\b(?:BRIDGE|GITHUB|RUNPOD)_[A-Z_]+", text)) - {"BRIDGE_PORT"}
        assert named <= known, name


def test_every_image_of_ours_has_this_version() -> None:
    """BASE_IMAGE and third parties' images are pinned by their own tags."""
    pages = {path.name: path.read_text() for path in (ROOT / "docs").glob("*.md")}
    named = [
        match
        for text in (texts() | pages).values()
        for match in re.findall(r"runpod-actions-bridge(?:/bridge)?:v?(\d\S*\d)|newTag: v(\S+)", text)
    ]
    assert len(named) > 3
    assert {first or second for first, second in named} == {bridge.__version__}


def test_every_port_and_path_is_one_of_the_service() -> None:
    said = "\n".join(texts().values())
    port = ADDRESS.rpartition(":")[2]
    assert set(re.findall(r"\b8\d{3}\b", said)) == {port}
    routes = (ROOT / "bridge" / "service" / "http.py").read_text()
    assert {
        path for path in re.findall(r"(?<![\w.])/(?:\w+z|metrics|webhook|runpod)\b", said) if path not in routes
    } == set()


def commands() -> dict[str, list[str]]:
    """The words after `bridge` in each place that starts it."""
    found = {}
    for name in SERVICES:
        unit = (DEPLOY / "systemd" / name).read_text()
        found[name] = shlex.split(re.findall(r"^ExecStart=/opt/bridge/bin/bridge (.*)$", unit, re.MULTILINE)[0])
    words = re.findall(r"^CMD (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    found["Dockerfile"] = yaml.safe_load(words[0])
    return found


@pytest.mark.parametrize("place", [*SERVICES, "Dockerfile"])
def test_it_starts_a_command_that_exists(place: str) -> None:
    name, *arguments = commands()[place]
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    given = command.make_context(name, list(arguments)).params
    assert given["serve"] is (place != "bridge-pass.service")
    assert (given["address"] or ADDRESS).rpartition(":")[2] == ADDRESS.rpartition(":")[2]


def test_the_ledger_is_in_the_folder_that_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    from bridge.config.settings import ledger_url

    dockerfile = (DEPLOY / "Dockerfile").read_text()
    monkeypatch.setenv("XDG_STATE_HOME", re.findall(r"XDG_STATE_HOME=(\S+)", dockerfile)[0])
    assert ledger_url(Environment()) == f"sqlite:///{STATE}/ledger.sqlite3"
    assert f"VOLUME {STATE}\n" in dockerfile
    for name in SERVICES:
        unit = (DEPLOY / "systemd" / name).read_text()
        assert "XDG_STATE_HOME=/var/lib\n" in unit
        assert f"StateDirectory={Path(STATE).name}\n" in unit


# systemd


@pytest.mark.parametrize("name", SERVICES)
def test_systemd_accepts_the_units_and_finds_them_hardened(name: str, tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    for path in UNITS:  # systemd-analyze wants the program to exist
        (tmp_path / path.name).write_text(path.read_text().replace("/opt/bridge/bin/bridge", "/bin/true"))
    assert checked(analyze, "verify", *map(str, tmp_path.iterdir())) == ""
    # 20 stands for the exposure 2.0; a unit without hardening has 9.6.
    checked(analyze, "security", "--offline=true", "--threshold=20", tmp_path / name)


def test_both_services_are_limited_in_the_same_way() -> None:
    limits = [
        (DEPLOY / "systemd" / name).read_text().split("# What it cannot do.")[1].splitlines() for name in SERVICES
    ]
    service, once = ([line for line in lines if "=" in line and not line.startswith("#")] for lines in limits)
    assert len(once) > 20
    assert service == [*once, "WantedBy=multi-user.target"]


def test_the_timer_starts_the_pass() -> None:
    assert {path.name for path in UNITS} == {*SERVICES, "bridge-pass.timer"}


# Docker compose


def test_the_compose_file_matches_the_compose_specification() -> None:
    schema = ("-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec")
    checked(sys.executable, *schema, DEPLOY / "compose.yaml")


def test_compose_accepts_the_file(folder: Path) -> None:
    plugin = (
        shutil.which("docker")
        and not subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode
    )
    compose = [tool("docker"), "compose"] if plugin else [tool("docker-compose")]
    (folder / ".env").write_text("SITE=bridge.example.org\nPOSTGRES_PASSWORD=secret\n")
    seen = yaml.safe_load(checked(*compose, "config", folder=folder))["services"]
    assert seen.keys() == {"bridge", "postgres", "caddy"}
    assert seen["bridge"]["environment"]["BRIDGE_DATABASE_URL"] == "postgresql+psycopg://bridge:secret@postgres/bridge"
    assert seen["bridge"]["environment"].items() >= SECRETS.items()


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_each_container_has_as_few_rights_as_possible(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "caddy" else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert ("ports" in service) is (name == "caddy"), "only the proxy can be reached from outside"
    assert ("healthcheck" in service) is (name != "bridge"), "the bridge's is in its image"
    assert re.search(r":[\w.-]*\d[\w.-]*\}?$", service["image"]), "pinned"
    assert "database" not in service["networks"] or name != "caddy"


def test_the_variables_of_the_compose_file_are_documented() -> None:
    named = set(re.findall(r"\$\{(\w+)", (DEPLOY / "compose.yaml").read_text()))
    page = (ROOT / "docs" / "server.md").read_text()
    assert {name for name in named if f"`{name}`" not in page and f"{name}=" not in page} == set()


def test_the_bridges_configuration_in_compose_loads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = COMPOSE["services"]["bridge"]["environment"]
    assert {Path(given[name]).parent for name in ("BRIDGE_CONFIG", "GITHUB_APP_PRIVATE_KEY_FILE")} == {
        Path("/etc/bridge")
    }
    assert COMPOSE["services"]["bridge"]["volumes"] == [".:/etc/bridge:ro"]
    assert_loads({**SECRETS, **given}, {"/etc/bridge": folder}, monkeypatch)


def assert_loads(given: dict[str, str], places: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The bridge accepts these variables, with these folders of the container elsewhere."""
    for name, value in given.items():
        inside = next((inside for inside in places if value.startswith(inside)), "")
        outside = str(places[inside]) + value.removeprefix(inside) if inside else value
        monkeypatch.setenv(name, re.sub(r"\$\{.*?\}", "secret", outside))
    config = load(None)
    assert [route.name for route in config.scope.routes] == ["gpu", "a100", "cpu"]
    assert config.database_url.startswith("postgresql+psycopg://bridge:secret@")
    assert config.webhook_secrets == (SECRETS["GITHUB_WEBHOOK_SECRET"],)


# Caddy; tests/e2e/test_proxy.py runs it


def test_caddy_accepts_its_file() -> None:
    caddy = tool("caddy")
    validate = ("validate", "--adapter", "caddyfile", "--config", DEPLOY / "Caddyfile")
    checked(caddy, *validate, SITE="bridge.example.org", XDG_DATA_HOME="/nonexistent")
    assert checked(caddy, "fmt", DEPLOY / "Caddyfile") == (DEPLOY / "Caddyfile").read_text()


# Kubernetes


def valid(*paths: Path, version: str) -> None:
    checked(sys.executable, "-m", "kubernetes_validate", "--strict", "--kubernetes-version", version, *paths)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_each_manifest_matches_kubernetes_own_schema(path: Path) -> None:
    valid(path, version=OLDEST_KUBERNETES)
    (document,) = yaml.safe_load_all(path.read_text())
    assert document["metadata"]["name"] == "bridge"


def test_the_kustomization_has_every_manifest() -> None:
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == [path.name for path in MANIFESTS]


def rendered(folder: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send, by kind and name."""
    text = checked(tool("kubectl"), "kustomize", folder)
    (folder / "all.yaml").write_text(text)
    return list(yaml.safe_load_all(text))


def test_what_kubectl_would_apply_is_valid_and_configures_the_bridge(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import base64

    documents = {(each["kind"], each["metadata"]["name"]): each for each in rendered(folder)}
    valid(folder / "all.yaml", version=OLDEST_KUBERNETES)
    pod = documents["Deployment", "bridge"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"].rpartition(":")[2] == f"v{bridge.__version__}"

    (secret,) = (each["secretRef"]["name"] for each in container["envFrom"])
    given = {name: base64.b64decode(value).decode() for name, value in documents["Secret", secret]["data"].items()}
    mounted = {}
    for volume in pod["volumes"]:
        place = tmp_path_factory.mktemp(volume["name"])
        data = (
            documents["ConfigMap", volume["configMap"]["name"]]["data"]
            if "configMap" in volume
            else documents["Secret", volume["secret"]["secretName"]]["data"]
        )
        for name, text in data.items():
            (place / name).write_text(text)
        mounted[next(m["mountPath"] for m in container["volumeMounts"] if m["name"] == volume["name"])] = place
    assert_loads({**given, **{each["name"]: each["value"] for each in container["env"]}}, mounted, monkeypatch)


def deployed() -> tuple[dict[str, Any], dict[str, Any]]:
    """The Deployment's pod and its container."""
    pod = yaml.safe_load((KUBERNETES / "deployment.yaml").read_text())["spec"]["template"]["spec"]
    return pod, pod["containers"][0]


def test_the_pod_has_as_few_rights_as_possible() -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    pod, container = deployed()
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (
        pod["securityContext"].items() >= {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}.items()
    )
    user = re.findall(r"^USER (\d+):(\d+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert user == [(str(pod["securityContext"]["runAsUser"]), str(pod["securityContext"]["runAsGroup"]))]
    assert pod["automountServiceAccountToken"] is False


def test_no_variable_of_kubernetes_own_stops_the_bridge() -> None:
    """A Service called bridge would add BRIDGE_PORT: https://kubernetes.io/docs/concepts/services-networking/service/"""
    pod, _ = deployed()
    assert pod["enableServiceLinks"] is False


def test_problems_of_github_or_runpod_restart_no_copy_and_refuse_no_delivery() -> None:
    _, container = deployed()
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert "'GET', '/healthz'" in (DEPLOY / "Dockerfile").read_text()


def test_every_selector_finds_the_pods() -> None:
    documents = {path.stem: yaml.safe_load(path.read_text())["spec"] for path in MANIFESTS if path.stem != "namespace"}
    labels = documents["deployment"]["template"]["metadata"]["labels"]
    assert documents["deployment"]["selector"]["matchLabels"] == labels
    assert documents["service"]["selector"] == labels
    assert documents["networkpolicy"]["podSelector"]["matchLabels"] == labels
    assert documents["poddisruptionbudget"]["selector"]["matchLabels"] == labels
