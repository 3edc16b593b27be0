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


_CUDA = r"""
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <unistd.h>
static char name[64]; static int code, gpu, count, current;
/* The code of one call: what the test wants if it is the call of the right GPU. */
static int of(const char *call) {
    FILE *file = fopen(STATE, "r");
    if (!file || fscanf(file, "%63s %d %d %d", name, &code, &gpu, &count) != 4) return 999;
    fclose(file);
    if (strcmp(call, name) || (gpu >= 0 && gpu != current)) return 0;
    if (code == -1) sleep(600);
    if (code == -2) abort();
    return code;
}
int cuDriverGetVersion(int *version) { *version = 12040; return 0; }
int cuInit(unsigned int flags) { return of("cuInit"); }
int cuDeviceGetCount(int *found) { int failed = of("cuDeviceGetCount"); *found = count; return failed; }
int cuDeviceGet(int *device, int index) { current = *device = index; return of("cuDeviceGet"); }
int cuDevicePrimaryCtxRetain(void **context, int device) {
    *context = (void *)(long)(device + 1);
    return device == current ? of("cuDevicePrimaryCtxRetain") : 101;
}
int cuCtxSetCurrent(void *context) { return context == (void *)(long)(current + 1) ? of("cuCtxSetCurrent") : 201; }
int cuMemAlloc_v2(unsigned long long *memory, size_t size) {
    *memory = (unsigned long long)malloc(size);
    return of("cuMemAlloc_v2");
}
int cuMemsetD8_v2(unsigned long long memory, unsigned char value, size_t size) {
    memset((void *)memory, value, size);
    return of("cuMemsetD8_v2");
}
int cuCtxSynchronize(void) { return of("cuCtxSynchronize"); }
int cuMemFree_v2(unsigned long long memory) { free((void *)memory); return of("cuMemFree_v2"); }
int cuDevicePrimaryCtxRelease_v2(int device) { return of("cuDevicePrimaryCtxRelease_v2"); }
"""


class FakeCuda:
    """The CUDA driver's library in a folder for LD_LIBRARY_PATH."""

    def __init__(self, folder: Path) -> None:
        self._state = folder / "cuda-state"
        self.tell()
        build(folder, "libcuda.so.1", _CUDA, STATE=str(self._state))

    def tell(self, call: str = "-", code: int = 0, *, gpu: int = -1, count: int = 1) -> None:
        """What the next calls return.

        Args:
            call: that fails.
            code: that it returns; -1 to hang, -2 to crash.
            gpu: on which it fails; -1 for any.
            count: GPUs.
        """
        self._state.write_text(f"{call} {code} {gpu} {count}")


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
