"""RunPod's handler: runs one GitHub Actions job for one request, or a self-test, then exits.

This is the worker's program. To try it without RunPod: `python3 handler.py --test_input '{"input": {...}}'`.
"""

import asyncio
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import psutil

if __name__ == "__main__":  # a program's own folder is on the path, but not the parent, which contains bridge
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bridge.core.worker import SELF_TEST, Reason, WorkerAnswer
from runner_image import fitness, self_test
from runner_image.account import SUDOERS, refuse_exposed_keys, runner_account, shield
from runner_image.events import Events
from runner_image.failure import Failure
from runner_image.installation import Installation, runner_root
from runner_image.limits import LIMITS, Limits
from runner_image.masking import Masker
from runner_image.pace import Pace
from runner_image.process import adopt_orphans, unbroken
from runner_image.progress import Reporter, Send
from runner_image.request import names, parse
from runner_image.session import Session

Exit = Callable[[int], object]
"""Ends this process at once with an exit code."""

SECRETS = ("GITHUB_PAT", "GITHUB_APP_PRIVATE_KEY", "RUNPOD_AI_API_KEY", "RUNPOD_API_KEY")


async def handle(request: Mapping[str, Any], *, limits: Limits = LIMITS, leave: Exit = os._exit) -> dict[str, Any]:
    """Run one job.

    Args:
        request: from RunPod, with `id` and `input`.
        limits: how long to wait.
        leave: ends this process.

    Returns:
        A bridge.core.worker.WorkerAnswer. If no job ran to its end, it has the key `error`: `{reason}: {detail}`.
    """
    masker = Masker([*(os.environ.get(name) for name in SECRETS), *_secrets(request.get("input"))])
    # RunPod sets the variable; a local trial does not.
    reporter = Reporter(_to_runpod(request), limits.progress) if os.environ.get("RUNPOD_WEBHOOK_POST_OUTPUT") else None
    emit = Events(masker, reporter, request=request.get("id"), **names(request.get("input")))
    try:
        return dict(masker.masked(await _served(request, masker, emit, limits, leave)))
    except Failure as failure:
        return _failed(failure, masker, emit)
    except asyncio.CancelledError:
        # The SDK would not answer, and would take the next request in this worker.
        emit("stopped", detail="RunPod cancelled the request")
        raise SystemExit(0) from None
    except Exception as error:
        return _failed(Failure(Reason.CRASHED, f"{type(error).__name__}: {error}"), masker, emit)
    finally:
        if reporter:
            await unbroken(reporter.close())


async def handle_and_tell(request: Mapping[str, Any], *, limits: Limits = LIMITS) -> dict[str, Any]:
    """Run one job as `handle` does, and tell how long this worker took to start, because RunPod bills that, too.

    Args:
        request: from RunPod, with `id` and `input`.
        limits: how long to wait.

    Returns:
        As of `handle`.
    """
    boot = time.time() - psutil.Process().create_time()
    answer = await handle(request, limits=limits)
    return answer if answer.get("outcome") == SELF_TEST else {**answer, "boot_seconds": round(boot, 3)}


def _failed(failure: Failure, masker: Masker, emit: Events) -> dict[str, Any]:
    emit("failed", reason=failure.reason, detail=failure.detail)
    known: dict[str, Any] = masker.masked(failure.known)
    return {"outcome": failure.reason.value, **known, "error": masker.mask(str(failure))}


async def _served(
    request: Mapping[str, Any], masker: Masker, emit: Events, limits: Limits, leave: Exit
) -> WorkerAnswer:
    """Parse the request and run its session, or the self-test."""
    if self_test.is_self_test(request.get("input")):
        answer = await _until_sigterm(self_test.answer(os.environ, limits, os.geteuid()), limits.answer, leave)
        emit("done", **answer)
        return answer
    parsed = parse(request.get("input"), os.environ)
    emit.bind(submission=parsed.submission, runner=parsed.name)
    emit("request taken", mode=parsed.mode)
    refuse_exposed_keys(parsed.mode, os.environ, os.geteuid(), sudo=SUDOERS.exists())
    account = runner_account(os.environ, os.geteuid())
    runner = Installation(root=runner_root(os.environ), account=account, limits=limits)
    session = Session(parsed, runner, environment=os.environ, masker=masker, emit=emit)
    answer = await _until_sigterm(session.run(), limits.answer, leave)
    emit("done", **answer)
    return answer


async def _until_sigterm(work: Coroutine[Any, Any, WorkerAnswer], answer_limit: float, leave: Exit) -> WorkerAnswer:
    """Do the work in its own task, so that SIGTERM can end it and the SDK can still send an answer."""
    running = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    terminated = asyncio.Event()

    def terminate() -> None:
        if not terminated.is_set():
            terminated.set()
            running.cancel()

    sdk_handler = signal.getsignal(signal.SIGTERM)
    loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        return await running
    except asyncio.CancelledError:
        if not terminated.is_set():
            raise
        raise Failure(Reason.STOPPED, "RunPod stopped the worker (SIGTERM)") from None
    finally:
        if terminated.is_set():
            loop.call_later(answer_limit, _leave, leave)
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, sdk_handler)


def _leave(leave: Exit) -> None:
    """End this process at once. The SDK's open poll would keep it for up to 90 s, its ping process forever."""
    for child in multiprocessing.active_children():
        child.kill()
    leave(128 + signal.SIGTERM)


def _to_runpod(request: Mapping[str, Any]) -> Send:
    """A function that sends progress of `request`, as the SDK's worker does."""

    async def send(message: Mapping[str, Any]) -> None:
        from runpod.http_client import AsyncClientSession
        from runpod.serverless.modules.rp_http import send_result

        async with AsyncClientSession() as session:
            await send_result(session, {"status": "IN_PROGRESS", "output": dict(message)}, request)

    return send


def _secrets(given: object) -> list[str]:
    """The secrets in an input, whether it is valid or not."""
    keys = ("jit_config", "registration_token", "github_pat")
    return [v for k in keys if isinstance(v := given.get(k), str)] if isinstance(given, Mapping) else []


def main(limits: Limits = LIMITS) -> None:
    """Start the SDK's worker."""
    # The SDK's default, DEBUG, logs whole requests and answers.
    os.environ.setdefault("RUNPOD_DEBUG_LEVEL", "INFO")
    import runpod

    adopt_orphans()
    shield(os.environ)
    account = runner_account(os.environ, os.geteuid())
    for check in fitness.checks(runner_root(os.environ), os.environ, account, limits):
        runpod.serverless.register_fitness_check(check)
    handler = partial(handle_and_tell, limits=limits)
    runpod.serverless.start({"handler": handler, "refresh_worker": True, "concurrency_modifier": Pace()})


if __name__ == "__main__":
    main()
