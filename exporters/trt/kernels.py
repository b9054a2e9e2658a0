"""What the kernels of a built engine read: the types that the engine inspector tells of its layers.

A graph asks for precisions by Q/DQ and types; which kernel a layer became, the builder decides. The
layers are those of `EngineRunner.layers`, in as much detail as the build kept.

Source: NVIDIA TensorRT documentation, "Engine Inspector".
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

Layer = dict[str, Any]

FORMAT = "Format/Datatype"
"""Under this the engine inspector tells the type of a layer's inputs."""
TACTIC = "TacticName"
"""Under this it tells the kernel."""

TYPES = {
    "INT4": ("int4",),
    "FP4": ("fp4",),
    "INT8": ("int8",),
    "FP8": ("fp8", "float8"),
    "half": ("half", "fp16"),
    "BF16": ("bf16", "bfloat16"),
    "FP32": ("float", "fp32"),
}
"""Type → how the inspector's descriptions call it, in lower case, from the fewest bits to the most.

"Thirty-two wide channel vectorized row major Int8 format" is one of them, "Half" another."""


def input_types(layer: Layer) -> list[str]:
    """The inspector's descriptions of what a layer reads; empty where the build kept none."""
    inputs = layer.get("Inputs", [])
    return [str(one[FORMAT]) for one in inputs if isinstance(one, dict) and FORMAT in one]


def read_types(layer: Layer) -> set[str]:
    """The names in `TYPES` of what a layer reads; indices and conditions are none of them."""
    told = [text.lower() for text in input_types(layer)]
    return {kind for text in told if (kind := _type_of(text)) is not None}


def kernels_by_type(layers: Sequence[Layer]) -> dict[str, int]:
    """How many layers read what: each counts for the type of the fewest bits among its inputs.

    A product of INT8 activations that adds a half bias is a layer of INT8, so is one that turns
    INT8 back into floats. Layers of which no type is told are left out.

    Args:
        layers: As the engine inspector describes them.

    Returns:
        A name in `TYPES` → layers, from the fewest bits to the most; only those that there are.
    """
    counts = Counter(
        next(kind for kind in TYPES if kind in found)
        for layer in layers
        if (found := read_types(layer))
    )
    return {kind: counts[kind] for kind in TYPES if counts[kind]}


def sparse_kernels(layers: Sequence[Layer]) -> int:
    """How many layers became kernels that skip the zeros of 2:4 weights, by the kernels' names."""
    return sum("sparse" in str(layer.get(TACTIC, "")).lower() for layer in layers)


def _type_of(text: str) -> str | None:
    """A lower-case description's type: "float8" is no "float"."""
    return next((kind for kind, words in TYPES.items() if any(w in text for w in words)), None)
