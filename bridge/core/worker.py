"""The contract between the bridge and the worker: what a request asks for, and how the worker answers.

Times are Unix seconds (UTC), durations seconds.
"""

from enum import StrEnum
from typing import TypedDict


class Reason(StrEnum):
    """How a request ended, in the words that the worker and the bridge share."""

    COMPLETED = "completed"
    NO_JOB = "no_job"
    REGISTRATION_LOST = "registration_lost"
    VERSION_DEPRECATED = "version_deprecated"
    CONFIGURATION_FAILED = "configuration_failed"
    NAME_TAKEN = "name_taken"
    CREDENTIAL_EXPIRED = "credential_expired"
    SESSION_CONFLICT = "session_conflict"
    BAD_INPUT = "bad_input"
    STOPPED = "stopped"
    TIMED_OUT = "timed_out"
    GITHUB_UNREACHABLE = "github_unreachable"
    EXPIRED = "expired"
    CRASHED = "crashed"


class Credentials(StrEnum):
    """What a worker is given to register its runner with."""

    JIT = "jit"
    REGISTRATION = "registration"
    APP = "app"
    PAT = "pat"


class WorkerInput(TypedDict, total=False):
    """The keys of a request's `input` that the worker reads; all others reach the job as `JOB_INPUT`."""

    mode: str  # one of Credentials; without it, what the other keys and the environment allow
    jit_config: str  # base64, secret until used
    registration_token: str  # secret, one hour
    github_pat: str  # secret; discouraged
    github_org: str  # organisation on github.com, instead of runner_url
    runner_url: str  # https://github.com/ORG, https://github.com/OWNER/REPO, or the same on the GHES of the endpoint
    runner_name: str  # at most 64 characters
    runner_labels: list[str]  # the whole set; each at most 256 characters, without commas
    runner_group: str  # the group's name
    job_timeout: float  # s, from the job's start
    idle_timeout: float  # s that the bridge lets a runner wait; the worker itself waits 120 s longer
    not_after: float  # Unix seconds; a worker that starts later starts nothing
    submission: str  # the ledger's id, for the log


class WorkerAnswer(TypedDict, total=False):
    """A request's `output`.

    A failure has `outcome` and, once the runner was started, `seconds`, and beside the output the string `error`:
    `{reason}: {detail}`.
    """

    outcome: str  # Reason.COMPLETED, NO_JOB (the runner listened) or EXPIRED (nothing was started), or a failure's
    job: str | None  # the job's display name
    result: str | None  # Succeeded | Failed | Canceled | Skipped | Abandoned, the runner's word
    runner_name: str
    runner_version: str | None
    exit_code: int | None  # the Listener's
    seconds: dict[str, float]  # per phase: configure, connect, listen (with GitHub, for a job), job, leave, cleanup


JIT_LIFETIME = 86_400.0
"""s; GitHub removes an ephemeral registration that never connected after a day."""


WORKER_GRACE = 120.0
"""s by which the worker's own idle limit exceeds the route's, so that the bridge acts first."""


BOOT_ALLOWANCE = 300.0
"""s granted to a worker for its cold start and clean-up, beyond the job's own time."""
