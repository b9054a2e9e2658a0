"""What a network of the zoo is, how it gets its weights, and how it becomes a folded graph."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnx.compose
import onnx.parser
import onnx_ir as ir
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from compressor.capture import Captured, capture
from compressor.checkpoint import source_of
from compressor.folding import fold
from compressor.graph.session import open_session
from compressor.graph.tensors import Array, Arrays
from compressor.recipe.notation import parse_input

OPSET = 20
"""What the ONNX Runtime target asks for."""

SAMPLES = 8
"""As many as a run traces and checks with."""


OBSERVED = 16
"""Samples that BatchNorm takes its statistics from."""


@dataclass(frozen=True)
class Input:
    """One sample of an input: normal floats, or integers below a bound."""

    shape: tuple[int, ...]
    below: int | None = None

    def draw(self, rng: np.random.Generator, batch: int) -> Array:
        """An array of `batch` samples."""
        shape = (batch, *self.shape)
        if self.below is None:
            return rng.standard_normal(shape).astype(np.float32)
        return rng.integers(0, self.below, shape)


@dataclass(frozen=True)
class Network:
    """A network of the zoo.

    Attributes:
        name: For tests and tables.
        make: Builds the module; transformers is imported only then.
        inputs: By name of a parameter of `forward`.
        fixed: Inputs as `--input` declares them, where no exporter keeps a length open.
        behind: What its ONNX file has behind the module's one output, in ONNX text: operators
            that torch alone has not.
    """

    name: str
    make: Callable[[], torch.nn.Module]
    inputs: Mapping[str, Input]
    fixed: tuple[str, ...] = ()
    behind: str = ""

    def module(self) -> torch.nn.Module:
        """The module in evaluation mode, with seeded weights and statistics."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = self.make().eval()
        randomize(module)
        observe(module, self.feeds(OBSERVED))
        return module

    def feeds(self, batch: int, seed: int = 0) -> dict[str, Array]:
        """Seeded inputs of `batch` samples."""
        rng = np.random.default_rng(seed)
        return {name: given.draw(rng, batch) for name, given in self.inputs.items()}

    def source(self) -> torch.nn.Module | ir.Model:
        """What a run is given: the module, or an ONNX model where torch alone has not all of it."""
        module = self.module()
        if not self.behind:
            return module
        exported = ir.to_proto(self._captured(module).model)
        pair = (exported.graph.output[0].name, self._behind.graph.input[0].name)
        return ir.from_proto(onnx.compose.merge_models(exported, self._behind, [pair]))

    def captured(self) -> Captured:
        """The graph as a run captures it, checked against the module at two batch sizes."""
        return self._captured(self.source())

    def answers(self, module: torch.nn.Module, feeds: Arrays) -> list[Array]:
        """What torch answers, its tensors in order, and what is behind them makes of it."""
        with torch.no_grad():
            found = module(**{name: torch.from_numpy(array) for name, array in feeds.items()})
        arrays = [part.numpy() for part in tensors(found)]
        if not self.behind:
            return arrays
        named = {self._behind.graph.input[0].name: arrays[0]}
        return list(open_session(ir.from_proto(self._behind)).run(None, named))

    @property
    def _behind(self) -> onnx.ModelProto:
        return onnx.parser.parse_model(self.behind)

    def _captured(self, source: torch.nn.Module | ir.Model) -> Captured:
        examples = self.feeds(SAMPLES)
        declared = [parse_input(text) for text in self.fixed] or None
        return capture(source_of(source), inputs=declared, examples=examples, opset=OPSET)

    def folded(self) -> ir.Model:
        """The graph as pruning gets it."""
        feeds: Arrays = self.feeds(2)
        return fold(self.captured().model, feeds)[0]


def tensors(found: object) -> list[torch.Tensor]:
    """The tensors of what a module returns, in order, however they are packed."""
    if isinstance(found, torch.Tensor):
        return [found]
    parts: Iterable[object] = ()
    if isinstance(found, Mapping):
        parts = found.values()
    elif isinstance(found, list | tuple):
        parts = found
    return [tensor for part in parts for tensor in tensors(part)]


def image(channels: int = 3, side: int = 32) -> Input:
    """A square image."""
    return Input((channels, side, side))


def tokens(length: int, vocabulary: int) -> Input:
    """A sentence."""
    return Input((length,), vocabulary)


def randomize(module: torch.nn.Module) -> None:
    """Draw every parameter anew.

    Initial values hide errors: a bias of zeros may be misplaced, a scale of ones lost, and
    attention with weights of 0.02 averages whatever it is given. Matrices are normal with standard
    deviation 1 / sqrt(size of a row), embeddings with 1, scales uniform in 0.5 to 1.5, biases
    normal with 0.1.
    """
    generator = torch.Generator().manual_seed(0)
    tables = {id(part.weight) for part in module.modules() if isinstance(part, torch.nn.Embedding)}
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                row = 1 if id(parameter) in tables else parameter[0].numel()
                parameter.normal_(0, row**-0.5, generator=generator)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.1, generator=generator)
            elif parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5, generator=generator)


def observe(module: torch.nn.Module, feeds: Arrays) -> None:
    """Give every BatchNorm the statistics of some samples, as training does.

    With others, what depends on the samples fades from layer to layer, and errors with it.
    """
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average of what is seen
        norm.train()
    with torch.no_grad():
        module(**{name: torch.from_numpy(array) for name, array in feeds.items()})
    for norm in norms:
        norm.eval()
