"""The source as something that runs: named arrays in, named arrays out.

The figures that a captured graph is held against come from here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import torch

from compressor.capture.binding import CallBinding
from compressor.capture.outputs import Path, leaves, output_names
from compressor.errors import CaptureError
from compressor.graph.tensors import Array
from compressor.system.userfile import user_errors

Call = Callable[[Any, Sequence[torch.Tensor]], object]
"""Calls a source with tensors in the order of the inputs."""


class FlatModule(torch.nn.Module):
    """A module whose inputs are positional tensors and whose outputs are a flat tuple of tensors.

    Args:
        source: The module, of which this is a view: nothing of it is changed.
        order: The inputs' names, in the order of the tensors.
        call: How the tensors reach the source.
    """

    def __init__(self, source: torch.nn.Module, order: Sequence[str], call: Call) -> None:
        super().__init__()
        self.source = source
        self.order = tuple(order)
        self._call = call
        self.training = False

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Call the source and keep the tensors among the leaves of its result."""
        result = self.call(tensors)
        return tuple(leaf for _, leaf in leaves(result) if isinstance(leaf, torch.Tensor))

    def call(self, tensors: Sequence[torch.Tensor]) -> object:
        """What the source itself returns."""
        return self._call(self.source, tensors)

    def evaluate(
        self, feeds: Mapping[str, Array], described: str, advice: str | None = None
    ) -> tuple[dict[str, Array], tuple[str, ...]]:
        """Run the source: its outputs by name, and notices about what is no tensor.

        Args:
            feeds: An array for each input.
            described: What runs on what, for messages.
            advice: What to do where the source fails.

        Raises:
            CaptureError: The source fails on these inputs (the message has its own file and
                line), or returns no tensor.
        """
        try:
            with user_errors(f"{described} fails", error=CaptureError):
                result = self.call([to_torch(feeds[name]) for name in self.order])
        except CaptureError as error:
            raise CaptureError(error.message, hint=error.hint or advice) from error
        return _named_outputs(leaves(result), self.order)


def flat_module(source: torch.nn.Module, binding: CallBinding) -> FlatModule:
    """A module, or a `ScriptModule`, called as its binding says."""

    def call(module: Any, tensors: Sequence[torch.Tensor]) -> object:
        given = dict(zip(binding.order, tensors, strict=True))
        positional = [given[name] for name in binding.positional]
        keyword = {parameter: given[name] for parameter, name in binding.keyword.items()}
        return module(*positional, **keyword)

    return FlatModule(source, binding.order, call)


def coarsest_float(tensors: Iterable[torch.Tensor]) -> str:
    """The floating-point type of the least precision among them; float32 without any."""
    kinds = {tensor.dtype for tensor in tensors if tensor.dtype.is_floating_point}
    if not kinds:
        return "float32"
    return str(max(kinds, key=lambda kind: torch.finfo(kind).eps)).removeprefix("torch.")


def to_torch(array: Array) -> torch.Tensor:
    """A tensor with a copy of an array."""
    copy = np.array(array)
    if copy.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(copy.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(copy)


def to_numpy(tensor: torch.Tensor) -> Array:
    """An array with a copy of a tensor."""
    dense = tensor.detach().cpu()
    if dense.dtype == torch.bfloat16:
        bits: Array = dense.contiguous().view(torch.int16).numpy()
        return np.array(bits.view(ml_dtypes.bfloat16))
    return np.array(dense.numpy())


def _named_outputs(
    result: Sequence[tuple[Path, object]], taken: Sequence[str]
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """The tensors of a result by name, and notices about what is no tensor."""
    tensors = [(path, leaf) for path, leaf in result if isinstance(leaf, torch.Tensor)]
    if not tensors:
        kinds = ", ".join(type(leaf).__name__ for _, leaf in result) or "nothing"
        raise CaptureError(
            f"the model should return tensors, also nested in dicts and tuples; it returns {kinds}"
        )
    notices = tuple(
        f"output {'.'.join(map(str, path))!r} is no tensor but of type {type(leaf).__name__}: "
        "left out"
        for path, leaf in result
        if not isinstance(leaf, torch.Tensor)
    )
    names = output_names([path for path, _ in tensors], taken)
    arrays = [to_numpy(leaf) for _, leaf in tensors]
    return dict(zip(names, arrays, strict=True)), notices
