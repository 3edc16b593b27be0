"""The probes of a self-test. Each finds facts about this worker, and raises Unmet if something does not work."""

import asyncio
import contextlib
import json
import re
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from bridge.core.worker import Gpu, SelfTest
from runner_image.account import Account
from runner_image.limits import Limits
from runner_image.programs import Programs, Unmet, last_line

VOLUME = Path("/runpod-volume")
"""Where RunPod mounts an endpoint's network volume: https://docs.runpod.io/storage/network-volumes"""

_MIB, _MB = 2**20, 10**6
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")

CUDA = Path(__file__).with_name("cuda.py")
"""The program that uses CUDA."""


async def runner(programs: Programs, root: Path, account: Account | None, wanted: str | None) -> SelfTest:
    """The installed runner prints its version; `wanted` is the image's, None if it is not known."""
    # As the user that will run it, because even `--version` writes a log.
    text = last_line(await programs.output([str(root / "bin" / "Runner.Listener"), "--version"], account))
    if not _VERSION.fullmatch(text):
        raise Unmet(f"Runner.Listener --version printed no version: {text}")
    if wanted and text != wanted:
        raise Unmet(f"the image has runner {wanted}, but the installed one is {text}", {"runner_version": text})
    return {"runner_version": text}


async def gpu(programs: Programs) -> SelfTest:
    """The GPUs that nvidia-smi lists."""
    query = "--query-gpu=name,memory.total,driver_version"
    text = await programs.output(["nvidia-smi", query, "--format=csv,noheader,nounits"])
    gpus = [_gpu(line) for line in text.splitlines()]
    if not gpus:
        raise Unmet("nvidia-smi lists no GPU")
    return {"gpus": gpus}


def _gpu(line: str) -> Gpu:
    try:
        name, mebibytes, driver = (part.strip() for part in line.rsplit(",", 2))
        return {"name": name, "memory_mb": int(mebibytes) * _MIB // _MB, "driver": driver}
    except ValueError:
        raise Unmet(f"nvidia-smi printed: {line}") from None


async def cuda(programs: Programs) -> SelfTest:
    """CUDA initialises, and some memory of each GPU can be used."""
    text = last_line(await programs.output([sys.executable, "-I", str(CUDA)]))
    match _json(text):
        case {"version": int() as version, "failed": None | str() as failed}:
            facts: SelfTest = {"cuda_version": f"{version // 1000}.{version % 1000 // 10}"}
            if failed:  # CUresult: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html
                raise Unmet(failed, facts)
            return facts
    raise Unmet(f"libcuda printed: {text}")


def _json(text: str) -> object:
    with contextlib.suppress(ValueError):
        return json.loads(text)
    return None


async def user_namespaces(programs: Programs, account: Account | None) -> SelfTest:
    """Jobs may create user namespaces, as rootless containers do."""
    await programs.output(["unshare", "--user", "true"], account)
    return {}


async def chroot(programs: Programs) -> SelfTest:
    """Root may change its root directory."""
    await programs.output(["chroot", "/", "/bin/true"])
    return {}


async def sudo(programs: Programs, account: Account | None) -> SelfTest:
    """Jobs may become root."""
    await programs.output(["sudo", "-n", "true"], account)
    return {}


async def disk(programs: Programs, root: Path) -> SelfTest:
    """Free space where jobs work."""
    return {"disk_free_mb": await _free_mb(programs, root)}


async def volume(programs: Programs, path: Path) -> SelfTest:
    """The endpoint has a network volume; its free space."""
    return {"volume_free_mb": await _free_mb(programs, path)}


async def _free_mb(programs: Programs, path: Path) -> int:
    """Asked of a program, because a network file system can hang."""
    text = last_line(await programs.output(["df", f"--block-size={_MB}", "--output=avail", str(path)])).strip()
    if not text.isdigit():
        raise Unmet(f"df printed: {text}")
    return int(text)


async def memory() -> SelfTest:
    """The memory of the machine, or the container's limit if it is lower."""
    limits = [int(text) for path in _CGROUP_LIMITS if (text := _text(path)).isdigit()]
    return {"memory_mb": min([psutil.virtual_memory().total, *limits]) // _MB}


def _text(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text().strip()
    return ""


async def github(api_url: str, limits: Limits) -> SelfTest:
    """GitHub's API answers, and how long each step took. The call needs no credential and counts against no limit.

    https://docs.github.com/rest/rate-limit/rate-limit
    """
    import httpx  # jobs start faster without it

    seconds: dict[str, float] = {}
    steps = _Steps(seconds)
    try:
        began = time.monotonic()
        parts = urlsplit(api_url)
        await asyncio.get_running_loop().getaddrinfo(parts.hostname, parts.port or parts.scheme)
        seconds["dns"] = _since(began)
        began = time.monotonic()
        url = f"{api_url.rstrip('/')}/rate_limit"
        async with (
            httpx.AsyncClient(timeout=limits.probe) as http,
            http.stream("GET", url, extensions={"trace": steps}) as answer,  # an endless body is not read
        ):
            seconds["total"] = _since(began)
    except (OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unmet(f"{type(error).__name__}: {error}".rstrip(": "), {"github_seconds": seconds}) from None
    kind = answer.headers.get("content-type", "")
    if answer.status_code >= 500 or "json" not in kind:
        said = f"GitHub's API answered {answer.status_code} with {kind or 'no content type'}; is a proxy in between?"
        raise Unmet(said, {"github_seconds": seconds})
    return {"github_seconds": seconds}


def _since(began: float) -> float:
    return round(time.monotonic() - began, 4)


class _Steps:
    """Measures the steps of an HTTP call: https://www.encode.io/httpcore/extensions/#trace"""

    _NAMES = {"connect_tcp": "connect", "start_tls": "tls", "receive_response_headers": "answer"}  # noqa: RUF012

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds
        self._began: dict[str, float] = {}

    async def __call__(self, event: str, _info: object) -> None:
        """Note the time of one event, such as `connection.connect_tcp.started`."""
        _, step, moment = event.split(".")
        if moment == "started":
            self._began[step] = time.monotonic()
        elif moment == "complete" and step in self._NAMES:
            self._seconds[self._NAMES[step]] = _since(self._began[step])
