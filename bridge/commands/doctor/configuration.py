"""Where the configuration comes from, who can read its files, and which of its tables nothing uses."""

import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from bridge.commands.doctor.check import Check, ok, warning
from bridge.commands.doctor.context import Context
from bridge.config import environment, file
from bridge.config.environment import Environment
from bridge.config.file import File

SECRET_FILES = ("secrets.env", "app.pem")
"""Beside bridge.toml: what `bridge setup` writes."""

OTHERS_READ = stat.S_IRGRP | stat.S_IROTH | stat.S_IWGRP | stat.S_IWOTH
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


async def checks(context: Context) -> list[Check]:
    """The checks of the configuration, which has been loaded."""
    path = context.path.expanduser() if context.path else None
    content = file.read(path) if path else File()
    env = environment.combined(content)
    return [
        source(path),
        *file_checks(_modes(_secret_files(path, env)), OTHERS_READ),
        *file_checks(_modes([path] if path else []), OTHERS_WRITE),
        *unused(content, env.runpod_endpoint_id),
    ]


def source(path: Path | None) -> Check:
    """Where the configuration was loaded from."""
    where = f"{path} and the environment" if path else "the environment; there is no bridge.toml"
    return ok("configuration", f"loaded from {where}")


def _secret_files(path: Path | None, env: Environment) -> list[Path]:
    key = env.github_app_private_key_file
    beside = [path.parent / name for name in SECRET_FILES] if path else []
    given = [key.expanduser()] if key else []
    return list({each.resolve(): each for each in (*given, *beside)}.values())


def _modes(paths: Iterable[Path]) -> dict[Path, int]:
    """The permission bits of the files that exist."""
    return {path: path.stat().st_mode for path in paths if path.is_file()}


def file_checks(modes: Mapping[Path, int], refused: int) -> Iterator[Check]:
    """One check for each file.

    Args:
        modes: by path, the permission bits.
        refused: the bits that others should not have.
    """
    id_ = "configuration.files"
    for path, mode in modes.items():
        shown, subject = f"its mode is {stat.S_IMODE(mode):04o}", str(path)
        if mode & refused:
            access = "read" if mode & refused & ~OTHERS_WRITE else "change"
            fix = f"chmod {'600' if refused == OTHERS_READ else 'go-w'} {path}"
            yield warning(id_, f"{shown}: other users can {access} it", fix, subject=subject)
        else:
            yield ok(id_, shown, subject=subject)


def unused(content: File, default: str | None) -> list[Check]:
    """The endpoints that no route uses.

    Args:
        content: of bridge.toml.
        default: the endpoint of routes that name none.
    """
    used = {default} if default else set()
    for route in content.route:
        used |= set(route.endpoints or ([route.endpoint] if route.endpoint else []))
    return [
        warning(
            "configuration.endpoints",
            "no route uses this endpoint",
            "name it in `endpoint` of a route; or delete it with `bridge endpoints delete`, and remove its table",
            subject=table.name,
        )
        for table in content.endpoint
        if table.name not in used
    ]
