"""A program of its own: initialises CUDA, writes to some memory of each GPU, and prints what it found as JSON.

CUDA can hang or crash, and keeps memory of the GPU, so the worker does not load it.
https://docs.nvidia.com/cuda/cuda-driver-api/
"""

import ctypes
import json
from typing import Any

ALLOCATED = 16 * 2**20
"""Bytes that are allocated on each GPU."""


def describe(cuda: Any) -> dict[str, Any]:
    """The driver's newest CUDA version as CUDA writes it, such as 12060, and what failed, None if nothing did.

    Args:
        cuda: the library libcuda.
    """
    version = ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(version))
    return {"version": version.value, "failed": _failed(cuda)}


def _failed(cuda: Any) -> str | None:
    count = ctypes.c_int()
    for name, arguments in (("cuInit", (0,)), ("cuDeviceGetCount", (ctypes.byref(count),))):
        if code := cuda[name](*arguments):  # CUresult; 0 is success
            return f"{name} returned {code}"
    if not count.value:
        return "CUDA finds no GPU"
    return next((failed for index in range(count.value) if (failed := _failed_on(cuda, index))), None)


def _failed_on(cuda: Any, index: int) -> str | None:
    """What failed on one GPU. A call reads what the calls before it have written into its arguments."""
    device, context, memory = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
    size = ctypes.c_size_t(ALLOCATED)
    calls = (
        ("cuDeviceGet", (ctypes.byref(device), index)),
        ("cuDevicePrimaryCtxRetain", (ctypes.byref(context), device)),
        ("cuCtxSetCurrent", (context,)),
        ("cuMemAlloc_v2", (ctypes.byref(memory), size)),
        ("cuMemsetD8_v2", (memory, ctypes.c_ubyte(1), size)),
        ("cuCtxSynchronize", ()),
        ("cuMemFree_v2", (memory,)),
        ("cuDevicePrimaryCtxRelease_v2", (device,)),
    )
    for name, arguments in calls:
        if code := cuda[name](*arguments):
            return f"{name} returned {code} on GPU {index}"
    return None


if __name__ == "__main__":
    print(json.dumps(describe(ctypes.CDLL("libcuda.so.1"))))
