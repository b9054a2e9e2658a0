"""Is there a GPU that TensorRT could use? Asked in a process of its own.

    python -P device.py ANSWER

CUDA must not be started in a process that forks later, and broken drivers crash. Run as a file, it
imports nothing of this project.
"""

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

MAJOR, MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h."""


def found() -> dict[str, Any]:
    """{"name", "capability"} of the first GPU, or {"reason"} why there is none."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return {"reason": "there is no NVIDIA driver here"}
    if cuda.cuInit(0) != 0:
        return {"reason": "the NVIDIA driver finds no GPU"}
    count, device = ctypes.c_int(0), ctypes.c_int(0)
    if cuda.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value < 1:
        return {"reason": "the NVIDIA driver finds no GPU"}
    cuda.cuDeviceGet(ctypes.byref(device), 0)
    name = ctypes.create_string_buffer(256)
    cuda.cuDeviceGetName(name, len(name), device)
    capability = []
    for attribute in (MAJOR, MINOR):
        value = ctypes.c_int(0)
        cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        capability.append(value.value)
    return {"name": name.value.decode(errors="replace"), "capability": capability}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(found()), encoding="utf-8")
