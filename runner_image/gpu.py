"""Measures how a job uses the GPUs. Whatever goes wrong here has no effect on the job."""

import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bridge.core.worker import GpuUsage, gpu_line
from runner_image.limits import Limits
from runner_image.programs import program_environment

PROGRAM = Path(__file__).with_name("nvml.py")
FILE = "RUNNER_GPU_USAGE"
"""The variable that tells the completed hook which file has the line for the job's log."""

_MB = 10**6


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The GPUs at one moment.

    Args:
        name: of the first GPU.
        count: number of GPUs.
        driver: its version.
        memory: bytes of all GPUs.
        used: of these bytes.
        utilisation: percent, mean over all GPUs; None if they do not tell it.
    """

    name: str
    count: int
    driver: str
    memory: int
    used: int
    utilisation: float | None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured so far.

    Args:
        last: the newest sample.
        most_used: bytes, the most of all samples.
        rates: number of samples that tell the utilisation.
        sum_of_rates: percent, the sum of these.
        highest_rate: percent.
    """

    last: Sample
    most_used: int = 0
    rates: int = 0
    sum_of_rates: float = 0.0
    highest_rate: float = 0.0

    def after(self, sample: Sample) -> "Measured":
        """What is known after one more sample."""
        seen = replace(self, last=sample, most_used=max(self.most_used, sample.used))
        if sample.utilisation is None:
            return seen
        return replace(
            seen,
            rates=self.rates + 1,
            sum_of_rates=self.sum_of_rates + sample.utilisation,
            highest_rate=max(self.highest_rate, sample.utilisation),
        )

    @property
    def usage(self) -> GpuUsage:
        """For the answer."""
        usage: GpuUsage = {
            "name": self.last.name,
            "count": self.last.count,
            "driver": self.last.driver,
            "memory_mb": self.last.memory // _MB,
            "peak_memory_mb": self.most_used // _MB,
        }
        if self.rates:
            usage["mean_utilisation"] = round(self.sum_of_rates / self.rates, 1)
            usage["peak_utilisation"] = round(self.highest_rate, 1)
        return usage


class GpuMeter:
    """Samples the GPUs while a job runs, through a program that is started before the runner.

    Args:
        environment: the worker's.
        limits: how often to sample, and how long a sample may take.
        emit: writes one event to the log, as name and fields.
    """

    def __init__(self, environment: Mapping[str, str], limits: Limits, emit: Callable[..., None]) -> None:
        self._environment = environment
        self._limits = limits
        self._emit = emit
        self._process: asyncio.subprocess.Process | None = None
        self._folder: Path | None = None
        self._sampling: asyncio.Task[None] | None = None
        self._measured: Measured | None = None

    @property
    def usage(self) -> GpuUsage | None:
        """What the job used; None if nothing was measured."""
        return self._measured.usage if self._measured else None

    async def open(self) -> dict[str, str]:
        """Start the program, unless this is the image for CPUs. Returns variables for the runner."""
        if self._environment.get("RUNNER_BUILD_TYPE") == "cpu":
            return {}
        try:
            # Jobs can read this folder, but only this process's user can write to it.
            self._folder = Path(tempfile.mkdtemp(prefix="gpu-"))
            self._folder.chmod(0o755)
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", str(PROGRAM)),
                cwd="/",
                env=program_environment(self._environment),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            self._emit("GPU not measured", detail=str(error))
            return {}
        return {FILE: str(self._folder / "line")}

    def begin(self) -> None:
        """The job starts."""
        if self._process and self._sampling is None:
            self._sampling = asyncio.ensure_future(self._sample(self._process))

    def end(self) -> None:
        """The job has ended."""
        if self._sampling:
            self._sampling.cancel()

    async def close(self) -> None:
        """Stop measuring, and end the program."""
        self.end()
        if self._sampling:
            await asyncio.wait([self._sampling])
        if self._process:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            with contextlib.suppress(TimeoutError, OSError):  # a broken driver can keep it in the kernel
                # Not `wait`: this closes its pipes, too.
                await asyncio.wait_for(self._process.communicate(b""), self._limits.killed)
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _sample(self, process: asyncio.subprocess.Process) -> None:
        """Take samples until the program does not answer any more."""
        assert process.stdin and process.stdout  # noqa: S101 - both are pipes
        try:
            while True:
                process.stdin.write(b"\n")
                await process.stdin.drain()
                async with asyncio.timeout(self._limits.gpu_answer):
                    line = await process.stdout.readline()
                if not line:
                    return
                self._learn(json.loads(line))
                await asyncio.sleep(self._limits.gpu_every)
        except TimeoutError:
            self._emit("GPU not measured", detail=f"NVML did not answer within {self._limits.gpu_answer:g} s")
        except ConnectionError:  # the program has ended: there is no GPU
            return
        except Exception as error:
            self._emit("GPU not measured", detail=f"{type(error).__name__}: {error}")

    def _learn(self, answer: object) -> None:
        sample = _sample_of(answer)
        if sample is None:
            return
        self._measured = (self._measured or Measured(last=sample)).after(sample)
        self._tell_hook(gpu_line(self._measured.usage))

    def _tell_hook(self, line: str) -> None:
        """Replace the hook's file in one step, because the hook may read it now."""
        assert self._folder  # noqa: S101 - the program was started after it
        new = self._folder / "new"
        with contextlib.suppress(OSError):  # a full disk: the answer still tells it
            new.write_text(f"{line}\n")
            new.rename(self._folder / "line")


def _sample_of(answer: object) -> Sample | None:
    """The sample in an answer of the program; None if it could not take one."""
    match answer:
        case {
            "name": str() as name,
            "count": int() as count,
            "driver": str() as driver,
            "memory": int() as memory,
            "used": int() as used,
            **others,
        }:
            rate = others.get("utilisation")
            told = float(rate) if isinstance(rate, int | float) else None
            return Sample(name=name, count=count, driver=driver, memory=memory, used=used, utilisation=told)
    return None
