"""Answers a self-test: what this worker has, without a job, a runner or a credential of GitHub."""

import asyncio
import math
import platform
import time
from collections.abc import Coroutine, Mapping
from importlib.metadata import PackageNotFoundError, version

import psutil

from bridge import __version__
from bridge.core.worker import SELF_TEST, Check, Reason, SelfTest, WorkerAnswer, WorkerInput
from runner_image import probes
from runner_image.account import Account, runner_account
from runner_image.bounded import Late, in_time
from runner_image.failure import Failure
from runner_image.installation import Installation, runner_root
from runner_image.leftovers import forget_job
from runner_image.limits import Limits
from runner_image.process import unbroken
from runner_image.programs import Programs, Unmet
from runner_image.request import API

MAX_DETAIL = 200
"""Characters of a detail."""

Probe = Coroutine[None, None, SelfTest]


def is_self_test(given: object) -> bool:
    """Whether an input asks for a self-test.

    Raises:
        Failure: bad_input; it also asks for a job, or `self_test` is not a boolean.
    """
    if not isinstance(given, Mapping) or not given.get("self_test"):
        return False
    if given["self_test"] is not True:
        raise Failure(Reason.BAD_INPUT, "self_test: must be true or false")
    others = sorted(key for key in WorkerInput.__annotations__ if key != "self_test" and given.get(key) is not None)
    if others:
        detail = f"self_test: runs no job, so remove {', '.join(others)}; or remove self_test"
        raise Failure(Reason.BAD_INPUT, detail)
    return True


async def answer(environment: Mapping[str, str], limits: Limits, uid: int) -> WorkerAnswer:
    """Test this worker. What does not work is part of the answer.

    Args:
        environment: the worker's.
        limits: how long each probe may take; all run at the same time.
        uid: the effective user id of this process.
    """
    facts = _known(environment)
    account, check = _account(environment, uid)
    facts["checks"] = {"account": check}
    if account:
        facts["runner_account"] = account.name
    installed = Installation(root=runner_root(environment), account=account, limits=limits)
    named = _probes(installed, environment)
    try:
        found = await asyncio.gather(*(_checked(probe, limits.probe) for probe in named.values()))
    finally:
        # Even `Runner.Listener --version` writes a log.
        _, cleaned = await unbroken(_checked(_clean_up(installed), math.inf))
    if not cleaned["ok"]:
        facts["checks"]["clean_up"] = cleaned
    for name, (more, checked) in zip(named, found, strict=True):
        facts.update(more)
        facts["checks"][name] = checked
    return {"outcome": SELF_TEST, "self_test": facts}


async def _clean_up(installed: Installation) -> SelfTest:
    try:
        await in_time(lambda: forget_job(installed.root, installed.account), installed.limits.clean_up)
    except Late as late:
        raise Unmet(str(late)) from None
    return {}


def _known(environment: Mapping[str, str]) -> SelfTest:
    """What needs no probe."""
    facts: SelfTest = {
        "worker_version": __version__,
        "python_version": platform.python_version(),
        "gpus": [],
        "process_seconds": round(time.time() - psutil.Process().create_time(), 1),
    }
    if flavour := environment.get("RUNNER_BUILD_TYPE"):
        facts["flavour"] = flavour
    if worker := environment.get("RUNPOD_POD_ID"):
        facts["worker"] = worker
    if data_center := environment.get("RUNPOD_DC_ID"):
        facts["data_center"] = data_center
    return facts


def _account(environment: Mapping[str, str], uid: int) -> tuple[Account | None, Check]:
    try:
        account = runner_account(environment, uid)
    except Failure as failure:
        return None, _unmet(failure.detail)
    if account is None:
        return None, _unmet(f"jobs run as the worker's own user (uid {uid}), who can read its secrets")
    return account, {"ok": True}


def _probes(installed: Installation, environment: Mapping[str, str]) -> dict[str, Probe]:
    """The probes by name."""
    programs, account = Programs(environment, installed.limits), installed.account
    return {
        "sdk": _sdk(),
        "runner": probes.runner(programs, installed.root, account, environment.get("RUNNER_VERSION")),
        "gpu": probes.gpu(programs),
        "cuda": probes.cuda(programs),
        "disk": probes.disk(programs, installed.root),
        "volume": probes.volume(programs, probes.VOLUME),
        "memory": probes.memory(),
        "github": probes.github(environment.get("GITHUB_API_URL") or API, installed.limits),
        "user_namespaces": probes.user_namespaces(programs, account),
        "chroot": probes.chroot(programs),
        "sudo": probes.sudo(programs, account),
    }


async def _sdk() -> SelfTest:
    try:
        return {"sdk_version": version("runpod")}
    except PackageNotFoundError:
        raise Unmet("RunPod's SDK is not installed") from None


async def _checked(probe: Probe, limit: float) -> tuple[SelfTest, Check]:
    """The facts of a probe, and how it went."""
    try:
        async with asyncio.timeout(limit):
            return await probe, {"ok": True}
    except Unmet as unmet:
        return unmet.facts, _unmet(str(unmet))
    except TimeoutError:
        return {}, _unmet(f"no answer within {limit:g} s")
    except Exception as error:  # one probe must not cost the answers of the others
        return {}, _unmet(f"{type(error).__name__}: {error}")


def _unmet(detail: str) -> Check:
    """A failed check. Its detail may contain what programs and servers said: one line, without control characters."""
    text = "".join(letter if letter.isprintable() else " " for letter in detail)
    return {"ok": False, "detail": text[:MAX_DETAIL]}
