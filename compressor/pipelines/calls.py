"""What a loop calls: a graph that takes named arrays and gives named arrays.

    eps = models["unet"](x=x, t=np.array([t]))["eps"]

A call that does not fit the graph is the user's mistake, and says the graph's signature.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compressor.errors import CompressorError, UsageError
from compressor.graph.cache_notes import CacheNote
from compressor.graph.tensors import Array, Arrays, TensorSpec
from compressor.system.stopwatch import Stopwatch

Run = Callable[[Arrays], dict[str, Array]]


@dataclass(frozen=True)
class Signature:
    """What is known of a graph before it is called; of a module that is less than of a graph.

    Attributes:
        inputs: Those whose type and shape are known.
        outputs: Likewise.
        names: All inputs that are known by name, in order.
        required: Those that a call cannot do without.
    """

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    names: tuple[str, ...] = ()
    required: tuple[str, ...] = ()

    def input(self, name: str) -> TensorSpec | None:
        """Type and shape of an input; None where they are not known."""
        return next((one for one in self.inputs if one.name == name), None)


def signature_of(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec] = ()) -> Signature:
    """That of a graph, which knows all about its inputs."""
    names = tuple(one.name for one in inputs)
    return Signature(tuple(inputs), tuple(outputs), names, names)


class Graphs(dict[str, "GraphCall"]):
    """Name → graph, which says what there is where one is asked for that is not."""

    def __missing__(self, name: str) -> "GraphCall":
        raise UsageError(
            f"there is no graph {name!r}", hint=f"There is {', '.join(sorted(self)) or 'none'}."
        )


class Outputs(dict[str, Array]):
    """Name → array, which says what there is where one is asked for that is not.

    No output of a graph may be called as an input is: one that a module returns as `state` beside
    its input `state` is `state_out`, and found by either name.
    """

    def __init__(self, graph: str, arrays: Arrays) -> None:
        """What a graph returned."""
        super().__init__(arrays)
        self._graph = graph

    def __missing__(self, name: str) -> Array:
        if f"{name}_out" in self:
            return self[f"{name}_out"]
        raise UsageError(
            f"graph {self._graph!r} has no output {name!r}", hint=f"It has {', '.join(self)}."
        )


class GraphCall:
    """One graph of a loop.

    Attributes:
        name: As the loop calls it.
        known: What is known of its inputs and outputs.
        calls: How often it was called.
        seconds: What that took together.
        defaults: Inputs that a call may leave out, and what they are then.
        caches: Inputs that are caches of integers, which are taken in numbers, too.
        metadata: What its file says of itself; empty where it has none.
    """

    def __init__(
        self, name: str, inputs: Sequence[TensorSpec], run: Run, known: Signature | None = None
    ) -> None:
        """Nothing is run yet.

        Args:
            name: As the loop calls it.
            inputs: What it takes; none where that is not known, as of a module before capture.
            run: Runs it.
            known: What is known of it beside that; default: its inputs.
        """
        self.name, self.calls, self.seconds = name, 0, 0.0
        self.known = signature_of(inputs) if known is None else known
        self._inputs, self._run = tuple(inputs), run
        self.defaults: Mapping[str, float] = {}
        self.caches: Mapping[str, CacheNote] = {}
        self.metadata: Mapping[str, str] = {}

    def __call__(self, *unnamed: object, **arrays: object) -> "Outputs":
        """Run it once.

        Returns:
            Its outputs by name.

        Raises:
            UsageError: An input has no name, is missing, unknown, or of another type, or the graph
                fails.
        """
        if unnamed:
            told = f"It is {self.signature}." if self._inputs else "forward's parameters have them."
            raise UsageError(f"graph {self.name!r} takes its inputs by name", hint=told)
        feeds = {name: np.asarray(value) for name, value in arrays.items()}
        if self._inputs:
            feeds = self._fitted(feeds)
        watch = Stopwatch()
        try:
            made = self._run(feeds)
        except CompressorError as error:
            told = f"It is {self.signature}." if self._inputs else _called_as(self.name, feeds)
            hint = told if self._inputs or not error.hint else f"{error.hint} {told}"
            raise UsageError(f"graph {self.name!r}: {error.message}", hint=hint) from error
        self.calls += 1
        self.seconds += watch.seconds
        return Outputs(self.name, made)

    @property
    def signature(self) -> str:
        """What it takes: `unet(x: float32[batch, 4, 32, 32], t: int64[])`."""
        return f"{self.name}({', '.join(map(_typed_words, self._inputs))})"

    def _fitted(self, feeds: dict[str, Array]) -> dict[str, Array]:
        known = {one.name: one for one in self._inputs}
        feeds = {**{name: np.asarray(value) for name, value in self.defaults.items()}, **feeds}
        unknown = [name for name in feeds if name not in known]
        missing = [name for name in known if name not in feeds]
        if unknown or missing:
            what = f"has no input {unknown[0]!r}" if unknown else f"needs {missing[0]!r}"
            raise UsageError(f"graph {self.name!r} {what}", hint=f"It is {self.signature}.")
        return {name: self._typed(known[name], array) for name, array in feeds.items()}

    def _typed(self, wanted: TensorSpec, array: Array) -> Array:
        """The array, if it is of the input's type; plain Python numbers become that."""
        if array.dtype == wanted.dtype:
            return array
        if wanted.name in self.caches and np.issubdtype(array.dtype, np.floating):
            return self.caches[wanted.name].integers(array)
        plain = array.ndim == 0 and array.dtype in (np.int64, np.float64)
        if plain and np.can_cast(array.dtype, wanted.dtype, "same_kind"):
            return array.astype(wanted.dtype)
        raise UsageError(
            f"graph {self.name!r} takes {wanted.name!r} as {wanted.dtype}, and got {array.dtype}",
            hint=f"It is {self.signature}; arrays are cast by .astype({str(wanted.dtype)!r}).",
        )


def _typed_words(one: TensorSpec) -> str:
    return f"{one.name}: {one.dtype}[{', '.join(map(str, one.shape))}]"


def _called_as(graph: str, feeds: Arrays) -> str:
    """How a module was called, whose types nobody knows before it runs."""
    specs = [TensorSpec(name, array.dtype, array.shape) for name, array in feeds.items()]
    told = f"It was called as {graph}({', '.join(map(_typed_words, specs))})."
    if any(one.dtype == np.float64 for one in specs):
        told += " What NumPy computes is float64 unless it is cast: .astype('float32')."
    return told
