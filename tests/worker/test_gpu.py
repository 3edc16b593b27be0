"""What a worker tells about its GPU: in the job's log and in its answer, and that a broken NVML never costs a job."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from bridge.core.history import execution_of
from bridge.core.model import Request, RequestStatus
from runner_image import gpu, nvml
from tests.support import ROOT
from tests.support.background import until
from tests.support.nvml import FakeNvml
from tests.worker.workers import Worker


@pytest.fixture
def library(tmp_path: Path, worker: Worker) -> FakeNvml:
    """A fake NVML that the worker finds; the worker samples every 50 ms."""
    folder = tmp_path / "nvidia"
    folder.mkdir()
    worker.patch.setenv("LD_LIBRARY_PATH", str(folder))
    worker.patch.setenv("ACTIONS_RUNNER_HOOK_JOB_COMPLETED", str(ROOT / "runner_image/hooks/job_completed.sh"))
    worker.limit(gpu_every=0.05)
    return FakeNvml(folder)


def waits(worker: Worker) -> str:
    """A step that runs until `go(worker)`."""
    return f"touch {worker.standin.home}/in; while ! [ -e {worker.standin.home}/go ]; do sleep 0.05; done"


def in_step(worker: Worker) -> None:
    until((worker.standin.home / "in").exists)


def go(worker: Worker) -> None:
    (worker.standin.home / "go").touch()


def logged(output: str, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in output.splitlines() if line.startswith('{"at": ')]
    return [line for line in lines if line["event"] == event]


def test_a_job_tells_how_it_used_the_gpu(worker: Worker, library: FakeNvml) -> None:
    worker.patch.setenv("RUNPOD_DC_ID", "EU-RO-1")
    job = worker.standin.queue(waits(worker))

    def work() -> None:
        in_step(worker)
        for used, rate in ((7_100_000_000, 90), (1_000_000_000, 30)):
            library.tell(used=used, rate=rate)
            library.sampled()
        go(worker)

    answer = worker.handle(work, **worker.jit())
    usage = answer["gpu_usage"]
    mean = usage.pop("mean_utilisation")
    assert 0 < mean < 90
    assert usage == {
        "name": "NVIDIA L4", "count": 1, "driver": "550.54.15", "memory_mb": 24_000, "peak_memory_mb": 7_100,
        "peak_utilisation": 90.0,
    }  # fmt: skip
    assert (answer["gpu_type"], answer["data_center"]) == ("NVIDIA L4", "EU-RO-1")
    assert "GPU: NVIDIA L4, peak memory 7.1 of 24.0 GB, mean utilisation " in job.log
    assert " %, peak 90 %\n" in job.log


def test_all_gpus_count_together(worker: Worker, library: FakeNvml) -> None:
    library.tell(count=2, used=6_000_000_000, rate=50)
    job = worker.standin.queue("sleep 0.5")
    answer = worker.handle(**worker.jit())
    assert answer["gpu_usage"]["memory_mb"] == 48_000
    assert "GPU: 2 x NVIDIA L4, peak memory 12.0 of 48.0 GB, mean utilisation 50 %, peak 50 %\n" in job.log


def test_a_gpu_that_tells_no_utilisation_tells_its_memory(worker: Worker, library: FakeNvml) -> None:
    library.tell(used=500_000_000, rate=-1)
    job = worker.standin.queue("sleep 0.5")
    usage = worker.handle(**worker.jit())["gpu_usage"]
    assert "mean_utilisation" not in usage
    assert "GPU: NVIDIA L4, peak memory 0.5 of 24.0 GB\n" in job.log


def test_a_job_that_fails_or_takes_too_long_tells_how_it_used_the_gpu(worker: Worker, library: FakeNvml) -> None:
    worker.standin.queue("sleep 0.3; exit 1")
    assert worker.handle(**worker.jit())["gpu_usage"]["count"] == 1
    worker.standin.queue("sleep 60")
    answer = worker.handle(**worker.jit(job_timeout=1))
    assert answer["outcome"] == "timed_out"
    assert answer["gpu_usage"]["count"] == 1
    assert answer["seconds"]["job"] >= 1


def test_only_the_job_is_measured_not_the_wait_for_it(worker: Worker, library: FakeNvml) -> None:
    worker.replace_listener("echo '2026-09-16 15:14:46Z: Listening for Jobs'; sleep 0.5")
    answer = worker.handle(**worker.jit())
    assert answer["outcome"] == "no_job"
    assert "gpu_usage" not in answer


def test_an_image_for_cpus_does_not_look_for_a_gpu(worker: Worker, library: FakeNvml) -> None:
    worker.patch.setenv("RUNNER_BUILD_TYPE", "cpu")
    worker.standin.queue("sleep 0.3")
    assert "gpu_usage" not in worker.handle(**worker.jit())
    assert not (library.folder / "calls").exists()


def test_without_a_driver_nothing_is_told_and_nothing_is_logged(
    worker: Worker, capsys: pytest.CaptureFixture[str]
) -> None:
    job = worker.standin.queue("sleep 0.3")
    assert "gpu_usage" not in worker.handle(**worker.jit())
    assert job.conclusion == "success"
    assert logged(capsys.readouterr().out, "GPU not measured") == []


@pytest.mark.parametrize(
    ("fails", "detail"),
    [(9, None), (999, None), (-1, "NVML did not answer within 0.5 s"), (-2, None)],
    ids=["no driver", "error", "hangs", "crashes"],
)
@pytest.mark.parametrize("late", [False, True], ids=["from the start", "during the job"])
def test_an_nvml_that_breaks_does_not_touch_the_job(
    worker: Worker,
    library: FakeNvml,
    capsys: pytest.CaptureFixture[str],
    *,
    fails: int,
    detail: str | None,
    late: bool,
) -> None:
    worker.limit(gpu_answer=0.5)
    broken = {"used": 1_000_000_000, "fails": fails}
    if not late:
        library.tell(**broken)
    job = worker.standin.queue(f"{waits(worker)}; sleep 1")

    def work() -> None:
        in_step(worker)
        if late:
            library.sampled()
            library.tell(**broken)
        go(worker)

    before = psutil.Process().children()
    answer = worker.handle(work, **worker.jit())
    assert (answer["outcome"], answer["result"], job.conclusion) == ("completed", "Succeeded", "success")
    assert ("gpu_usage" in answer) == late, "what was measured before is told"
    events = logged(capsys.readouterr().out, "GPU not measured")
    assert [event["detail"] for event in events] == ([detail] if detail else [])
    assert psutil.Process().children() == before


def test_an_error_in_between_is_skipped(worker: Worker, library: FakeNvml) -> None:
    job = worker.standin.queue(waits(worker))

    def work() -> None:
        in_step(worker)
        library.tell(fails=999)
        library.sampled()
        library.tell(used=3_000_000_000)
        library.sampled()
        go(worker)

    answer = worker.handle(work, **worker.jit())
    assert answer["gpu_usage"]["peak_memory_mb"] == 3_000
    assert "peak memory 3.0 of 24.0 GB" in job.log


def test_a_disk_without_room_costs_the_line_only(worker: Worker, library: FakeNvml) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    worker.patch.setattr(Path, "write_text", full)
    measured = gpu.GpuMeter({}, worker.limits, lambda *_, **__: None)
    measured._folder = Path("/nowhere")
    measured._learn({"name": "L4", "count": 1, "driver": "550", "memory": 10**9, "used": 10**6})
    assert measured.usage is not None


@pytest.mark.parametrize("answer", [None, [], "x", {}, {"error": "x"}, {"name": "L4", "count": "1"}])
def test_an_answer_that_is_no_sample_is_skipped(worker: Worker, answer: object) -> None:
    measured = gpu.GpuMeter({}, worker.limits, lambda *_, **__: None)
    measured._learn(answer)
    assert measured.usage is None


def test_the_folder_for_the_hook_cannot_be_written_by_jobs_and_is_removed(worker: Worker, library: FakeNvml) -> None:
    worker.replace_listener(
        f'echo "2026-09-16 15:14:46Z: Running job: x"; echo $RUNNER_GPU_USAGE > {worker.standin.home}/where;'
        f"stat -c %a $(dirname $RUNNER_GPU_USAGE) > {worker.standin.home}/mode"
    )
    worker.handle(**worker.jit())
    assert (worker.standin.home / "mode").read_text().strip() == "755"
    where = Path((worker.standin.home / "where").read_text().strip())
    assert where.is_absolute()
    assert not where.parent.exists()


def test_the_bridge_keeps_what_a_worker_tells(worker: Worker, library: FakeNvml) -> None:
    worker.standin.queue("sleep 0.3")
    answer = worker.handle(**worker.jit())
    kept = execution_of(Request(id="r", status=RequestStatus.COMPLETED, output=json.loads(json.dumps(answer))))
    assert kept.gpu_usage == answer["gpu_usage"]
    assert kept.gpu_type == "NVIDIA L4"


def test_the_program_tells_why_it_cannot_start_but_not_that_there_is_no_gpu(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Broken(Exception):
        value = 999

    def init() -> None:
        raise Broken("Unknown Error")

    fake = SimpleNamespace(nvmlInit=init, NVMLError=Broken, NVML_ERROR_LIBRARY_NOT_FOUND=12)
    nvml.serve(fake, io.StringIO("\n"))
    assert json.loads(capsys.readouterr().out) == {"error": "Unknown Error"}
    none = SimpleNamespace(**{**vars(fake), "nvmlInit": lambda: None, "nvmlDeviceGetCount": lambda: 0})
    nvml.serve(none, io.StringIO("\n"))
    assert capsys.readouterr().out == ""
