"""The contract between the bridge and the worker: the input of a request, and the worker's answer.

Times are Unix seconds (UTC), durations are seconds.
"""

from enum import StrEnum
from typing import NotRequired, TypedDict


class Reason(StrEnum):
    """How a request ended. The worker and the bridge both use these words."""

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
    STARVED = "starved"  # only the bridge uses it: the request left an endpoint without capacity


SECOND_DELIVERY = frozenset({Reason.SESSION_CONFLICT, Reason.NAME_TAKEN})
"""What a second worker of the same request answers while the runner of the first one listens or works."""


class Credentials(StrEnum):
    """What a worker gets to register its runner with."""

    JIT = "jit"
    REGISTRATION = "registration"
    APP = "app"
    PAT = "pat"


class WorkerInput(TypedDict, total=False):
    """The keys of a request's `input` that the worker reads. The job gets all other keys as `JOB_INPUT`."""

    mode: str  # one of Credentials; if it is missing, the other keys and the environment decide
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
    cache_gb: float  # 10^9 bytes that the cache of a repository may have; without it, jobs have no cache
    not_after: float  # Unix seconds; a worker that starts later starts no runner
    submission: str  # the ledger's id, for the log
    self_test: bool  # true, without any other key of this list: run no job, and describe the worker


SELF_TEST = "self_test"
"""The `outcome` of a self-test. It ends no submission, so it is no Reason."""


class Check(TypedDict, total=False):
    """What one probe of a self-test found."""

    ok: bool
    detail: str  # why not, in one line; only if it is not ok


class Gpu(TypedDict):
    """One GPU, as nvidia-smi describes it."""

    name: str
    memory_mb: int  # 10^6 bytes
    driver: str


class SelfTest(TypedDict, total=False):
    """What a worker found out about itself. What is not known is missing; `checks` says why."""

    flavour: str  # of the image: gpu or cpu
    worker_version: str  # of this project
    runner_version: str  # as the installed runner printed it
    sdk_version: str  # of RunPod's SDK
    python_version: str
    gpus: list[Gpu]  # empty without a GPU
    cuda_version: str  # the newest that the driver supports, such as 12.6
    disk_free_mb: int  # in the runner's folder, where jobs work
    volume_free_mb: int  # on the network volume
    memory_mb: int  # what the container may use
    process_seconds: float  # s from the start of the worker's process until it took this request
    github_seconds: dict[str, float]  # s: dns, connect (with its own look-up), tls, answer; and total without dns
    runner_account: str  # the user that jobs run as
    worker: str  # RunPod's id
    data_center: str
    checks: dict[str, Check]  # by probe: runner, gpu, cuda, disk, volume, memory, github, account, sudo, ...


class GpuUsage(TypedDict):
    """How a job used the GPUs of its worker: samples of NVML, all GPUs together."""

    name: str  # of the first GPU
    count: int  # GPUs
    driver: str
    memory_mb: int  # 10^6 bytes of all GPUs
    peak_memory_mb: int  # 10^6 bytes, the most in use at one time
    mean_utilisation: NotRequired[float]  # percent of the time in which the GPUs worked; missing if they do not tell it
    peak_utilisation: NotRequired[float]  # percent


def gpu_line(usage: GpuUsage) -> str:
    """How a job used the GPUs, as one line for a person."""
    count = f"{usage['count']} x " if usage["count"] > 1 else ""
    peak, memory = usage["peak_memory_mb"] / 1000, usage["memory_mb"] / 1000
    told = f"GPU: {count}{usage['name']}, peak memory {peak:.1f} of {memory:.1f} GB"
    if "mean_utilisation" in usage and "peak_utilisation" in usage:
        told += f", mean utilisation {usage['mean_utilisation']:.0f} %, peak {usage['peak_utilisation']:.0f} %"
    return told


class WorkerAnswer(TypedDict, total=False):
    """A request's `output`.

    A failure has `outcome`, and if the runner was started, `seconds` and what is known of the machine. Its `error` is
    `{reason}: {detail}`.
    """

    outcome: (
        str  # Reason.COMPLETED, NO_JOB (the runner listened), EXPIRED (nothing was started), SELF_TEST, or a failure's
    )
    job: str | None  # the job's display name
    result: str | None  # the runner's result: Succeeded | Failed | Canceled | Skipped | Abandoned
    runner_name: str
    runner_version: str | None
    exit_code: int | None  # the Listener's
    self_test: SelfTest  # only with the outcome SELF_TEST, which has no other key
    boot_seconds: float  # s from the start of the worker's process until it took this request; RunPod bills them
    gpu_type: str  # NVML's name of the first GPU; missing if nothing was measured
    gpu_usage: GpuUsage  # of the job; missing without a GPU, and if NVML does not work
    data_center: str  # RunPod's id
    seconds: dict[str, float]  # per phase: configure, connect, listen (with GitHub, for a job), job, leave, cleanup


JIT_LIFETIME = 86_400.0
"""s; GitHub removes an ephemeral registration that has not connected for a day."""


WORKER_GRACE = 120.0
"""s by which the worker's own idle limit exceeds the route's, so that the bridge acts first."""


BOOT_ALLOWANCE = 300.0
"""s that a worker has for its cold start and clean-up, in addition to the job's time."""
