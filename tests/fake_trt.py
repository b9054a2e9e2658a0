"""A GPU and a TensorRT that only write down what they are asked, and compute y = 2 x.

`FakeDriver` takes the arguments by the signatures of the driver, `FakeTrt` the members that
`test_trt_conformance` holds against the real bindings.
"""

import ctypes
import json
from types import SimpleNamespace

import numpy as np

from exporters.trt.cuda import SIGNATURES


class FakeDriver:
    """Device memory is memory of the host; calls are checked and recorded."""

    def __init__(self, fails: str = "") -> None:
        self.calls: list[str] = []
        self.memory: dict[int, ctypes.Array] = {}
        self.capturing = False
        self.fails = fails
        self.milliseconds = 0.25
        self.pending: list = []
        self.captured: list = []

    def __getattr__(self, name: str):
        if name not in SIGNATURES:
            raise AttributeError(name)
        types = SIGNATURES[name]

        def call(*arguments: object) -> int:
            assert len(arguments) == len(types), name
            for argument, kind in zip(arguments, types, strict=True):
                if not hasattr(argument, "_obj"):  # what byref made is a pointer
                    kind(getattr(argument, "value", argument))
            self.calls.append(name)
            if name == self.fails:
                return 2
            work = getattr(type(self), f"_{name}", None)
            if work is not None:
                work(self, *arguments)
            return 0

        return call

    def named(self, *names: str) -> list[str]:
        return [call for call in self.calls if call in names]

    def enqueue(self, work) -> None:
        (self.captured if self.capturing else self.pending).append(work)

    def _cuStreamCreate(self, stream, flags) -> None:  # noqa: N802 - the driver's name
        stream._obj.value = 77

    def _cuMemAlloc_v2(self, address, size) -> None:  # noqa: N802
        block = ctypes.create_string_buffer(size)
        address._obj.value = ctypes.addressof(block)
        self.memory[ctypes.addressof(block)] = block

    def _cuMemFree_v2(self, address) -> None:  # noqa: N802
        assert not self.pending, "memory was freed while the stream works"
        del self.memory[address]

    def _cuMemcpyHtoDAsync_v2(self, to, source, size, stream) -> None:  # noqa: N802
        assert size <= len(self.memory[to])
        self.enqueue(lambda: ctypes.memmove(to, source, size))

    def _cuMemcpyDtoHAsync_v2(self, to, source, size, stream) -> None:  # noqa: N802
        assert size <= len(self.memory[source])
        self.enqueue(lambda: ctypes.memmove(to, source, size))

    def _cuStreamSynchronize(self, stream) -> None:  # noqa: N802
        assert not self.capturing, "a stream that is captured cannot be waited for"
        for work in self.pending:
            work()
        self.pending.clear()

    def _cuStreamBeginCapture_v2(self, stream, mode) -> None:  # noqa: N802
        self.capturing = True
        self.captured = []

    def _cuStreamEndCapture(self, stream, graph) -> None:  # noqa: N802
        self.capturing = False
        graph._obj.value = 5

    def _cuEventCreate(self, event, flags) -> None:  # noqa: N802
        event._obj.value = 100 + self.calls.count("cuEventCreate")

    def _cuEventRecord(self, event, stream) -> None:  # noqa: N802
        assert not self.capturing, "an event of a graph tells no time"

    def _cuEventElapsedTime(self, milliseconds, began, ended) -> None:  # noqa: N802
        assert not self.pending, "events tell nothing before they came"
        milliseconds._obj.value = self.milliseconds

    def _cuGraphInstantiateWithFlags(self, executable, graph, flags) -> None:  # noqa: N802
        executable._obj.value = 6

    def _cuGraphLaunch(self, executable, stream) -> None:  # noqa: N802
        self.pending += self.captured


class FakeTrt:
    """Engines of one input x and one output y of its shape.

    Args:
        driver: The GPU.
        declared: The shape of x, -1 for open sizes.
        profiles: Least, most likely and greatest shape of each.
        refuses: A method that returns what a failure returns.
    """

    class Logger:
        ERROR = 1

        def __init__(self, severity: int) -> None:
            assert severity == self.ERROR

    TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")
    TensorLocation = SimpleNamespace(HOST="host", DEVICE="device")
    LayerInformationFormat = SimpleNamespace(JSON="json")

    def __init__(self, driver: FakeDriver, declared=(2, 3), profiles=(), refuses="") -> None:
        self.driver, self.declared, self.profiles = driver, declared, profiles
        self.refuses = refuses
        self.layers: list = []

    def nptype(self, dtype: object) -> type:
        return np.float32

    def Runtime(self, logger: "FakeTrt.Logger") -> "FakeRuntime":  # noqa: N802
        return FakeRuntime(self)


class Alive:
    """Writes down when it goes, as a context has to go before its engine."""

    def __init__(self, trt: FakeTrt) -> None:
        self.trt = trt

    def __del__(self) -> None:
        self.trt.driver.calls.append(f"del {type(self).__name__}")


class FakeRuntime(Alive):
    def deserialize_cuda_engine(self, content: bytes) -> "FakeEngine | None":
        return FakeEngine(self.trt) if content == b"engine" else None


class FakeEngine(Alive):
    num_io_tensors = 2

    @property
    def num_optimization_profiles(self) -> int:
        return max(1, len(self.trt.profiles))

    def create_execution_context(self) -> "FakeContext":
        return FakeContext(self.trt)

    def get_tensor_name(self, index: int) -> str:
        return ("x", "y")[index]

    def get_tensor_mode(self, name: str) -> str:
        return {"x": "in", "y": "out"}[name]

    def get_tensor_dtype(self, name: str) -> str:
        return "FLOAT"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.trt.declared

    def get_tensor_location(self, name: str) -> str:
        return "device"

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list:
        return list(self.trt.profiles[profile_index])

    def create_engine_inspector(self) -> "FakeInspector":
        return FakeInspector(self.trt)


class FakeInspector:
    execution_context = None

    def __init__(self, trt: FakeTrt) -> None:
        self.trt = trt

    def get_engine_information(self, format: str) -> str:
        assert self.execution_context is not None
        return json.dumps({"Layers": self.trt.layers})


class FakeContext(Alive):
    def __init__(self, trt: FakeTrt) -> None:
        super().__init__(trt)
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}
        self.profile = 0

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        assert stream_handle == 77
        self.profile = profile_index
        self.addresses.clear()
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return self.trt.refuses != "set_input_shape"

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return True

    def infer_shapes(self) -> list[str]:
        return ["x"] if self.trt.refuses == "infer_shapes" else []

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1,) if self.trt.refuses == "get_tensor_shape" else self.shape

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert stream_handle == 77
        x, y = (self.addresses[name] for name in ("x", "y"))
        count = int(np.prod(self.shape))

        def work() -> None:
            read = np.ctypeslib.as_array((ctypes.c_float * count).from_address(x))
            np.ctypeslib.as_array((ctypes.c_float * count).from_address(y))[:] = 2 * read

        self.trt.driver.calls.append("execute_async_v3")
        self.trt.driver.enqueue(work)
        return self.trt.refuses != "execute_async_v3"
