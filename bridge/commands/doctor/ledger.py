"""Whether the ledger can be used, and whether it lasts. Nothing is created or changed."""

import asyncio
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bridge import database_url
from bridge.commands.doctor import budget
from bridge.commands.doctor.asking import Failure, asked, unanswered
from bridge.commands.doctor.check import Check, Status, failed, ok, skipped, warning
from bridge.commands.doctor.context import Context
from bridge.core.pauses import Pause, cause_of
from bridge.core.readings import Readings
from bridge.ledger import SCHEMA, Ledger, schema_of
from bridge.telemetry import plain

MOUNTS = Path("/proc/self/mountinfo")
"""https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html"""

NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "lustre", "afs", "beegfs"})
"""File systems over which SQLite's write-ahead log does not work: https://www.sqlite.org/wal.html"""

PASSING = frozenset({"tmpfs", "ramfs", "overlay"})
"""File systems that end with the machine's or container's run."""

LOW, FULL = 100 * 10**6, 10**6
"""Bytes free: below the first a person is told; below the second the ledger cannot grow."""

LATE = 900.0
"""s without a pass after which something is wrong, unless the interval is long."""

MINUTE = 60.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where SQLite's file is, or will be.

    Args:
        path: of the file.
        exists: whether it exists.
        writable: whether it and its directory can be written.
        kind: of the file system; None if unknown.
        free: bytes.
    """

    path: Path
    exists: bool
    writable: bool
    kind: str | None
    free: int


async def checks(context: Context) -> list[Check]:
    """The checks of the ledger, and then those of the budgets, which it keeps: it is opened by one at a time."""
    found = await _ledger_checks(context)
    if any(check.status is Status.FAILED for check in found):
        return found
    return [*found, *await budget.checks(context)]


async def _ledger_checks(context: Context) -> list[Check]:
    url = context.settings.database_url
    parsed = database_url.parse(url)
    if parsed.get_backend_name() != "sqlite":
        shown = parsed.set(query={}).render_as_string(hide_password=True)
        return await _opened(context, f"PostgreSQL at {shown}")
    if parsed.database in (None, "", ":memory:"):
        return [in_memory()]
    if str(parsed.database).startswith("file:"):
        return await _opened(context, str(parsed.database))
    place = await asyncio.to_thread(_place, str(parsed.database))
    found = place_checks(place)
    if not place.writable:
        return [*found, skipped("ledger", "it cannot be written")]
    if not place.exists:
        return [*found, ok("ledger", f"there is none yet; the first pass creates {place.path}")]
    return [*found, *await _opened(context, str(place.path))]


def _place(name: str) -> Place:
    path = Path(name).absolute()
    directory = next(each for each in path.parents if each.exists())
    exists = path.exists()
    return Place(
        path=path,
        exists=exists,
        writable=os.access(directory, os.W_OK) and (not exists or os.access(path, os.W_OK)),
        kind=file_system(directory.resolve(), MOUNTS.read_text()) if MOUNTS.exists() else None,
        free=shutil.disk_usage(directory).free,
    )


def file_system(path: Path, mounts: str) -> str | None:
    """The kind of the file system that holds a path.

    Args:
        path: absolute, without symbolic links.
        mounts: the lines of /proc/self/mountinfo.
    """
    found: tuple[int, str | None] = (-1, None)
    for line in mounts.splitlines():
        mount, _, rest = line.partition(" - ")
        point = Path(mount.split()[4].encode().decode("unicode_escape"))  # a space is written \040
        # Of several mounts at one point, the last one covers the others.
        if path.is_relative_to(point) and len(point.parts) >= found[0]:
            found = (len(point.parts), rest.split()[0])
    return found[1]


def in_memory() -> Check:
    """The check of a ledger that ends with the process."""
    return warning(
        "ledger.storage",
        "the ledger is in memory, and is lost at the end of each process",
        "set BRIDGE_DATABASE_URL to a file or to PostgreSQL",
    )


def place_checks(place: Place) -> list[Check]:
    """The checks of the file's place."""
    return [_access(place), _storage(place), _disk(place)]


def _access(place: Place) -> Check:
    if place.writable:
        return ok("ledger.access", f"{place.path} can be written")
    return failed(
        "ledger.access",
        f"{place.path} or its directory cannot be written",
        "give both to the user that runs the bridge, or set BRIDGE_DATABASE_URL to another place",
    )


def _storage(place: Place) -> Check:
    id_, kind = "ledger.storage", place.kind
    if kind and (kind in NETWORK or kind.startswith("fuse.")):
        line = f"{place.path} is on a network file system ({kind}), where SQLite can lose data"
        return warning(id_, line, "put it on a local disk, or use PostgreSQL")
    if kind in PASSING:
        line = f"{place.path} is on a file system that does not last ({kind})"
        return warning(id_, line, "put it on a disk or a volume; what runs survives the loss, but history does not")
    return ok(id_, f"it is on a local file system ({kind or 'unknown'})")


def _disk(place: Place) -> Check:
    line = f"{place.free // 10**6} MB free where {place.path} is"
    if place.free < FULL:
        return failed("ledger.disk", line, "free some space: the bridge cannot write down what it asks for")
    if place.free < LOW:
        return warning("ledger.disk", line, "free some space")
    return ok("ledger.disk", line)


async def _opened(context: Context, where: str) -> list[Check]:
    """The checks of what is in the database."""
    url = context.settings.database_url
    found = await asked(asyncio.to_thread(schema_of, url))
    if isinstance(found, Failure):
        return [unanswered("ledger", found)]
    schema = schema_check(found, where)
    if found != SCHEMA:
        return [schema, skipped("ledger.passes", "the ledger is not one of this version yet")]
    read = await asked(_read(url))
    if isinstance(read, Failure):
        return [schema, unanswered("ledger.passes", read)]
    readings, pauses = read
    interval, now = context.settings.scope.interval, context.clock()
    return [schema, passes_check(last_read(readings), now, interval), *pause_checks(pauses.values(), now)]


def schema_check(found: str | None, where: str) -> Check:
    """Whether this version of the bridge can use the schema.

    Args:
        found: its revision; None for an empty database.
        where: the database is.
    """
    if found is None:
        return ok("ledger", f"{where} is empty; the first pass creates the tables")
    if found > SCHEMA:
        return failed(
            "ledger",
            f"the schema {found} of {where} is newer than this bridge's {SCHEMA}",
            "upgrade the bridge, or give it another ledger",
        )
    if found < SCHEMA:
        return ok("ledger", f"the schema {found} of {where} is older than this bridge's {SCHEMA}; a pass upgrades it")
    return ok("ledger", f"{where} has the schema {found}")


async def _read(url: str) -> tuple[Readings, Mapping[str, Pause]]:
    ledger = await asyncio.to_thread(Ledger.open_existing, url)
    try:
        return await ledger.read(lambda transaction: (transaction.readings(), transaction.pauses()))
    finally:
        ledger.close()


def pause_checks(pauses: Iterable[Pause], now: float) -> list[Check]:
    """Whether routes are paused: it is easy to forget to resume one.

    Args:
        pauses: those in the ledger.
        now: Unix seconds.
    """
    id_ = "ledger.pauses"
    found = [
        warning(id_, plain(cause_of(each, now).skip(0, each.route).why), f"run `bridge resume {plain(each.route)}`")
        for each in pauses
    ]
    return found or [ok(id_, "no route is paused")]


def last_read(readings: Readings) -> float:
    """Unix seconds when a pass last read something of GitHub or RunPod; 0 if none did."""
    single = (readings.full_scan, readings.place, readings.names, readings.waiting)
    timed = [*readings.runners.values(), *readings.health.values(), *(each for each in single if each)]
    return max((each.at for each in timed), default=0.0)


def passes_check(last: float, now: float, interval: float) -> Check:
    """Whether passes happen.

    Args:
        last: Unix seconds of the last pass; 0 for none.
        now: Unix seconds.
        interval: s between two passes of the service.
    """
    id_ = "ledger.passes"
    if not last:
        return skipped(id_, "no pass yet; run `bridge dispatch`")
    minutes = max(0.0, now - last) / MINUTE
    line = f"the last pass with this ledger was {minutes:.0f} min ago"
    if now - last > max(LATE, 10 * interval):
        return warning(id_, line, "start the service or the cron job again, and see its log")
    return ok(id_, line)
