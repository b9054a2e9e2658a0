"""What a plan says of one technique each: arrays beside it carry their roles as names."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, FiniteFloat

from compressor.graph.cache_notes import CacheNote
from compressor.graph.tensors import Array
from compressor.pruning.sources import Slices
from compressor.pruning.unfolding import Home
from compressor.results.records import Record

EXIT = "exit_"
"""Prefix of the role of a weight of an exit's head."""

SPARSE = "sparse_"
"""Prefix of the role of a weight that a pattern of zeros brought."""

TRAINED = "trained"


def _ordered(real: tuple[float, float]) -> tuple[float, float]:
    if real[0] > real[1]:
        raise ValueError(f"the range begins at {real[0]:g}, behind its end at {real[1]:g}")
    return real


Byte = Annotated[int, Field(ge=0, le=255)]

RealRange = Annotated[tuple[FiniteFloat, FiniteFloat], AfterValidator(_ordered)]


class PrunePlan(Record):
    """The pruning of the float graph, and the weights that make up for it.

    Attributes:
        kept: Group → the units that stay; groups not named stay whole.
        blocks: Residual Adds whose branch was removed, in the order of removal.
        slices: Initializer of the captured graph → axis → positions that stay. Where the model
            came from a module, the names are those of its parameters.
        shapes: Shape of each of those before.
        unsliced: Why there are no slices although something was removed.
        homes: Node with new weights → the parameters that it was folded from; nodes that are
            more than a layer and its BatchNorm have none.
        weights: `NODE/weight` or `NODE/bias` → values after repair. They are stored beside the
            plan's JSON, in the file of the same name that ends in .safetensors.
    """

    blocks: tuple[str, ...] = ()
    kept: dict[str, tuple[int, ...]]
    slices: Slices = Field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    unsliced: str | None = None
    homes: dict[str, Home] = Field(default_factory=dict)
    weights: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)


class CacheTensor(Record):
    """One tensor of a decoder's cache as integers: x ≈ (q - zero_point) · scale, uint8.

    Attributes:
        output: What a call gives for the next call's input.
        scale: Of the integers.
        zero_point: The integer that is 0.
        transposed: Whether tokens are the last axis, and not the one before.
        query: Scale and zero point of what multiplies it, where that is known beforehand.
    """

    output: str
    scale: FiniteFloat
    zero_point: Byte
    transposed: bool = False
    query: tuple[FiniteFloat, Byte] | None = None

    @property
    def note(self) -> CacheNote:
        """As the graph has it."""
        return CacheNote(self.output, self.scale, self.zero_point, self.transposed)


class SharedCacheTensor(Record):
    """One tensor of a decoder's cache as a buffer that the runtime appends to in place.

    Attributes:
        output: What a call gives for the next call's input: the same buffer.
        scale: Of its int8; None where it is float.
        causal: Of keys: whether what hides scores hides what comes later, and nothing else.
    """

    output: str
    scale: FiniteFloat | None = None
    causal: bool = False


class SparsePlan(Record):
    """Layers with a pattern of zeros in their weights, and the weights that make up for it.

    Attributes:
        layers: Names of the nodes of which two of every four neighbouring input channels are zero.
        weights: `NODE/weight` or `NODE/bias` → values, of other nodes that were refitted, too. They
            are stored beside the plan's JSON, as `NODE/sparse_weight` and `NODE/sparse_bias`.
    """

    layers: tuple[str, ...]
    weights: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)

    @property
    def stored(self) -> dict[str, Any]:
        """The weights by the names that they are stored under."""
        parts = ((name.rpartition("/"), array) for name, array in self.weights.items())
        return {f"{node}/{SPARSE}{role}": array for (node, _, role), array in parts}


class TrainedPlan(Record):
    """Weights that training found, and what it takes to find them again.

    Attributes:
        steps: Of the optimizer.
        threads: Of torch.
        seed: Of all that was drawn.
        torch: Version of torch.
        data: Fingerprint of the samples that were trained on.
        weights: Initializer of the float graph, pruned and repaired → values. They are stored
            beside the plan's JSON, as `NAME/trained`.
    """

    steps: int
    threads: int
    seed: int
    torch: str
    data: str
    weights: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)

    @property
    def stored(self) -> dict[str, Any]:
        """The weights by the names that they are stored under."""
        return {f"{name}/{TRAINED}": array for name, array in self.weights.items()}


class ExitPlan(Record):
    """An early exit.

    Attributes:
        value: What its head reads, in the graph that ships without exits.
        threshold: A sample leaves where the softmax of its best class is above.
        depth: Share of the multiply-accumulates that are done there.
        grid: Fields along each side of a picture that are averaged by themselves.
        channels_last: Whether the last axis of `value` holds channels, and not the second.
        mask: The input that hides tokens; None where there is none.
    """

    value: str
    threshold: FiniteFloat
    depth: FiniteFloat
    grid: Annotated[int, Field(ge=1)] = 1
    channels_last: bool = False
    mask: str | None = None

    def named(self, weight: Array, bias: Array) -> dict[str, Array]:
        """The weights of its head by the names that they are stored under."""
        return {f"{self.value}/{EXIT}weight": weight, f"{self.value}/{EXIT}bias": bias}


class ExitsPlan(Record):
    """Early exits of a classifier, and what it takes to find their weights again.

    Attributes:
        at: The exits, in the order that they are passed in.
        seed: Of all that was drawn.
        torch: Version of torch.
        data: Fingerprint of the samples that heads were trained on.
        weights: `VALUE/exit_weight` (features, classes) and `VALUE/exit_bias` (classes). They are
            stored beside the plan's JSON.
    """

    at: tuple[ExitPlan, ...]
    seed: int
    torch: str
    data: str
    weights: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)


class AttentionPlan(Record):
    """Layers of softmax attention that compute another one.

    Attributes:
        layers: Name of the softmax → "window:N", "causal-window:N" or "linear".
    """

    layers: dict[str, str]
