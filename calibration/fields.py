"""What ties stored arrays to the inputs of a model."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from calibration.axes import FIRST, SampleAxis
from compressor.graph.tensors import TensorSpec


@dataclass(frozen=True)
class BoundField:
    """An input: the stored array behind it, and what the model sees of it.

    Attributes:
        stored: Name of the array.
        spec: What the model sees, the size that counts samples by name.
        preprocessed: Whether preprocessing applies to it.
        lies: Where its samples are.
        wanted: What the model takes; None where no model has been asked.
    """

    stored: str
    spec: TensorSpec
    preprocessed: bool
    lies: SampleAxis = FIRST
    wanted: TensorSpec | None = None


@dataclass(frozen=True)
class Binding:
    """The inputs in the model's order, and the stored arrays of labels and of texts.

    Attributes:
        inputs: One an input of the model.
        label: Name of the array of labels.
        text: Name of the array that says what a sample is.
        fixed: How many samples a call has, where the model has it baked in.
        beside: How samples lie in labels and texts.
    """

    inputs: tuple[BoundField, ...]
    label: str | None
    text: str | None = None
    fixed: int | None = None
    beside: SampleAxis = FIRST

    @property
    def axes(self) -> dict[str, SampleAxis]:
        """Name of a stored array that is wanted → where its samples lie."""
        axes = {name: self.beside for name in (self.label, self.text) if name is not None}
        return axes | {field.stored: field.lies for field in self.inputs}

    @property
    def stored_axes(self) -> dict[str, int | None]:
        """The axes by the axis of the stored array."""
        return {name: lies.stored for name, lies in self.axes.items()}

    @property
    def each(self) -> tuple[str, ...]:
        """Stored arrays with a value a sample where the model takes one a call."""
        return tuple(
            field.stored
            for field in self.inputs
            if field.lies.taken is None and field.lies.stored is not None
        )


@dataclass(frozen=True)
class Signature:
    """The inputs that a model is known to take before it is a graph.

    Attributes:
        names: Its inputs, in order.
        required: How many of them must be given.
        any_more: Whether it takes others, by any name.
        specs: Those inputs whose shape is known.
        complete: Whether these are all, under the names of the model, for good.
    """

    names: tuple[str, ...]
    required: int
    any_more: bool = False
    specs: tuple[TensorSpec, ...] = ()
    complete: bool = False


@dataclass(frozen=True)
class Stored:
    """The stored arrays of a data set.

    Attributes:
        specs: Its arrays, with all their sizes: of all samples, or of the first call.
        calls: Whether it comes in calls.
        survey: The shapes of the arrays in each call, for which it may take a pass.
        where: Names the data, to begin messages with.
    """

    specs: tuple[TensorSpec, ...]
    calls: bool
    survey: Callable[[], Iterable[Mapping[str, tuple[int, ...]]]]
    where: str


def sizes_of(spec: TensorSpec) -> tuple[int, ...]:
    """The sizes of an array that are numbers."""
    return tuple(size for size in spec.shape if isinstance(size, int))
