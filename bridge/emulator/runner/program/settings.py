"""The files in the runner's directory: its registration, its credential, and other files of config.sh."""

import base64
import binascii
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

RUNNER, CREDENTIALS, KEY = ".runner", ".credentials", ".credentials_rsaparams"


class BadJitConfig(Exception):
    """The configuration is not the base64 of a JSON object with base64 files."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The registration of this runner.

    Args:
        server_url: the emulator's base URL.
        github_url: of its organisation or repository.
        work_folder: absolute, or relative to the runner's directory.
        ephemeral: whether it runs only one job.
    """

    runner_id: int
    name: str
    server_url: str
    github_url: str = ""
    work_folder: str = "_work"
    ephemeral: bool = False


def is_configured(root: Path) -> bool:
    """Whether `root` contains a registration."""
    return (root / RUNNER).is_file()


def load(root: Path) -> Settings:
    """Read `.runner`. Keys differ in case, and values in type, between JIT configurations and config.sh."""
    raw = {key.lower(): value for key, value in _read(root / RUNNER).items()}
    return Settings(
        runner_id=int(str(raw["agentid"])),
        name=str(raw["agentname"]),
        server_url=str(raw["serverurl"]).rstrip("/"),
        github_url=str(raw.get("githuburl") or ""),
        work_folder=str(raw.get("workfolder") or "_work"),
        ephemeral=str(raw.get("ephemeral", "")).lower() == "true",
    )


def load_credential(root: Path) -> str:
    """Read the bearer credential."""
    raw = {key.lower(): value for key, value in _read(root / CREDENTIALS).items()}
    data = raw["data"]
    return str({key.lower(): value for key, value in data.items()}["clientid"])


def save(root: Path, settings: Settings, credential: str) -> None:
    """Write the files of a registration."""
    runner = {
        "agentId": settings.runner_id,
        "agentName": settings.name,
        "serverUrl": settings.server_url,
        "gitHubUrl": settings.github_url,
        "workFolder": settings.work_folder,
        "ephemeral": settings.ephemeral,
    }
    (root / RUNNER).write_text(json.dumps(runner, indent=2))
    _write_private(root / CREDENTIALS, json.dumps({"scheme": "OAuth", "data": {"clientId": credential}}).encode())
    modulus = base64.b64encode(secrets.token_bytes(256)).decode()
    _write_private(root / KEY, json.dumps({"exponent": "AQAB", "modulus": modulus}).encode())


def save_jit(root: Path, encoded: str) -> None:
    """Write all files that a JIT configuration contains, as the official runner does.

    Raises:
        BadJitConfig: it cannot be decoded.
    """
    try:
        files: Mapping[str, str] = json.loads(base64.b64decode(encoded, validate=True))
        contents = {name: base64.b64decode(files[name], validate=True) for name in files}
    except (binascii.Error, ValueError, TypeError) as error:
        raise BadJitConfig(str(error)) from error
    for name, content in contents.items():
        _write_private(root / name, content)


def delete(root: Path) -> None:
    """Remove the files of the registration."""
    for name in (RUNNER, CREDENTIALS, KEY):
        (root / name).unlink(missing_ok=True)


def save_environment(root: Path) -> None:
    """Write the other files of config.sh: variables, the search path, a script for a service."""
    if not (root / ".env").exists():
        (root / ".env").write_text(f"LANG={os.environ.get('LANG', 'C.UTF-8')}\n")
    (root / ".path").write_text(os.environ.get("PATH", ""))
    (root / "svc.sh").write_text("#!/bin/bash\n")


def load_environment(root: Path) -> None:
    """Set the variables in `.env`, which has one `K=V` per line."""
    path = root / ".env"
    if path.is_file():
        pairs = (line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
        os.environ.update({name: value for name, value in pairs if name})


def _read(path: Path) -> dict[str, dict[str, object]]:
    document: dict[str, dict[str, object]] = json.loads(path.read_text(encoding="utf-8-sig"))
    return document


def _write_private(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)
