"""How long the worker waits for others. Passed to everything that waits."""

from dataclasses import dataclass

from bridge.core.worker import WORKER_GRACE


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The worker's time limits, in seconds unless a field says otherwise.

    Args:
        configure: for config.sh, which waits only for GitHub.
        connect: for the first answer from GitHub, to this worker or to its runner. The runner retries every 30 s.
        reconnect: for a runner that lost its connection before a job. The runner retries every 15 to 60 s.
        idle_grace: how much longer the worker waits for a job than the request's `idle_timeout`, so that the bridge
            acts first.
        deletion: for GitHub's answer to the deletion of a registration.
        deletion_retry: between two attempts to delete a registration.
        kept_busy: how long a runner that GitHub calls busy may go without starting its job. GitHub itself fails a job
            that has not been renewed for 10 minutes.
        kept_unknown: how long an idle runner is kept while GitHub does not answer the deletion.
        interrupt: for the Listener to cancel its job and exit after an interrupt. GitHub's runner takes up to 14 s:
            it interrupts the step, terminates it after 7.5 s, kills it after 2.5 s more, and starts no other step.
        group_interrupt: between the interrupt and the kill of a program and everything it started.
        killed: for a program to end after it was killed. A network volume or a broken driver can keep it in the kernel.
        exit: for the runner to exit after its job. It still uploads logs then.
        restarts: number of times a Listener that failed before a job is started again.
        restart_wait: before the first restart; each further wait is twice as long.
        drain: for the end of a program's output, if a step left a process that keeps the output open.
        reap_every: between two checks for orphans that have exited. Each keeps its process id until then.
        progress: how long the answer waits for a progress message that is being sent.
        answer: for the SDK to deliver the answer after SIGTERM, before the process exits.
        clock_error: by how much this machine's clock may be wrong.
        clock_answer: for GitHub's answer to the question what time it is.
        cache: for the network volume, to create the folder of the caches.
        diagnostics: to save the runner's logs of a failure, perhaps on a network volume.
        clean_up: to remove what a job has left, before the next job and after each.
        gpu_every: between two samples of the GPUs during a job.
        gpu_answer: for one sample. NVML can hang if a driver is broken; then nothing more is measured.
        fitness: for each check of the GPU before the first request. A broken driver can hang.
        probe: for each probe of a self-test. CUDA needs seconds to initialise on a machine with many GPUs.
    """

    configure: float = 60.0
    connect: float = 50.0
    reconnect: float = 120.0
    idle_grace: float = WORKER_GRACE
    deletion: float = 5.0
    deletion_retry: float = 30.0
    kept_busy: float = 900.0
    kept_unknown: float = 300.0
    interrupt: float = 15.0
    group_interrupt: float = 5.0
    killed: float = 10.0
    exit: float = 300.0
    restarts: int = 3
    restart_wait: float = 1.0
    drain: float = 2.0
    reap_every: float = 1.0
    progress: float = 5.0
    answer: float = 10.0
    clock_error: float = 900.0
    clock_answer: float = 5.0
    cache: float = 20.0
    diagnostics: float = 30.0
    clean_up: float = 120.0
    gpu_every: float = 5.0
    gpu_answer: float = 30.0
    fitness: float = 60.0
    probe: float = 30.0


LIMITS = Limits()
"""The limits of a worker on RunPod."""
