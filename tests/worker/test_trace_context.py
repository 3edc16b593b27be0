"""The hook that runs before a job gives its steps the trace of the run."""

from pathlib import Path

import pytest

from bridge.core.trace_ids import run_span_id, trace_id
from tests.worker.test_hooks import run


def environment_file(folder: Path, **variables: str) -> str:
    """What the hook wrote to GITHUB_ENV."""
    path = folder / "env"
    path.write_text("A=1\n")
    run("job_started.sh", folder, **{"GITHUB_ENV": str(path), "RUNNER_TRACE_CONTEXT": "1", **variables})
    return path.read_text().removeprefix("A=1\n")


def test_the_steps_of_a_job_get_the_trace_of_their_run(tmp_path: Path) -> None:
    written = environment_file(tmp_path, GITHUB_RUN_ID="14460881260", GITHUB_RUN_ATTEMPT="13")
    assert written == f"TRACEPARENT=00-{trace_id(14460881260, 13)}-{run_span_id(14460881260, 13)}-01\n"


@pytest.mark.parametrize(
    "variables",
    [
        {"GITHUB_RUN_ID": "1", "GITHUB_RUN_ATTEMPT": "1", "RUNNER_TRACE_CONTEXT": ""},
        {"GITHUB_RUN_ID": "1"},
        {"GITHUB_RUN_ATTEMPT": "1"},
        {},
        {"GITHUB_RUN_ID": "1; touch x", "GITHUB_RUN_ATTEMPT": "1"},
        {"GITHUB_RUN_ID": "1", "GITHUB_RUN_ATTEMPT": "1\nEVIL=1"},
    ],
)
def test_without_a_request_of_the_endpoint_or_a_run_nothing_is_set(tmp_path: Path, variables: dict[str, str]) -> None:
    assert environment_file(tmp_path, **variables) == ""


def test_without_a_file_for_variables_the_hook_still_succeeds(tmp_path: Path) -> None:
    variables = {"GITHUB_RUN_ID": "1", "GITHUB_RUN_ATTEMPT": "1", "RUNNER_TRACE_CONTEXT": "1"}
    assert "GPU: none" in run("job_started.sh", tmp_path, **variables)
    assert "GPU: none" in run("job_started.sh", tmp_path, **variables, GITHUB_ENV=str(tmp_path / "missing"))
    assert not (tmp_path / "missing").exists()
