"""A program of its own: answers each line of its input with one line of JSON about the GPUs, through NVML.

NVML can hang or crash, so the worker does not load it. This program ends when its input ends.
https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html
"""

import contextlib
import json
import sys
from typing import Any, TextIO


def sample(nvml: Any) -> dict[str, Any]:
    """One sample of all GPUs together; without `utilisation` if a GPU does not tell it, as in MIG mode.

    Args:
        nvml: the module pynvml, initialised.
    """
    gpus = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    memory = [nvml.nvmlDeviceGetMemoryInfo(gpu) for gpu in gpus]
    found = {
        "name": nvml.nvmlDeviceGetName(gpus[0]),
        "count": len(gpus),
        "driver": nvml.nvmlSystemGetDriverVersion(),
        "memory": sum(each.total for each in memory),
        "used": sum(each.used for each in memory),
    }
    with contextlib.suppress(nvml.NVMLError):
        found["utilisation"] = sum(nvml.nvmlDeviceGetUtilizationRates(gpu).gpu for gpu in gpus) / len(gpus)
    return found


def serve(nvml: Any, asked: TextIO) -> None:
    """Print one sample, or the error, for each line of `asked`. Without a driver or a GPU, print nothing."""
    try:
        nvml.nvmlInit()
        if not nvml.nvmlDeviceGetCount():
            return
    except nvml.NVMLError as error:
        if error.value != nvml.NVML_ERROR_LIBRARY_NOT_FOUND:
            print(json.dumps({"error": str(error)}), flush=True)
        return
    for _ in asked:
        try:
            found = sample(nvml)
        except nvml.NVMLError as error:
            found = {"error": str(error)}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    import pynvml

    serve(pynvml, sys.stdin)
