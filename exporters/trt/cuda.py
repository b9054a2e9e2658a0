"""Device memory, streams and graphs of a GPU, by the functions of its driver.

`libcuda` is wherever there is a GPU, whatever was installed: neither pycuda nor cuda-python nor a
CUDA toolkit is needed, and TensorRT works in the same primary context. The functions are those of
the CUDA driver API (cuda.h), called by ctypes under the names that its macros stand for.
"""

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from compressor.errors import TargetError
from compressor.graph.tensors import Array

NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING: a stream that does not wait for the default one."""
THREAD_LOCAL = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may allocate while this one captures."""

_INT, _SIZE, _HANDLE = ctypes.c_uint, ctypes.c_size_t, ctypes.c_void_p
_ADDRESS = ctypes.c_uint64
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (_INT,),
    "cuDeviceGet": (ctypes.POINTER(ctypes.c_int), ctypes.c_int),
    "cuDevicePrimaryCtxRetain": (ctypes.POINTER(_HANDLE), ctypes.c_int),
    "cuDevicePrimaryCtxRelease_v2": (ctypes.c_int,),
    "cuCtxSetCurrent": (_HANDLE,),
    "cuMemAlloc_v2": (ctypes.POINTER(_ADDRESS), _SIZE),
    "cuMemFree_v2": (_ADDRESS,),
    "cuMemcpyHtoDAsync_v2": (_ADDRESS, _HANDLE, _SIZE, _HANDLE),
    "cuMemcpyDtoHAsync_v2": (_HANDLE, _ADDRESS, _SIZE, _HANDLE),
    "cuStreamCreate": (ctypes.POINTER(_HANDLE), _INT),
    "cuStreamSynchronize": (_HANDLE,),
    "cuStreamDestroy_v2": (_HANDLE,),
    "cuStreamBeginCapture_v2": (_HANDLE, ctypes.c_int),
    "cuStreamEndCapture": (_HANDLE, ctypes.POINTER(_HANDLE)),
    "cuEventCreate": (ctypes.POINTER(_HANDLE), _INT),
    "cuEventRecord": (_HANDLE, _HANDLE),
    "cuEventElapsedTime": (ctypes.POINTER(ctypes.c_float), _HANDLE, _HANDLE),
    "cuEventDestroy_v2": (_HANDLE,),
    "cuGraphInstantiateWithFlags": (ctypes.POINTER(_HANDLE), _HANDLE, ctypes.c_ulonglong),
    "cuGraphLaunch": (_HANDLE, _HANDLE),
    "cuGraphDestroy": (_HANDLE,),
    "cuGraphExecDestroy": (_HANDLE,),
}
"""Function of cuda.h → the types of its arguments; each returns a CUresult, 0 for success."""


def driver() -> Any:
    """The driver's library.

    Raises:
        TargetError: There is none.
    """
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        raise TargetError(f"there is no NVIDIA driver here: {error}") from error
    for function, types in SIGNATURES.items():
        getattr(library, function).argtypes = types
    return library


class Cuda:
    """The first GPU, with one stream. Not for several threads at a time.

    Args:
        library: The driver; default: this machine's.

    Raises:
        TargetError: There is no driver or no GPU.
    """

    def __init__(self, library: Any = None) -> None:
        self._library = driver() if library is None else library
        self._call("cuInit", 0)
        device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._device = device.value
        self._context = _HANDLE()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        self._stream = _HANDLE()
        self._events: list[ctypes.c_void_p] = []
        try:
            self.make_current()
            self._call("cuStreamCreate", ctypes.byref(self._stream), NON_BLOCKING)
        except TargetError:
            self._call("cuDevicePrimaryCtxRelease_v2", self._device)
            raise

    @property
    def stream(self) -> int:
        """The stream's handle, as TensorRT takes it."""
        return self._stream.value or 0

    def make_current(self) -> None:
        """Make the calling thread work on this GPU."""
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, size: int) -> int:
        """The address of so many bytes of device memory.

        Raises:
            TargetError: There is not as much left.
        """
        address = _ADDRESS()
        self._call("cuMemAlloc_v2", ctypes.byref(address), max(1, size))
        return address.value

    def free(self, address: int) -> None:
        """Give device memory back."""
        self._call("cuMemFree_v2", address)

    def upload(self, address: int, array: Array) -> None:
        """Begin to copy a contiguous array, which has to live until `wait`, to the device."""
        if array.nbytes:
            self._call(
                "cuMemcpyHtoDAsync_v2", address, array.ctypes.data, array.nbytes, self._stream
            )

    def download(self, address: int, array: Array) -> None:
        """Begin to copy from the device into a contiguous array; it is there after `wait`."""
        if array.nbytes:
            self._call(
                "cuMemcpyDtoHAsync_v2", array.ctypes.data, address, array.nbytes, self._stream
            )

    def wait(self) -> None:
        """Wait until everything on the stream is done."""
        self._call("cuStreamSynchronize", self._stream)

    def timed(self, enqueue: Callable[[], None]) -> float:
        """Wait for what `enqueue` puts on the stream; milliseconds between events around it.

        What a host takes to wait and to wake up is not in it; what the GPU waits for a host that
        puts several pieces of work on the stream is.
        """
        while len(self._events) < 2:
            event = _HANDLE()
            self._call("cuEventCreate", ctypes.byref(event), 0)
            self._events.append(event)
        began, ended = self._events
        self._call("cuEventRecord", began, self._stream)
        enqueue()
        self._call("cuEventRecord", ended, self._stream)
        self.wait()
        milliseconds = ctypes.c_float()
        self._call("cuEventElapsedTime", ctypes.byref(milliseconds), began, ended)
        return milliseconds.value

    def captured(self, enqueue: Callable[[], None]) -> int:
        """The handle of an executable graph of what `enqueue` puts on the stream.

        Raises:
            TargetError: The work cannot be captured.
        """
        graph, executable = _HANDLE(), _HANDLE()
        with self._capturing(graph):
            enqueue()
        try:
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, 0)
        finally:
            self._call("cuGraphDestroy", graph)
        return executable.value or 0

    def launch(self, graph: int) -> None:
        """Put a captured graph on the stream."""
        self._call("cuGraphLaunch", graph, self._stream)

    def drop(self, graph: int) -> None:
        """Give an executable graph back."""
        self._call("cuGraphExecDestroy", graph)

    def close(self) -> None:
        """Give the stream and the context back; memory and graphs have to be gone."""
        for event in self._events:
            self._call("cuEventDestroy_v2", event)
        self._events.clear()
        self._call("cuStreamDestroy_v2", self._stream)
        self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    @contextmanager
    def _capturing(self, graph: ctypes.c_void_p) -> Iterator[None]:
        """A capture that was begun is ended, or the stream would be of no use any more."""
        self._call("cuStreamBeginCapture_v2", self._stream, THREAD_LOCAL)
        try:
            yield
        except BaseException:
            self._library.cuStreamEndCapture(self._stream, ctypes.byref(graph))
            raise
        self._call("cuStreamEndCapture", self._stream, ctypes.byref(graph))

    def _call(self, function: str, *arguments: Any) -> None:
        """Call the driver.

        Raises:
            TargetError: It returns anything but CUDA_SUCCESS.
        """
        code = getattr(self._library, function)(*arguments)
        if code != 0:
            raise TargetError(f"the GPU fails: {function} returns CUresult {code}")


def contiguous(array: Array, dtype: np.dtype[Any]) -> Array:
    """An array as a copy to the device needs it."""
    return np.ascontiguousarray(array, dtype=dtype)
