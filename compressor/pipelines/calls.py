"""What a loop calls: a graph that takes named arrays and gives named arrays.

    eps = models["unet"](x=x, t=np.array([t]))["eps"]

A call that does not fit the graph is the user's mistake, and says the graph's signature.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from compressor.errors import UsageError
from compressor.system.stopwatch import Stopwatch

Array = npt.NDArray[np.generic]
Arrays = Mapping[str, Array]
Run = Callable[[Arrays], dict[str, Array]]


class Input(Protocol):
    """A tensor that a graph takes."""

    @property
    def name(self) -> str:
        """The keyword of a call."""
        ...

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """What its arrays are of."""
        ...

    @property
    def shape(self) -> Sequence[object]:
        """Its dimensions, numbers or names."""
        ...


class GraphCall:
    """One graph of a loop.

    Attributes:
        name: As the loop calls it.
        calls: How often it was called.
        seconds: What that took together.
    """

    def __init__(self, name: str, inputs: Sequence[Input], run: Run) -> None:
        """Nothing is run yet.

        Args:
            name: As the loop calls it.
            inputs: What it takes; none where that is not known, as of a module before capture.
            run: Runs it.
        """
        self.name, self.calls, self.seconds = name, 0, 0.0
        self._inputs, self._run = tuple(inputs), run

    def __call__(self, **arrays: object) -> dict[str, Array]:
        """Run it once.

        Raises:
            UsageError: An input is missing, unknown, or of another type.
        """
        feeds = {name: np.asarray(value) for name, value in arrays.items()}
        if self._inputs:
            feeds = self._fitted(feeds)
        watch = Stopwatch()
        made = self._run(feeds)
        self.calls += 1
        self.seconds += watch.seconds
        return made

    @property
    def signature(self) -> str:
        """What it takes: `unet(x: float32[batch, 4, 32, 32], t: int64[])`."""
        told = (f"{i.name}: {i.dtype}[{', '.join(map(str, i.shape))}]" for i in self._inputs)
        return f"{self.name}({', '.join(told)})"

    def _fitted(self, feeds: dict[str, Array]) -> dict[str, Array]:
        known = {one.name: one for one in self._inputs}
        unknown = [name for name in feeds if name not in known]
        missing = [name for name in known if name not in feeds]
        if unknown or missing:
            what = f"has no input {unknown[0]!r}" if unknown else f"needs {missing[0]!r}"
            raise UsageError(f"graph {self.name!r} {what}", hint=f"It is {self.signature}.")
        return {name: self._typed(known[name], array) for name, array in feeds.items()}

    def _typed(self, wanted: Input, array: Array) -> Array:
        """The array, if it is of the input's type; plain Python numbers become that."""
        if array.dtype == wanted.dtype:
            return array
        plain = array.ndim == 0 and array.dtype in (np.int64, np.float64)
        if plain and np.can_cast(array.dtype, wanted.dtype, "same_kind"):
            return array.astype(wanted.dtype)
        raise UsageError(
            f"graph {self.name!r} takes {wanted.name!r} as {wanted.dtype}, and got {array.dtype}",
            hint=f"It is {self.signature}; arrays are cast by .astype({str(wanted.dtype)!r}).",
        )
