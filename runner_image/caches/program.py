"""The program of the job hooks: `program.py started`, `program.py completed`.

The work happens in a child, because a network volume can hang. What cannot be done in time costs a line in the log.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

if __name__ == "__main__":  # -I leaves out the folder that contains runner_image
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from runner_image.caches.eviction import evict
from runner_image.caches.folder import Unusable, claim, discard, enter, folder, lease_name, release
from runner_image.caches.origin import folder_of, is_private

FOLDERS = {
    "HF_HOME": "huggingface",
    "TORCH_HOME": "torch",
    "PIP_CACHE_DIR": "pip",
    "UV_CACHE_DIR": "uv",
    "XDG_CACHE_HOME": "xdg",
    "AGENT_TOOLSDIRECTORY": "tools",
    "RUNNER_TOOL_CACHE": "tools",
}
"""The variables of a job, and the folders of the cache that they name."""

TOKENS = ("huggingface/token", "huggingface/stored_tokens")
"""Where Hugging Face's command-line tool writes a login. Other jobs could read it."""

PATIENCE = 15.0
"""s to wait for a job that removes old files."""

LIMITS = {"started": 30.0, "completed": 60.0}
"""s that the work of each hook may take."""

WARNINGS = {
    "started": "Warning: this job has no cache",
    "completed": "Warning: the limit of the cache was not enforced",
}
"""What is not done if the work of a hook fails."""

LONGEST_EVENT = 64 * 2**20
"""Bytes of an event that are read; GitHub's have at most 25 MB."""


def started(environment: Mapping[str, str]) -> str:
    """Point the job's tools to its cache; returns a line for the log."""
    if _is_private(environment):
        cache = _private_folder(environment)
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir(mode=0o700)
        _give(cache, cache, environment)
        return "Cache: private and empty, because this job's code may come from a fork"
    cache = Path(environment["RUNNER_CACHE_DIR"]) / _name(environment)
    _enter(environment)
    lease = lease_name(environment.get("RUNNER_NAME", ""))
    claim(lease, time.time() + float(environment["RUNNER_CACHE_LEASE"]), PATIENCE)
    try:
        _give(Path(), cache, environment)
    except BaseException:
        release(lease)
        raise
    return f"Cache: {cache}"


def completed(environment: Mapping[str, str]) -> str:
    """Give the cache back, and remove what exceeds its limit; returns a line for the log, empty without a cache."""
    if not _is_given(environment).exists():
        return ""
    if _is_private(environment):
        shutil.rmtree(_private_folder(environment), ignore_errors=True)
        return ""
    _enter(environment)
    release(lease_name(environment.get("RUNNER_NAME", "")))
    for token in TOKENS:
        discard(Path(token))
    limit = float(environment["RUNNER_CACHE_GB"])
    outcome = evict(int(limit * 1e9), time.time())
    removed = f", after {outcome.removed / 1e9:.1f} GB were removed" if outcome.removed else ""
    stuck = f"; {outcome.stuck} entries cannot be removed" if outcome.stuck else ""
    return f"Cache: {outcome.size / 1e9:.1f} of {limit:g} GB are used{removed}{stuck}"


def prepare(root: Path, uid: int, gid: int) -> None:
    """Create the folder of all caches on the volume, for the user of the jobs. Runs as root.

    Args:
        root: of the caches of all repositories.
        uid: of the jobs; -1 to keep it.
        gid: of the jobs; -1 to keep it.
    """
    volume = os.open(root.parent, os.O_RDONLY | os.O_DIRECTORY)
    cache = folder(root.name, volume)
    os.fchown(cache, uid, gid)
    os.fchmod(cache, 0o755)


def _name(environment: Mapping[str, str]) -> str:
    repository = environment.get("GITHUB_REPOSITORY", "")
    name = folder_of(repository)
    if name is None:
        raise Unusable(f"GITHUB_REPOSITORY is {repository[:100]!r}")
    return name


def _enter(environment: Mapping[str, str]) -> None:
    root = Path(environment["RUNNER_CACHE_DIR"])
    if not root.parent.is_dir():
        raise Unusable(f"this endpoint has no network volume at {root.parent}")
    enter(root, _name(environment))


def _is_private(environment: Mapping[str, str]) -> bool:
    event = None
    with (
        contextlib.suppress(OSError, ValueError, RecursionError),
        Path(environment.get("GITHUB_EVENT_PATH", "")).open() as file,
    ):
        event = json.loads(file.read(LONGEST_EVENT))
    return is_private(environment.get("GITHUB_REPOSITORY", ""), environment.get("GITHUB_EVENT_NAME", ""), event)


def _private_folder(environment: Mapping[str, str]) -> Path:
    """In the folder that the runner empties before and after each job."""
    return Path(environment["RUNNER_TEMP"]) / "private-cache"


def _is_given(environment: Mapping[str, str]) -> Path:
    """A file that exists if the job got a cache. The runner removes it with the job."""
    return Path(environment["RUNNER_TEMP"]) / "cache-is-given"


def _give(here: Path, cache: Path, environment: Mapping[str, str]) -> None:
    """Create the folders of the tools, and set the variables of the job's steps: last, so that a job gets all or none.

    Args:
        here: the cache, as a path from the working directory.
        cache: the same, for the job.
        environment: of the hook.
    """
    parent = os.open(here, os.O_RDONLY | os.O_DIRECTORY)
    for name in sorted(set(FOLDERS.values())):
        os.close(folder(name, parent))
    os.close(parent)
    variables = {name: str(cache / to) for name, to in FOLDERS.items()}
    # https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
    variables["HF_TOKEN_PATH"] = str(Path(environment["RUNNER_TEMP"]) / "huggingface" / "token")
    _is_given(environment).touch()
    with Path(environment["GITHUB_ENV"]).open("a") as file:
        file.write("".join(f"{name}={value}\n" for name, value in variables.items()))


def work(command: str, environment: Mapping[str, str]) -> str:
    """Do the work of a hook; returns a line for the log."""
    try:
        return started(environment) if command == "started" else completed(environment)
    except Unusable as error:
        return f"{WARNINGS[command]}: {error}"
    except OSError as error:
        return f"{WARNINGS[command]}: {error.strerror or error}"
    except (KeyError, ValueError) as error:
        return f"{WARNINGS[command]}: {type(error).__name__}: {error}"


def in_time(command: str) -> str:
    """Do the work of a hook in a child; returns a line for the log."""
    argv = [sys.executable, "-I", __file__, command, "--child"]
    child = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = child.communicate(timeout=LIMITS[command])
    except subprocess.TimeoutExpired:
        for number in (signal.SIGTERM, signal.SIGKILL):  # the first one lets it give back its lock
            os.killpg(child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):  # the volume may keep it in the kernel
                child.communicate(timeout=1.0)
                break
        return f"{WARNINGS[command]}: the network volume did not answer within {LIMITS[command]:.0f} s"
    if child.returncode:
        return f"{WARNINGS[command]}: its program exited with code {child.returncode}"
    return output.strip()


def main(arguments: list[str]) -> None:
    """The program."""
    match arguments:
        case ["prepare", root, uid, gid]:
            prepare(Path(root), int(uid), int(gid))
        case [command, "--child"]:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
            print(work(command, os.environ))
        case [command]:
            print(in_time(command))


if __name__ == "__main__":
    main(sys.argv[1:])
