"""The Listener: handles the command line and the session, and takes jobs one after the other."""

import json
import os
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path

from . import console, settings
from .command import Command, parse
from .configure import Refused, configure
from .dispatch import Dispatcher, Done
from .session import Deprecated, Session, SessionConflict, SessionRefused
from .shutdown import Shutdown, Signals
from .web import Unreachable

ROOT = Path(__file__).parents[3]
"""The runner's directory: this file is installed as bin/standin/program/listener.py."""

USAGE = """
Commands:
 ./config.sh                Configures the runner
 ./bin/Runner.Listener run  Runs the runner. The official runner's run.sh and `config.sh remove` are not imitated."""

ONCE_WARNING = """\
Warning: '--once' is going to be deprecated in the future, please consider using '--ephemeral' during runner \
registration.
https://docs.github.com/en/actions/hosting-your-own-runners/autoscaling-with-self-hosted-runners\
#using-ephemeral-runners-for-autoscaling"""


class Code(IntEnum):
    """Exit codes of the Listener: src/Runner.Common/Constants.cs of actions/runner."""

    SUCCESS = 0
    TERMINATED = 1
    RETRYABLE = 2
    SESSION_CONFLICT = 5
    VERSION_DEPRECATED = 7


def main(argv: Sequence[str]) -> int:
    """Run the command line; returns the exit code."""
    console.use_utf8()
    settings.load_environment(ROOT)
    command = parse(argv, os.environ)
    if command.unknown:
        console.complain(
            f"Unrecognized command-line input arguments for command {command.name or 'run'}: "
            f"'{', '.join(command.unknown)}'. For usage refer to: .\\config.cmd --help or ./config.sh --help"
        )
    version = json.loads((ROOT / "bin" / "standin" / "install.json").read_text())["version"]
    try:
        return _execute(command, version)
    except Deprecated as deprecated:
        console.complain(f"An error occurred: {deprecated}")
        own_code = os.environ.get("ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE") == "1"
        return Code.VERSION_DEPRECATED if own_code else Code.TERMINATED
    except Exception as error:  # the official runner exits with 2 after any unhandled exception
        console.complain(f"An error occurred: {error}")
        return Code.RETRYABLE


def _execute(command: Command, version: str) -> int:
    if command.flag("help"):
        console.say(USAGE)
        return Code.SUCCESS
    if command.flag("version"):
        console.say(version)
        return Code.SUCCESS
    if command.name == "configure":
        return _configure(command, version)
    if command.name == "run":
        return _run(command, version)
    console.say(USAGE)
    return Code.SUCCESS


def _configure(command: Command, version: str) -> int:
    try:
        configure(ROOT, command, version)
    except (Refused, Unreachable) as error:
        console.complain(str(error))
        return Code.TERMINATED
    except KeyboardInterrupt:
        console.say("Exiting...")
        return Code.TERMINATED
    return Code.SUCCESS


def _run(command: Command, version: str) -> int:
    encoded = command.argument("jitconfig")
    try:
        if encoded:
            settings.save_jit(ROOT, encoded)
    except settings.BadJitConfig as error:
        console.complain(str(error))
        return Code.TERMINATED
    if not settings.is_configured(ROOT):
        console.complain("Runner is not configured.")
        console.say(USAGE)
        return Code.TERMINATED
    if command.flag("once"):
        console.say(ONCE_WARNING)
    return _listen(settings.load(ROOT), version, once=command.flag("once"))


def _listen(runner: settings.Settings, version: str, *, once: bool) -> int:
    log = console.Diagnostics(ROOT, "Runner")
    signals = Signals()
    session = Session(runner, settings.load_credentials(ROOT), version, log, signals)
    try:
        session.create()
        console.say(f"Current runner version: '{version}'")
        console.event("Listening for Jobs")
        dispatcher = Dispatcher(ROOT, runner, session, log, signals)
        return _take_jobs(session, dispatcher, once or runner.ephemeral)
    except Shutdown:
        return Code.SUCCESS
    except SessionConflict:
        return Code.SESSION_CONFLICT
    except SessionRefused:
        return Code.TERMINATED
    finally:
        log.close()


def _take_jobs(session: Session, dispatcher: Dispatcher, once: bool) -> int:
    try:
        while True:
            request = session.next_job()
            if request is None:
                console.complain("The runner no longer exists on the server. Cleaning up local configuration.")
                settings.delete(ROOT)
                return Code.SUCCESS
            done = dispatcher.run(request)
            if (done is Done.RAN and once) or (done is Done.LOST and dispatcher.runner.ephemeral):
                break
    finally:
        session.delete()
    if dispatcher.runner.ephemeral:
        settings.delete(ROOT)
    return Code.SUCCESS
