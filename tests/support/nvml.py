"""A stand-in for NVIDIA's libraries: NVML and the CUDA driver, as C that a test compiles.

Signatures: https://docs.nvidia.com/deploy/nvml-api/ and https://docs.nvidia.com/cuda/cuda-driver-api/
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.background import until

_NVML = r"""
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <unistd.h>
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned int gpu, memory; } rates;
static unsigned int count; static unsigned long long total, used; static int rate, fails;
/* Reads what the test wants now. */
static int told(void) {
    FILE *file = fopen(STATE, "r");
    if (!file) return 999;
    if (fscanf(file, "%u %llu %llu %d %d", &count, &total, &used, &rate, &fails) != 5) fails = 999;
    fclose(file);
    if (fails == -1) sleep(600);
    if (fails == -2) abort();
    return fails;
}
int nvmlInitWithFlags(unsigned int flags) { return told() == 9 ? 9 : 0; }
int nvmlDeviceGetCount_v2(unsigned int *found) { told(); *found = count; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) { *device = (void *)(long)(index + 1); return 0; }
int nvmlDeviceGetMemoryInfo(void *device, memory *found) {
    int code = told();
    FILE *calls = fopen(CALLS, "a");
    if (calls) { fputc('.', calls); fclose(calls); }
    found->total = total; found->used = used; found->free = total - used;
    return code;
}
int nvmlDeviceGetUtilizationRates(void *device, rates *found) {
    if (rate < 0) return 3;
    found->gpu = rate;
    return 0;
}
int nvmlDeviceGetName(void *device, char *name, unsigned int length) { strncpy(name, "NVIDIA L4", length); return 0; }
int nvmlSystemGetDriverVersion(char *version, unsigned int length) { strncpy(version, "550.54.15", length); return 0; }
const char *nvmlErrorString(int code) { return "fake error"; }
"""


class FakeNvml:
    """NVML's library in a folder for LD_LIBRARY_PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._state, self._calls = folder / "state", folder / "calls"
        self.tell()
        build(folder, "libnvidia-ml.so.1", _NVML, STATE=str(self._state), CALLS=str(self._calls))

    def tell(self, *, count: int = 1, used: int = 0, rate: int = 0, fails: int = 0) -> None:
        """What the next calls say.

        Args:
            count: GPUs, each with 24 GB.
            used: bytes of each.
            rate: percent; -1 if the GPU does not tell it.
            fails: the code that a sample fails with; -1 to hang, -2 to crash; 9 fails to initialise, too.
        """
        new = self.folder / "new"
        new.write_text(f"{count} {24 * 10**9} {used} {rate} {fails}")
        new.rename(self._state)

    def sampled(self) -> None:
        """Wait until what was told last has been sampled."""
        before = self._samples()
        until(lambda: self._samples() > before + 1)

    def _samples(self) -> int:
        return self._calls.stat().st_size if self._calls.exists() else 0


def build(folder: Path, name: str, source: str, **macros: str) -> None:
    """Compile a library into a folder, or skip the test if there is no C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    definitions = [f'-D{macro}="{value}"' for macro, value in macros.items()]
    command = [compiler, "-shared", "-fPIC", "-w", *definitions, "-x", "c", "-o", str(folder / name), "-"]
    subprocess.run(command, input=source, text=True, check=True)
