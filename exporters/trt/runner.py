"""Runs an engine on the GPU: the same interface as ONNX Runtime, for latency and quality.

An inference is `execute_async_v3` on a stream of its own, between device buffers that grow as
needed; where all sizes of the engine are fixed it is captured once as a CUDA graph and launched.
Written against the bindings of TensorRT 10 and 11 and of TensorRT-RTX.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np

from compressor.errors import DataError, TargetError
from compressor.graph.tensors import Array, Arrays, TensorSpec
from exporters.trt.cuda import Cuda, contiguous

Shape = tuple[int, ...]


class EngineRunner:
    """An engine with one execution context.

    Args:
        engine: Its file.
        trt: The module `tensorrt` or `tensorrt_rtx` that it was built with.
        cuda: The GPU, which is given back with the runner.

    Raises:
        TargetError: The runtime refuses the engine, or lacks the memory for it.
    """

    on_caller = False
    """The GPU works."""

    def __init__(self, engine: Path, trt: Any, cuda: Cuda) -> None:
        self._trt, self._cuda = trt, cuda
        self._buffers: dict[str, tuple[int, int]] = {}
        self._graphs: list[int] = []
        self._profile = 0
        self._engine: Any = None
        self._context: Any = None
        self.inputs: tuple[TensorSpec, ...] = ()
        self.outputs: tuple[TensorSpec, ...] = ()
        try:
            self._open(engine)
        except BaseException:
            self._close()
            raise

    def _open(self, path: Path) -> None:
        self._cuda.make_current()
        self._logger = self._trt.Logger(self._trt.Logger.ERROR)
        self._runtime = self._trt.Runtime(self._logger)
        engine = self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise TargetError(
                f"the runtime refuses the engine {path.name}",
                hint="It is for the version, and but for TensorRT-RTX for the GPU, of its build.",
            )
        self._context = engine.create_execution_context()
        if self._context is None:
            raise TargetError(f"{path.name} does not fit into the memory of the GPU")
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        reads = [engine.get_tensor_mode(n) == self._trt.TensorIOMode.INPUT for n in names]
        specs = [self._spec(name) for name in names]
        self.inputs = tuple(spec for spec, read in zip(specs, reads, strict=True) if read)
        self.outputs = tuple(spec for spec, read in zip(specs, reads, strict=True) if not read)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._close()

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """Run once and fetch every output.

        Raises:
            DataError: No profile of the engine is for these shapes.
            TargetError: The GPU fails.
        """
        held = self._place(feeds)
        self._enqueue()
        outputs = {spec.name: np.empty(self._shape(spec.name), spec.dtype) for spec in self.outputs}
        for name, array in outputs.items():
            if name in self._buffers:
                self._cuda.download(self._buffers[name][0], array)
        self._cuda.wait()
        for name in outputs.keys() & held.keys():
            outputs[name] = held[name]  # an output that lies in the memory of the host
        return outputs

    def bind(self, feeds: Arrays) -> Callable[[], None]:
        """Copy the inputs once; each call is one inference and waits for its end.

        A runner has one binding at a time: running or binding again ends it.
        """
        enqueue = self._bound(feeds)

        def inference() -> None:
            enqueue()
            self._cuda.wait()

        return inference

    def bind_timed(self, feeds: Arrays) -> Callable[[], float]:
        """As `bind`; each call tells the milliseconds that the GPU took, between CUDA events."""
        enqueue = self._bound(feeds)
        return lambda: self._cuda.timed(enqueue)

    def _bound(self, feeds: Arrays) -> Callable[[], None]:
        """Copy the inputs; each call puts one inference on the stream."""
        held = self._place(feeds)
        self._enqueue()  # also what a capture needs: the first run allocates and may compile
        self._cuda.wait()
        if not self._is_fixed():

            def inference(held: Arrays = held) -> None:  # keeps what lies in the host's memory
                self._enqueue()

            return inference
        graph = self._cuda.captured(self._enqueue)
        self._graphs.append(graph)
        return lambda: self._cuda.launch(graph)

    def layers(self) -> list[dict[str, Any]]:
        """What the engine inspector tells of each layer, as far as the build kept it."""
        inspector = self._require_engine().create_engine_inspector()
        inspector.execution_context = self._context
        told = inspector.get_engine_information(self._trt.LayerInformationFormat.JSON)
        try:
            found = json.loads(told).get("Layers", [])
        except json.JSONDecodeError:
            return []
        return [one if isinstance(one, dict) else {"Name": str(one)} for one in found]

    def _place(self, feeds: Arrays) -> dict[str, Array]:
        """Shapes, addresses and values of the inputs, room for the outputs; what has to live on."""
        self._cuda.make_current()
        held = {
            spec.name: contiguous(np.asarray(feeds[spec.name]), spec.dtype) for spec in self.inputs
        }
        self._choose_profile({name: array.shape for name, array in held.items()})
        for name, array in held.items():
            if self._in_host(name):
                self._set_address(name, array.ctypes.data)
            else:
                self._do("set_input_shape", name, array.shape)
                self._cuda.upload(self._room(name, array.nbytes), array)
        missing = self._require_context().infer_shapes()
        if missing:
            raise TargetError(f"the engine lacks shape or value of {', '.join(missing)}")
        for spec in self.outputs:
            shape = self._shape(spec.name)
            if self._in_host(spec.name):
                held[spec.name] = np.empty(shape, spec.dtype)
                self._set_address(spec.name, held[spec.name].ctypes.data)
            else:
                self._room(spec.name, int(np.prod(shape)) * spec.dtype.itemsize)
        self._cuda.wait()
        return held

    def _choose_profile(self, shapes: dict[str, Shape]) -> None:
        """The first optimization profile that these shapes lie in.

        Raises:
            DataError: There is none.
        """
        engine = self._require_engine()
        order = [self._profile, *range(engine.num_optimization_profiles)]
        for index in dict.fromkeys(order):
            if all(self._lies_in(name, shape, index) for name, shape in shapes.items()):
                break
        else:
            told = ", ".join(f"{name}{list(shape)}" for name, shape in shapes.items())
            raise DataError(
                f"no profile of the engine is for {told}",
                hint="Build for such shapes: --profile name:MIN,OPT,MAX.",
            )
        if index != self._profile:
            self._do("set_optimization_profile_async", index, self._cuda.stream)
            self._cuda.wait()
            self._profile = index

    def _lies_in(self, name: str, shape: Shape, profile: int) -> bool:
        engine = self._require_engine()
        declared = tuple(engine.get_tensor_shape(name))
        if len(declared) != len(shape):
            return False
        if -1 not in declared:
            return declared == shape
        least, _, most = engine.get_tensor_profile_shape(name, profile)
        return all(
            low <= size <= high
            for low, size, high in zip(tuple(least), shape, tuple(most), strict=True)
        )

    def _room(self, name: str, size: int) -> int:
        """The address of device memory for a tensor, which the context is told."""
        address, known = self._buffers.get(name, (0, -1))
        if known < size:
            if known >= 0:
                self._cuda.wait()
                self._cuda.free(self._buffers.pop(name)[0])
            address = self._cuda.allocate(size)
            self._buffers[name] = (address, size)
        self._set_address(name, address)
        return address

    def _set_address(self, name: str, address: int) -> None:
        self._do("set_tensor_address", name, address)

    def _enqueue(self) -> None:
        self._do("execute_async_v3", self._cuda.stream)

    def _is_fixed(self) -> bool:
        """Whether every size is part of the engine, and nothing is read from the host."""
        engine = self._require_engine()
        specs = (*self.inputs, *self.outputs)
        return all(
            -1 not in tuple(engine.get_tensor_shape(spec.name)) and not self._in_host(spec.name)
            for spec in specs
        )

    def _in_host(self, name: str) -> bool:
        """Whether a tensor lies in the memory of the host: sizes that are computed with."""
        where = self._require_engine().get_tensor_location(name)
        return bool(where == self._trt.TensorLocation.HOST)

    def _shape(self, name: str) -> Shape:
        found: Shape = tuple(self._require_context().get_tensor_shape(name))
        if min(found, default=0) < 0:
            raise TargetError(
                f"the shape of the output {name!r} depends on values, which is not run here"
            )
        return found

    def _spec(self, name: str) -> TensorSpec:
        engine = self._require_engine()
        dtype = np.dtype(self._trt.nptype(engine.get_tensor_dtype(name)))
        sizes = tuple(None if d == -1 else int(d) for d in engine.get_tensor_shape(name))
        return TensorSpec(name, dtype, sizes)

    def _do(self, function: str, *arguments: Any) -> None:
        """Call the execution context, which no frame of an error may keep alive.

        Raises:
            TargetError: It refuses.
        """
        if not getattr(self._require_context(), function)(*arguments):
            raise TargetError(f"TensorRT fails: {function} {arguments[0]}")

    def _require_engine(self) -> Any:
        assert self._engine is not None, "the runner is open"
        return self._engine

    def _require_context(self) -> Any:
        assert self._context is not None, "the runner is open"
        return self._context

    def _close(self) -> None:
        """What was taken goes back in the opposite order, once the stream is done.

        After a failure of the GPU every call fails: that must not hide the failure.
        """
        with suppress(TargetError):
            self._cuda.make_current()
            self._cuda.wait()
        for graph in self._graphs:
            with suppress(TargetError):
                self._cuda.drop(graph)
        self._graphs.clear()
        self._context = None
        self._engine = None
        self._runtime = self._logger = None
        for address, _ in self._buffers.values():
            with suppress(TargetError):
                self._cuda.free(address)
        self._buffers.clear()
        with suppress(TargetError):
            self._cuda.close()
