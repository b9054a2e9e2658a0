"""An `onnx_ir` graph as a `torch.nn.Module` that interprets it node by node, with gradients.

Initializers are parameters by their role (`roles`) or buffers, shared ones once; a value is let go
after its last reader. Weights stored as integers are trained as the real numbers that these stand
for, and rounded on every pass (`operators.quantization`). Sizes are read as the graph runs, so that
batches and lengths may vary.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from compressor.errors import GraphError
from compressor.graph.chatter import silenced
from compressor.graph.inlining import inline
from compressor.graph.tensors import Array
from compressor.graph.walks import reads
from compressor.training.attributes import Attributes, attributes_of
from compressor.training.block_weights import BlockWeight
from compressor.training.operators import find_operator, unknown_operators
from compressor.training.operators.contributed import fake_mat_mul_n_bits
from compressor.training.operators.quantization import LIMITS, STORED_AS, fake_quantized
from compressor.training.types import tensor_of

_LEAST_SYMMETRIC_BITS = (2, 3, 4, 5, 6, 7, 8)
CONTROL = ("If", "Loop", "Scan")


@dataclass(frozen=True)
class _Step:
    """One node: what computes it, which slots it reads and writes, and which are free behind it."""

    run: Any
    node: Attributes
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    free: tuple[int, ...]


class GraphModule(torch.nn.Module):
    """A graph that runs in torch.

    Attributes:
        trained: Initializer → its parameter; of integers the real numbers that they stand for.
        outputs: Names of the values that a call returns.
    """

    def __init__(
        self,
        model: ir.Model,
        trained: Iterable[str] = (),
        outputs: Sequence[str] | None = None,
        *,
        dropout: bool = False,
    ) -> None:
        """Build the steps.

        Args:
            model: The graph; it stays as it is.
            trained: Names of the initializers that are parameters.
            outputs: Values to return, by name; those of the graph by default.
            dropout: Whether Dropout drops.

        Raises:
            GraphError: It has operators that torch is not taught, named in the message, or values
                of types that torch lacks.
        """
        super().__init__()
        with silenced():
            graph = model.clone()
            inline(graph)
        unknown = unknown_operators(graph)
        if unknown:
            raise GraphError(
                f"operators that training cannot run: {', '.join(unknown)}",
                hint="Train without them, or leave out --train.",
            )
        self.outputs = tuple(outputs or (value.name or "" for value in graph.graph.outputs))
        self.trained: dict[str, torch.nn.Parameter] = {}
        self._slots: dict[ir.Value, int] = {}
        self._stored: list[tuple[int, str]] = []
        self._quantized: dict[str, tuple[Any, Any, ir.DataType, int | None]] = {}
        self._blocks: dict[str, BlockWeight] = {}
        self._dropout, self._versions = dropout, dict(graph.opset_imports)
        self._convolves = sum(node.op_type == "Conv" for node in graph.graph) > 1
        self._store(graph, set(trained))
        kept = self._kept(graph)
        self._fed = [(value.name or "", self._slot(value)) for value in graph.graph.inputs]
        self._steps = self._program(graph.graph, kept)
        self._returned = [(name, self._slot(kept[name])) for name in self.outputs]

    def forward(self, feeds: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs for some inputs, both by name.

        Raises:
            GraphError: A node cannot be computed; the message names it.
        """
        values: list[Any] = [None] * len(self._slots)
        for slot, key in self._stored:
            values[slot] = getattr(self, key)
        for name, slot in self._fed:
            if name in feeds:
                values[slot] = self._laid_out(feeds[name])
        _run(self._steps, values)
        return {name: values[slot] for name, slot in self._returned}

    def _laid_out(self, value: Tensor) -> Tensor:
        """Pictures of convolutions with their channels last, as torch's kernels want them.

        Steps took 0.7 to 1.0 times as long so on AVX2, ResNet-20 pruned to a third 0.75 times.
        """
        if not self._convolves or value.ndim != 4:
            return value
        return value.contiguous(memory_format=torch.channels_last)

    def integers(self, name: str) -> Array | None:
        """The integers that a trained weight is rounded to; None where it is stored in float."""
        if name in self._blocks:
            return self._blocks[name].packed(self.trained[name].detach().cpu())
        if name not in self._quantized:
            return None
        scale, zero, kind, _ = self._quantized[name]
        low, high = self._limits(name)
        real = self.trained[name].detach().cpu().numpy()
        # As the operator divides: in float32, or a number half-way may go the other way.
        codes = np.round(real / scale.astype(np.float32)) + zero
        found: Array = np.clip(codes, low, high).astype(kind.numpy())
        return found

    def weights(self) -> dict[str, Array]:
        """Initializer → what it holds now, as the graph stores it."""
        found = {}
        for name, parameter in self.trained.items():
            codes = self.integers(name)
            real = parameter.detach().cpu().numpy()
            found[name] = np.array(real) if codes is None else codes
        return found

    def _store(self, model: ir.Model, trained: set[str]) -> None:
        """Initializers as parameters and buffers; those of bodies, too."""
        for graph in model.graphs():
            for name, value in graph.initializers.items():
                if value.const_value is None:
                    continue
                key = f"stored_{len(self._stored)}"
                if name in trained:
                    parameter = torch.nn.Parameter(self._master(name, value))
                    self.register_parameter(key, parameter)
                    self.trained[name] = parameter
                else:
                    self.register_buffer(key, tensor_of(value.const_value), persistent=False)
                self._stored.append((self._slot(value), key))

    def _master(self, name: str, value: ir.Value) -> Tensor:
        """Its numbers as floats: of integers what they stand for.

        Raises:
            GraphError: They are neither float32 nor dequantized.
        """
        tensor = value.const_value
        assert tensor is not None, "only what is stored is trained"
        if tensor.dtype in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
            return tensor_of(tensor)
        blocked = [node for node, index in value.uses() if node.op_type == "MatMulNBits"]
        if blocked and len(blocked) == len(value.uses()):
            attributes = attributes_of(blocked[0], self._version_of(blocked[0]))
            self._blocks[name], real = BlockWeight.of(blocked[0], attributes)
            return real
        readers = [node for node, index in value.uses() if index == 0]
        if tensor.dtype not in LIMITS or any(n.op_type != "DequantizeLinear" for n in readers):
            raise GraphError(
                f"the weight {name!r} is of type {tensor.dtype.name}, and float32 is trained",
                hint="Train the float32 model, and store it in fewer bits afterwards.",
            )
        codes = tensor.numpy().astype(np.float64)
        node = readers[0]
        attributes = attributes_of(node, self._version_of(node))
        scale, zero = (_spread(attributes, codes, node, place) for place in (1, 2))
        bits = _bits(codes) if tensor.dtype == ir.DataType.INT8 and not zero.any() else None
        self._quantized[name] = (scale, zero, tensor.dtype, bits)
        return torch.from_numpy(((codes - zero) * scale).astype(np.float32))

    def _limits(self, name: str) -> tuple[int, int]:
        _, _, kind, bits = self._quantized[name]
        if bits is None:
            return LIMITS[kind]
        return -(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1

    def _slot(self, value: ir.Value) -> int:
        return self._slots.setdefault(value, len(self._slots))

    def _version_of(self, node: ir.Node) -> int:
        return int(self._versions.get(node.domain, 1))

    def _kept(self, model: ir.Model) -> dict[str, ir.Value]:
        """Name → value that is returned.

        Raises:
            GraphError: There is no such value.
        """
        known = {value.name or "": value for value in model.graph.inputs}
        known |= {value.name or "": value for value in model.graph.initializers.values()}
        known |= {value.name or "": value for node in model.graph for value in node.outputs}
        for name in self.outputs:
            if name not in known:
                raise GraphError(f"there is no value {name!r} in the graph")
        return {name: known[name] for name in self.outputs}

    def _program(self, graph: ir.Graph, kept: Mapping[str, ir.Value]) -> list[_Step]:
        """The steps of a graph, or of a body, which lets go only of what it computes itself."""
        nodes = list(graph)
        own = {value for node in nodes for value in node.outputs} | set(graph.inputs)
        last: dict[ir.Value, int] = {}
        for place, node in enumerate(nodes):
            for value in (*node.outputs, *reads(node)):
                last[value] = place
        stays = {*kept.values(), *graph.outputs}
        free: list[list[int]] = [[] for _ in nodes]
        for value, place in last.items():
            if value in own and value not in stays:
                free[place].append(self._slot(value))
        return [self._step(node, tuple(free[place])) for place, node in enumerate(nodes)]

    def _step(self, node: ir.Node, free: tuple[int, ...]) -> _Step:
        run: Any = find_operator(node.domain, node.op_type)
        assert run is not None, "unknown operators were refused"
        attributes = attributes_of(node, self._version_of(node), dropout=self._dropout)
        if node.op_type == "QuantizeLinear" and len(node.inputs) > 2 and node.inputs[2] is not None:
            attributes.values[STORED_AS] = node.inputs[2].dtype
        if node.op_type == "MatMulNBits" and _name_of(node.inputs[1]) in self._blocks:
            run = fake_mat_mul_n_bits
        weight = node.inputs[0] if node.inputs else None
        if node.op_type == "DequantizeLinear" and weight is not None:
            name = weight.name or ""
            if name in self._quantized:
                run = fake_quantized
                attributes.values["low"], attributes.values["high"] = self._limits(name)
        if node.op_type in CONTROL:
            bodies = {
                name: self._body(attribute.as_graph())
                for name, attribute in node.attributes.items()
                if isinstance(attribute, ir.Attr) and attribute.type == ir.AttributeType.GRAPH
            }
            run = _Controlled(run, bodies)
        return _Step(
            run,
            attributes,
            tuple(None if value is None else self._slot(value) for value in node.inputs),
            tuple(self._slot(value) for value in node.outputs),
            free,
        )

    def _body(self, graph: ir.Graph) -> "_Body":
        steps = self._program(graph, {})
        inputs = tuple(self._slot(value) for value in graph.inputs)
        return _Body(steps, inputs, tuple(self._slot(value) for value in graph.outputs))


@dataclass(frozen=True)
class _Body:
    """A graph inside a node, which reads what is around it out of the same slots."""

    steps: list[_Step]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def __call__(self, values: list[Any], *given: Any) -> list[Any]:
        for slot, value in zip(self.inputs, given, strict=True):
            values[slot] = value
        _run(self.steps, values)
        return [values[slot] for slot in self.outputs]


@dataclass(frozen=True)
class _Controlled:
    """An operator of control flow with its bodies."""

    run: Any
    bodies: Mapping[str, _Body]

    def bound(self, values: list[Any]) -> Any:
        """The operator, whose bodies read from these slots."""
        bodies = {name: partial(body, values) for name, body in self.bodies.items()}
        return lambda node, *given: self.run(node, bodies, *given)


def _run(steps: Sequence[_Step], values: list[Any]) -> None:
    """All steps, in order.

    Raises:
        GraphError: One fails; the message names its node.
    """
    for step in steps:
        run = step.run.bound(values) if isinstance(step.run, _Controlled) else step.run
        given = [None if slot is None else values[slot] for slot in step.inputs]
        try:
            made = run(step.node, *given)
        except GraphError:
            raise
        except (RuntimeError, NotImplementedError, TypeError, ValueError, IndexError) as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise GraphError(
                f"{step.node.operator} {step.node.name!r} cannot be run for training: {said}"
            ) from error
        if isinstance(made, tuple):
            for slot, value in zip(step.outputs, made, strict=False):
                values[slot] = value
        else:
            values[step.outputs[0]] = made
        for slot in step.free:
            values[slot] = None


def _spread(attributes: Attributes, codes: Array, node: ir.Node, place: int) -> Any:
    """Scale or zero point of DequantizeLinear, in the shape of what it dequantizes.

    Raises:
        GraphError: It is computed.
    """
    value = node.inputs[place] if len(node.inputs) > place else None
    if value is None:
        return np.zeros(codes.shape)
    if value.const_value is None:
        raise GraphError(f"the scale {value.name!r} of a weight is computed, and has to be stored")
    array = value.const_value.numpy()
    if array.dtype != np.float32:
        array = array.astype(np.float64)
    if array.size == 1:
        return np.broadcast_to(array.reshape(()), codes.shape)
    axis = attributes.get("axis", 1) % codes.ndim
    block = attributes.get("block_size", 0)
    if block:
        return np.repeat(array, block, axis).take(range(codes.shape[axis]), axis)
    shape = [-1 if a == axis else 1 for a in range(codes.ndim)]
    return np.broadcast_to(array.reshape(shape), codes.shape)


def _name_of(value: ir.Value | None) -> str:
    return "" if value is None else value.name or ""


def _bits(codes: Array) -> int:
    """The fewest bits of symmetric integers that hold them all."""
    most = float(np.abs(codes).max(initial=0))
    return next((b for b in _LEAST_SYMMETRIC_BITS if most <= 2 ** (b - 1) - 1), 8)
