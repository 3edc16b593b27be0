"""`bridge doctor --bundle`: what a bug report needs, in one file without secrets."""

import io
import json
import os
import platform
import re
import time
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from bridge import __version__, database_url
from bridge.commands.doctor.check import Check
from bridge.commands.doctor.report import document
from bridge.config.environment import Environment
from bridge.config.settings import Config
from bridge.core.submissions import Submission
from bridge.errors import BridgeError, ConfigError
from bridge.ledger import SCHEMA, Ledger
from bridge.telemetry import MASK, mask

PACKAGE = "runpod-actions-bridge"
RECENT = 50
"""The last submissions that are listed."""

_SECRET_SETTING = re.compile(
    r"""((?:KEY|SECRET|TOKEN|PASSW(?:OR)?D|PAT|CREDENTIALS?|NOTIFY_URL)\w*["']?\s*=\s*)"""
    r"""(\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*')""",
    re.IGNORECASE | re.DOTALL,
)
_PASSWORD_IN_URL = re.compile(r"(://[^/\s:@\"']*:)[^@\s\"']+@")


def refuse_existing(path: Path) -> None:
    """Refuse a file that is there.

    Raises:
        ConfigError: it exists.
    """
    if path.exists():
        raise ConfigError(f"--bundle: {path} exists; name another file")


def write(path: Path, files: Mapping[str, str]) -> None:
    """Write a new file with mode 0600.

    Raises:
        ConfigError: it exists, or cannot be written.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.getvalue())
    except OSError as error:
        raise ConfigError(f"--bundle: {path} cannot be written: {error.strerror}; name another file") from None


async def collected(checks: Sequence[Check], settings: Config | None, path: Path | None) -> dict[str, str]:
    """The texts of the bundle by file name.

    Args:
        checks: of this run.
        settings: the configuration; None if it cannot be loaded.
        path: of bridge.toml, None if there is none.
    """
    documents: dict[str, Any] = {
        "report.json": document(checks),
        "versions.json": _versions(),
        "environment.json": {"set": sorted(_variables())},
        "ledger.json": await _ledger(settings) if settings else {"unread": "the configuration cannot be loaded"},
    }
    texts = {name: json.dumps(mask(content), indent=2) + "\n" for name, content in documents.items()}
    return {**texts, "bridge.toml": configuration(path)} if path else texts


def secrets_in_environment() -> tuple[str, ...]:
    """The values of all secret variables, for a bundle of a configuration that cannot be loaded."""
    return tuple(os.environ[name] for name in _variables() if _is_secret(name))


def _is_secret(name: str) -> bool:
    return name.endswith(("_KEY", "_SECRET", "_PAT", "_DATABASE_URL", "_NOTIFY_URL"))


def _variables() -> list[str]:
    """The names of the settings that the environment sets."""
    return [name for name in (field.upper() for field in Environment.model_fields) if os.environ.get(name)]


def configuration(path: Path) -> str:
    """The text of bridge.toml without secrets, also where it has one by mistake."""
    try:
        text = path.expanduser().read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        return f"# cannot be read: {error.strerror}\n"
    text = _PASSWORD_IN_URL.sub(rf"\g<1>{MASK}@", _SECRET_SETTING.sub(rf'\g<1>"{MASK}"', text))
    return str(mask(text))


def _versions() -> dict[str, Any]:
    return {
        "bridge": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "dependencies": dict(sorted(_dependencies())),
    }


def _dependencies() -> list[tuple[str, str]]:
    try:
        lines = [line for line in requires(PACKAGE) or [] if "extra ==" not in line]
        names = [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in lines]
        return [(name, version(name)) for name in names]
    except PackageNotFoundError:  # a checkout that was not installed
        return []


async def _ledger(settings: Config) -> dict[str, Any]:
    """Its numbers, and the last submissions with their reasons."""
    try:
        ledger = Ledger.open_existing(settings.database_url, time.time)
    except BridgeError as error:
        return {"unread": str(error)}
    try:
        submissions = await ledger.read(lambda transaction: transaction.submissions(since=0.0, names=()))
        read_at = await ledger.read(lambda transaction: transaction.runners_read_at())
        return {
            "url": ledger.url,
            "stored": ledger.is_stored,
            "schema": SCHEMA,
            "bytes": _bytes(settings.database_url),
            "last_resync": max(read_at.values(), default=None),
            "submissions": dict(Counter(submission.state for submission in submissions)),
            "recent": [_shown(each) for each in sorted(submissions, key=lambda s: s.since)[-RECENT:]],
        }
    except BridgeError as error:
        return {"unread": str(error)}
    finally:
        ledger.close()


def _shown(submission: Submission) -> dict[str, Any]:
    names = ("name", "endpoint", "state", "since", "reason", "result", "detail")
    return {"route": submission.pool.route, **{name: getattr(submission, name) for name in names}}


def _bytes(url: str) -> int | None:
    """The size of an SQLite ledger."""
    parsed = database_url.parse(url)
    if not parsed.drivername.startswith("sqlite") or not parsed.database:
        return None
    file = Path(parsed.database)
    return file.stat().st_size if file.is_file() else None
