"""Any number of repositories and trivial jobs, for measurements."""

from collections.abc import Mapping

from bridge.emulator.github.state import GitHubState
from bridge.emulator.jobs import JobResult, JobSpec, RunSpec

LABELS = ("self-hosted", "runpod", "gpu")


def fill(state: GitHubState, repositories: int, jobs: int) -> None:
    """Add repositories to the first organisation, and queue jobs in them in turn, each in its own run."""
    owner = next(iter(state.organisations))
    names = [f"{owner}/synthetic-{number:04}" for number in range(repositories)]
    for name in names:
        state.add_repository(name)
    for number in range(jobs):
        state.add_run(names[number % repositories], _run(number))


def _run(number: int) -> RunSpec:
    job = JobSpec(key="job", name=f"job {number}", labels=LABELS, message=_message)
    path = ".github/workflows/synthetic.yml"
    return RunSpec(workflow="synthetic", path=path, event="push", sha="0" * 40, branch="main", jobs=(job,))


def _message(_needs: Mapping[str, JobResult]) -> Mapping[str, object]:
    steps = [{"run": "true"}]
    workflow = {"name": "synthetic", "on": "push", "jobs": {"job": {"runs-on": "self-hosted", "steps": steps}}}
    return {"workflow": workflow, "job": "job", "event": "push"}
