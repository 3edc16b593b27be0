"""The job that the Listener gives to the Worker."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A job to run.

    Args:
        runner_name: of the runner.
        work: the work folder.
        repository: owner/name.
        workspace: path of the git repository that is checked out, if there is one.
        sha: the commit.
        ref: the git ref, or empty.
        event: that triggered the run.
        payload: of the event.
        workflow: as JSON, with the job and stubs for the jobs that it needs.
        job: its key in the workflow.
    """

    runner_name: str
    work: Path
    repository: str
    workspace: str | None
    sha: str
    ref: str
    event: str
    payload: Mapping[str, object]
    workflow: Mapping[str, object]
    job: str

    @property
    def checkout(self) -> Path:
        """The directory of the clone, as with the real runner."""
        name = self.repository.rpartition("/")[2]
        return self.work / name / name

    @property
    def temp(self) -> Path:
        """Emptied before and after each job."""
        return self.work / "_temp"
