"""RunPod's handler: one request, one GitHub Actions job, and out.

Started as the worker's program. A trial without RunPod: `python3 handler.py --test_input '{"input": {...}}'`.
"""

import asyncio
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # as a program its own folder is on the path, but not the one that holds bridge
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bridge.core.worker import Reason, WorkerAnswer
from runner_image import fitness
from runner_image.account import SUDOERS, refuse_exposed_keys, runner_account, shield
from runner_image.events import Events
from runner_image.failure import Failure
from runner_image.masking import Masker
from runner_image.pace import Pace
from runner_image.process import adopt_orphans, unbroken
from runner_image.progress import Reporter, Send
from runner_image.request import names, parse
from runner_image.session import Session

ANSWER_LIMIT = 10.0
"""s that the SDK has to deliver an answer after SIGTERM, before the process leaves."""

SECRETS = ("GITHUB_PAT", "GITHUB_APP_PRIVATE_KEY", "RUNPOD_AI_API_KEY", "RUNPOD_API_KEY")


def runner_root(environment: Mapping[str, str]) -> Path:
    """Where the runner is installed."""
    return Path(environment.get("RUNNER_DIR") or "/actions-runner").resolve()


async def handle(request: Mapping[str, Any]) -> dict[str, Any]:
    """Run one job.

    Args:
        request: as RunPod hands it over: `id` and `input`.

    Returns:
        A bridge.core.model.WorkerAnswer; with the key `error`, `{reason}: {detail}`, when no job was run to its end.
    """
    masker = Masker([*(os.environ.get(name) for name in SECRETS), *_secrets(request.get("input"))])
    # Set by RunPod, and so absent in a local trial.
    reporter = Reporter(_to_runpod(request)) if os.environ.get("RUNPOD_WEBHOOK_POST_OUTPUT") else None
    emit = Events(masker, reporter, request=request.get("id"), **names(request.get("input")))
    try:
        return dict(masker.masked(await _served(request, masker, emit)))
    except Failure as failure:
        return _failed(failure, masker, emit)
    except asyncio.CancelledError:
        # The SDK would send no answer, and take the next request in a worker that is to be fresh.
        emit("stopped", detail="RunPod stopped the request")
        raise SystemExit(0) from None
    except Exception as error:
        return _failed(Failure(Reason.CRASHED, f"{type(error).__name__}: {error}"), masker, emit)
    finally:
        if reporter:
            await unbroken(reporter.close())


def _failed(failure: Failure, masker: Masker, emit: Events) -> dict[str, Any]:
    emit("failed", reason=failure.reason, detail=failure.detail)
    timed = {"seconds": dict(failure.seconds)} if failure.seconds else {}
    return {"outcome": failure.reason.value, **timed, "error": masker.mask(str(failure))}


async def _served(request: Mapping[str, Any], masker: Masker, emit: Events) -> WorkerAnswer:
    """Run the session in a task of its own, so that SIGTERM can end it and still answer."""
    parsed = parse(request.get("input"), os.environ)
    emit.bind(submission=parsed.submission, runner=parsed.name)
    emit("request taken", mode=parsed.mode)
    refuse_exposed_keys(parsed.mode, os.environ, sudo=SUDOERS.exists())
    session = Session(parsed, root=runner_root(os.environ), environment=os.environ, masker=masker, emit=emit)
    running = asyncio.ensure_future(session.run())
    loop = asyncio.get_running_loop()
    told = asyncio.Event()

    def terminate() -> None:
        if not told.is_set():
            told.set()
            running.cancel()

    sdk_handler = signal.getsignal(signal.SIGTERM)
    loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        answer = await running
    except asyncio.CancelledError:
        if not told.is_set():
            raise
        raise Failure(Reason.STOPPED, "the worker was told to stop") from None
    finally:
        if told.is_set():
            loop.call_later(ANSWER_LIMIT, _leave)
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, sdk_handler)
    emit("done", **answer)
    return answer


def _leave() -> None:
    """Leave at once: the SDK's open poll would hold the process for up to 90 s more, its ping process for ever."""
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(128 + signal.SIGTERM)


def _to_runpod(request: Mapping[str, Any]) -> Send:
    """How the SDK's worker sends progress of `request`."""

    async def send(message: Mapping[str, Any]) -> None:
        from runpod.http_client import AsyncClientSession
        from runpod.serverless.modules.rp_http import send_result

        async with AsyncClientSession() as session:
            await send_result(session, {"status": "IN_PROGRESS", "output": dict(message)}, request)

    return send


def _secrets(given: object) -> list[str]:
    """The secrets of an input, valid or not."""
    keys = ("jit_config", "registration_token", "github_pat")
    return [v for k in keys if isinstance(v := given.get(k), str)] if isinstance(given, Mapping) else []


def main() -> None:
    """Start the SDK's worker."""
    # At the SDK's default it logs whole requests and answers.
    os.environ.setdefault("RUNPOD_DEBUG_LEVEL", "INFO")
    import runpod

    adopt_orphans()
    shield(os.environ)
    for check in fitness.checks(runner_root(os.environ), os.environ, runner_account(os.environ)):
        runpod.serverless.register_fitness_check(check)
    runpod.serverless.start({"handler": handle, "refresh_worker": True, "concurrency_modifier": Pace()})


if __name__ == "__main__":
    main()
