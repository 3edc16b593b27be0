"""Removes what was not used for the longest time from the cache in the working directory, down to its limit."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from runner_image.caches.folder import LEASES, LOCK, REMOVED, Unusable, folder, in_use, locked, remove

DEPTHS = {"huggingface": 2, "torch": 2, "tools": 2, "pip": 1, "xdg": 1}
"""How deep below these folders the parts are that are removed as a whole. Half of a model or of a Python is useless.

Elsewhere a part is an entry of the cache's own folder. So is all of uv's cache, whose files refer to each other.
"""


@dataclass(kw_only=True)
class Part:
    """A part of the cache.

    Args:
        size: bytes.
        used: Unix seconds, when one of its files was last read or written, as far as the volume tells.
    """

    size: int = 0
    used: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of the cache.

    Args:
        size: bytes that are left.
        removed: bytes.
        stuck: number of parts that could not be removed.
    """

    size: int
    removed: int = 0
    stuck: int = 0


def parts() -> dict[str, Part]:
    """The parts of the cache by their paths."""
    found: dict[str, Part] = {}
    linked: set[tuple[str, str]] = set()
    for kind, size, accessed, modified, links, device, inode, path in _entries():
        names = path.removeprefix("./").split("/")
        if names[0] in (LEASES, LOCK) or (kind == "d" and len(names) <= DEPTHS.get(names[0], 0)):
            continue
        part = found.setdefault("/".join(names[: DEPTHS.get(names[0], 0) + 1]), Part())
        if kind != "d":  # a folder is read by this very search
            part.used = max(part.used, float(accessed), float(modified))
            if links == "1" or (device, inode) not in linked:
                part.size += int(size)
                linked.add((device, inode))
    return found


def evict(limit: int, now: float) -> Outcome:
    """Remove parts until the cache has at most `limit` bytes, unless another job uses or cleans it.

    Args:
        limit: bytes.
        now: Unix seconds.
    """
    found = parts()
    size = sum(part.size for part in found.values())
    if size <= limit:
        return Outcome(size=size)
    with locked() as alone:
        return _removed(found, size, limit, now) if alone else Outcome(size=size)


def _removed(found: dict[str, Part], size: int, limit: int, now: float) -> Outcome:
    removed = stuck = 0
    for path in sorted(found, key=lambda each: (each != REMOVED, found[each].used)):
        if size - removed <= limit or in_use(now):
            break
        if _remove(path):
            removed += found[path].size
        else:
            stuck += 1
    return Outcome(size=size - removed, removed=removed, stuck=stuck)


def _entries() -> Iterator[list[str]]:
    """Everything below the working directory. Programs do it, because a job can nest folders deeper than Python can."""
    line = r"%y\t%s\t%A@\t%T@\t%n\t%D\t%i\t%p\0"
    command = ["find", ".", "-xdev", "-mindepth", "1", "-printf", line]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout  # noqa: S101 - it is a pipe
        pending = b""
        while chunk := process.stdout.read(2**16):
            *lines, pending = (pending + chunk).split(b"\0")
            yield from (os.fsdecode(each).split("\t", 7) for each in lines)


def _remove(path: str) -> bool:
    """Remove a part. It is moved away first: if a removal does not end, no job finds half of a model or of a Python."""
    away = f"{REMOVED}/{uuid4().hex}"
    try:
        os.close(folder(REMOVED))
        Path(path).rename(away)
    except (OSError, Unusable):
        return remove(path)
    return remove(away)
