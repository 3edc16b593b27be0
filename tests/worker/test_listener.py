"""How the Listener's output and exit codes are read."""

from functools import reduce

import pytest

from bridge.core.worker import Reason
from runner_image.listener import Phase, Progress, conclude, conclude_stopped

T = "2026-09-16 15:14:46Z: "
LISTENING = f"{T}Listening for Jobs"
RUNNING = f"{T}Running job: build (1, x)"
LOST = (
    "2026-04-09 10:14:15Z: Runner connect error: Registration de0841aa-6ee5-4a4e-b5ad-7a3c8e1c4a0e was not found.. "
    "Retrying until reconnected."
)  # https://github.com/actions/runner/issues/4191
UNREACHABLE = f"{T}Runner connect error: Connection refused (127.0.0.1:1). Retrying until reconnected."
RECONNECTED = f"{T}Runner reconnected."
CONFLICT = [
    "A session for this runner already exists.",
    f"{T}Runner connect error: Error: Conflict. Retrying until reconnected.",
]
CONNECTED = ["√ Connected to GitHub", "Current runner version: '2.338.0'", LISTENING]


def after(*lines: str) -> Progress:
    return reduce(Progress.after, lines, Progress())


def test_a_job_is_followed_from_its_start_to_its_result() -> None:
    progress = after(*CONNECTED, RUNNING, f"{T}Job build (1, x) completed with result: Failed")
    assert progress == Progress(version="2.338.0", listening=True, job="build (1, x)", result="Failed")


@pytest.mark.parametrize("result", ["Succeeded", "Failed", "Canceled", "Skipped", "Abandoned"])
def test_every_result_is_a_completed_request(result: str) -> None:
    progress = after(*CONNECTED, RUNNING, f"{T}Job build (1, x) completed with result: {result}")
    assert conclude(progress, 0)[0] is Reason.COMPLETED
    assert conclude(progress, 1)[0] is Reason.COMPLETED, "the line counts, not the code"


@pytest.mark.parametrize(
    ("lines", "code", "reason"),
    [
        (CONNECTED, 0, Reason.NO_JOB),
        ([], 0, Reason.REGISTRATION_LOST),
        ([], 1, Reason.CONFIGURATION_FAILED),
        ([], 2, Reason.CRASHED),
        ([], 5, Reason.SESSION_CONFLICT),
        ([], 7, Reason.VERSION_DEPRECATED),
        ([], 99, Reason.CRASHED),
        ([], -9, Reason.CRASHED),
        ([*CONNECTED, RUNNING], 0, Reason.CRASHED),
        ([*CONNECTED, RUNNING], -9, Reason.CRASHED),
        (["A session for this runner already exists."], 1, Reason.SESSION_CONFLICT),
        (
            ["An error occured: Runner version v2.300.0 is deprecated and cannot receive messages."],
            1,
            Reason.VERSION_DEPRECATED,
        ),
        (
            [f"{T}An error occurred: Runner version v2.300.0 is deprecated and cannot receive messages."],
            1,
            Reason.VERSION_DEPRECATED,
        ),
        (
            ["Failed to create a session. The runner registration has been deleted from the server, please ..."],
            1,
            Reason.REGISTRATION_LOST,
        ),
        (
            [*CONNECTED, "The runner no longer exists on the server. Cleaning up local configuration."],
            0,
            Reason.REGISTRATION_LOST,
        ),
        ([*CONNECTED, LOST], 0, Reason.REGISTRATION_LOST),
        ([UNREACHABLE], 0, Reason.GITHUB_UNREACHABLE),
        ([*CONNECTED, UNREACHABLE], 0, Reason.GITHUB_UNREACHABLE),
        ([*CONNECTED, UNREACHABLE, RECONNECTED], 0, Reason.NO_JOB),
        (
            ["An error occurred: Error: Forbidden Runner version v2.336.0 is deprecated and cannot receive messages."],
            1,
            Reason.VERSION_DEPRECATED,
        ),
    ],
)
def test_an_exit_without_a_result_has_a_reason(lines: list[str], code: int, reason: Reason) -> None:
    assert conclude(after(*lines), code)[0] is reason


@pytest.mark.parametrize("passed", [LISTENING, RECONNECTED])
def test_an_error_that_passed_is_forgotten(passed: str) -> None:
    progress = after(*CONNECTED, *CONFLICT, passed)
    assert conclude(progress, 0)[0] is Reason.NO_JOB


@pytest.mark.parametrize(
    ("lines", "code", "detail"),
    [
        (["An error occurred: No such host"], 2, "the runner exited with code 2: An error occurred: No such host"),
        (["An error occured: No such host"], 2, "the runner exited with code 2: An error occured: No such host"),
        (
            [f"{T}An error occurred: x", "Warning: y", *CONNECTED[:2]],
            2,
            "the runner exited with code 2: An error occurred: x",
        ),
        (["An error occurred: x", LISTENING], 2, "the runner exited with code 2"),
        (["An error occurred: x" * 99], -6, f"the runner exited with code -6: {'An error occurred: x' * 25}"),
        (
            ["Failed to create session. Error: Forbidden"],
            1,
            "the runner could not start a session: Failed to create session. Error: Forbidden",
        ),
    ],
)
def test_the_runners_error_message_is_part_of_the_detail(lines: list[str], code: int, detail: str) -> None:
    assert conclude(after(*lines), code)[1] == detail


def test_each_phase_follows_from_the_runners_output() -> None:
    lines = [*CONNECTED, UNREACHABLE, RECONNECTED, RUNNING, UNREACHABLE, f"{T}Job x completed with result: Failed"]
    said = [after(*lines[: n + 1]).phase for n in range(len(lines))]
    assert said == [
        *(Phase.CONNECT, Phase.CONNECT, Phase.LISTEN, Phase.CONNECT, Phase.LISTEN),
        *(Phase.JOB, Phase.JOB, Phase.LEAVE),
    ]


@pytest.mark.parametrize(
    ("before", "between", "reason"),
    [
        (CONNECTED, [], Reason.NO_JOB),
        (CONNECTED, ["Exiting..."], Reason.NO_JOB),
        ([], [], Reason.GITHUB_UNREACHABLE),
        ([UNREACHABLE], [], Reason.GITHUB_UNREACHABLE),
        ([*CONNECTED, UNREACHABLE], [], Reason.GITHUB_UNREACHABLE),
        (CONFLICT, [], Reason.SESSION_CONFLICT),
        ([*CONNECTED, LOST], [], Reason.REGISTRATION_LOST),
        ([*CONNECTED, RUNNING], [], Reason.TIMED_OUT),
        ([*CONNECTED, RUNNING], ["Canceled"], Reason.TIMED_OUT),
        ([*CONNECTED, RUNNING], ["Succeeded"], Reason.COMPLETED),
        ([*CONNECTED, RUNNING, f"{T}Job build (1, x) completed with result: Failed"], [], Reason.COMPLETED),
        (CONNECTED, [RUNNING], Reason.STOPPED),
        (CONNECTED, [RUNNING, "Canceled"], Reason.COMPLETED),
        ([*CONNECTED, LOST], [RUNNING, "Canceled"], Reason.COMPLETED),
        ([*CONNECTED, UNREACHABLE], [RECONNECTED, RUNNING], Reason.STOPPED),
    ],
)
def test_a_stopped_runner_had_no_job_only_if_it_listened_and_mentioned_none(
    before: list[str], between: list[str], reason: Reason
) -> None:
    results = {"Canceled", "Succeeded"}
    spoken = [f"{T}Job build (1, x) completed with result: {line}" if line in results else line for line in between]
    assert conclude_stopped(after(*before), after(*before, *spoken), 60.0)[0] is reason


def test_a_jobs_name_is_not_mistaken_for_a_result() -> None:
    name = f"x completed with result: Succeeded {T}Job x completed with result: Succeeded"
    progress = after(*CONNECTED, f"{T}Running job: {name}")
    assert progress.result is None
    ended = progress.after(f"{T}Job {name} completed with result: Failed")
    assert ended.result == "Failed"


def test_a_message_inside_another_line_is_ignored() -> None:
    progress = after(f"[RUNNER {T}INFO Terminal] WRITE LINE: {RUNNING}", "  Listening for Jobs")
    assert progress == Progress()


def test_only_a_runner_without_a_registration_is_hopeless() -> None:
    assert after(*CONNECTED, LOST).hopeless
    assert not after(*CONNECTED, RUNNING, LOST).hopeless
    assert not after(*CONNECTED).hopeless
