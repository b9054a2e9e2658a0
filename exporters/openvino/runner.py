"""Runs a compiled model on the CPU: the same interface as every runtime's."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx_ir as ir

from compressor.errors import DataError
from compressor.graph.tensors import Array, Arrays, TensorSpec
from compressor.system.processors import available_processors
from exporters.base.profiled import Kernel
from exporters.openvino.compiled import CONVERSIONS, compiled, layers
from exporters.openvino.runtime import reason_of


class OpenVinoRunner:
    """A compiled model with one request.

    Args:
        model: A graph, or a file of the runtime's.
        threads: Threads of an inference; 0 is all that this process may use.
        counts: Whether the time of each layer is counted.

    Raises:
        GraphError: The runtime refuses the model.
    """

    def __init__(self, model: ir.Model | Path, threads: int, *, counts: bool = False) -> None:
        self.on_caller = (threads or available_processors()) == 1
        self._compiled: Any = compiled(model, threads, counts=counts)
        self._request: Any = self._compiled.create_infer_request()
        self.inputs: tuple[TensorSpec, ...] = specs(self._compiled.inputs)
        outputs = specs(self._compiled.outputs)
        if isinstance(model, ir.Model):  # of one value several names may be known
            names = [value.name for value in model.graph.outputs]
            outputs = tuple(
                TensorSpec(name or spec.name, spec.dtype, spec.shape)
                for name, spec in zip(names, outputs, strict=True)
            )
        self.outputs: tuple[TensorSpec, ...] = outputs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._request = self._compiled = None

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """Run once and fetch every output.

        Raises:
            DataError: The runtime cannot run it on these.
        """
        self._place(feeds)
        self._infer(feeds)
        made = (np.array(self._request.get_output_tensor(i).data) for i in range(len(self.outputs)))
        return {spec.name: array for spec, array in zip(self.outputs, made, strict=True)}

    def bind(self, feeds: Arrays) -> Callable[[], None]:
        """Place the inputs once; outputs stay in the runtime's own memory."""
        held = self._place(feeds)
        self._infer(feeds)  # sizes that are open are settled by the first
        infer = self._request.infer

        def inference(held: Sequence[Any] = held) -> None:  # keeps what the runtime reads
            infer(share_outputs=True)

        return inference

    def _place(self, feeds: Arrays) -> list[Any]:
        """Give the request the inputs where they lie; what has to live as long."""
        import openvino  # noqa: PLC0415 - heavy: only jobs that execute pay for it

        held = []
        for index, spec in enumerate(self.inputs):
            array = np.require(feeds[spec.name], spec.dtype, ["C", "W"])
            tensor = openvino.Tensor(array, shared_memory=bool(array.shape and array.size))
            try:
                self._request.set_input_tensor(index, tensor)
            except RuntimeError as error:
                raise self._misfit(feeds, error) from error
            held += [array, tensor]
        return held

    def _infer(self, feeds: Arrays) -> None:
        try:
            self._request.infer(share_outputs=True)
        except RuntimeError as error:
            raise self._misfit(feeds, error) from error

    def _misfit(self, feeds: Arrays, error: Exception) -> DataError:
        shapes = ", ".join(f"{s.name}{list(np.shape(feeds[s.name]))}" for s in self.inputs)
        return DataError(f"OpenVINO cannot run the model on {shapes}: {reason_of(error)}")


class ProfiledRunner(OpenVinoRunner):
    """The same, with the times of its layers."""

    def __init__(self, model: ir.Model | Path, feeds: Arrays, threads: int) -> None:
        super().__init__(model, threads, counts=True)
        self._layers = {layer.name: layer for layer in layers(self._compiled)}
        self._inference = self.bind(feeds)

    def inference(self) -> None:
        """One inference of the feeds."""
        self._inference()

    def kernels(self) -> list[Kernel]:
        """Layers that took time in the last inference, in order of execution."""
        found = []
        for told in self._request.get_profiling_info():
            seconds = told.real_time.total_seconds()
            layer = self._layers.get(told.node_name)
            if layer is None or not seconds:
                continue
            own = () if layer.operator in CONVERSIONS else layer.originals
            found.append(Kernel(own, seconds, layer.name, layer.operator))
        return found


def specs(ports: Sequence[Any]) -> tuple[TensorSpec, ...]:
    """The tensors of a compiled model's inputs or outputs; None for what is open."""
    found = []
    for port in ports:
        sizes = tuple(d.get_length() if d.is_static else None for d in port.get_partial_shape())
        dtype = np.dtype(port.get_element_type().to_dtype())
        found.append(TensorSpec(port.get_any_name(), dtype, sizes))
    return tuple(found)
