"""The files in the runner's directory: its registration, its credential, and other files of config.sh."""

import base64
import binascii
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import console, keys

RUNNER, CREDENTIALS, KEY = ".runner", ".credentials", ".credentials_rsaparams"


class BadJitConfig(Exception):
    """The configuration is not the base64 of a JSON object with base64 files."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The registration of this runner.

    Args:
        server_url: of the service with `connectionData`; empty for none.
        server_url_v2: of the broker.
        github_url: of its organisation or repository.
        work_folder: absolute, or relative to the runner's directory.
        ephemeral: whether it runs only one job.
    """

    runner_id: int
    name: str
    server_url: str = ""
    server_url_v2: str = ""
    github_url: str = ""
    work_folder: str = "_work"
    ephemeral: bool = False


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """With which the runner gets its token.

    Args:
        fips: whether assertions have the algorithm PS256 instead of RS256.
        key: the numbers of its RSA key.
    """

    client_id: str
    authorization_url: str
    fips: bool = True
    key: Mapping[str, int] = field(repr=False)


def is_configured(root: Path) -> bool:
    """Whether `root` contains a registration."""
    return (root / RUNNER).is_file()


def load(root: Path) -> Settings:
    """Read `.runner`. Keys differ in case, and values in type, between JIT configurations and config.sh.

    Raises:
        ValueError: it does not name the broker.
    """
    raw = _lower(_read(root / RUNNER))
    if not raw.get("serverurlv2"):
        raise ValueError("ServerUrlV2 is not set")
    return Settings(
        runner_id=int(str(raw["agentid"])),
        name=str(raw["agentname"]),
        server_url=str(raw.get("serverurl") or ""),
        server_url_v2=str(raw["serverurlv2"]),
        github_url=str(raw.get("githuburl") or ""),
        work_folder=str(raw.get("workfolder") or "_work"),
        ephemeral=_is_true(raw.get("ephemeral")),
    )


def load_credentials(root: Path) -> Credentials:
    """Read `.credentials` and the key."""
    data = _lower(_lower(_read(root / CREDENTIALS))["data"])
    return Credentials(
        client_id=str(data["clientid"]),
        authorization_url=str(data["authorizationurl"]),
        fips=_is_true(data.get("requirefipscryptography")),
        key=keys.from_text(_read(root / KEY)),
    )


def save(root: Path, settings: Settings, credentials: Credentials) -> None:
    """Write the files of a registration."""
    runner = {
        "agentId": settings.runner_id,
        "agentName": settings.name,
        "poolId": 1,
        "poolName": "Default",
        "disableUpdate": True,
        "ephemeral": settings.ephemeral,
        "serverUrl": settings.server_url,
        "gitHubUrl": settings.github_url,
        "workFolder": settings.work_folder,
        "useV2Flow": True,
        "serverUrlV2": settings.server_url_v2,
    }
    data = {
        "clientId": credentials.client_id,
        "authorizationUrl": credentials.authorization_url,
        "requireFipsCryptography": str(credentials.fips),
    }
    (root / RUNNER).write_text(json.dumps(runner, indent=2))
    _write_private(root / CREDENTIALS, json.dumps({"scheme": "OAuth", "data": data}).encode())
    _write_private(root / KEY, json.dumps(keys.to_text(credentials.key)).encode())


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
        (root / name).unlink(missing_ok=True)
        (root / name).write_bytes(content)


def delete(root: Path) -> None:
    """Remove the files of the registration, and say so."""
    (root / KEY).unlink(missing_ok=True)
    for name in (CREDENTIALS, RUNNER):
        if (root / name).exists():
            (root / name).unlink()
            console.success(f"Removed {name}")


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


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8-sig"))
    return document


def _lower(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in raw.items()}


def _is_true(value: object) -> bool:
    return str(value).lower() == "true"


def _write_private(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)
