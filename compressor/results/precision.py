"""What an artifact's weights and kernels are: the names that plans, reports and messages share."""

from typing import Final, Literal

Precision = Literal["int8", "fp8", "int4", "int8-weights", "fp16", "bf16", "float"]
"""`int8` computes in integers and `fp8` in 8-bit floats; `int4` and `int8-weights` store matrices
in blocks of integers; `fp16` and `bf16` store weights in half of the bits, computed in float32."""

WORDS: Final[dict[Precision, str]] = {
    "int8": "INT8",
    "fp8": "FP8",
    "int4": "weight-only INT4",
    "int8-weights": "weight-only INT8",
    "fp16": "FP16",
    "bf16": "BF16",
    "float": "float",
}
"""Precisions as they are written inside a sentence."""

EightBits = Literal["int8", "fp8"]
EIGHT_BITS: Final[tuple[EightBits, ...]] = ("int8", "fp8")
"""Those whose layers read Q/DQ."""

Stored = Literal["int4", "int8-weights", "fp16", "bf16"]
STORED: Final[tuple[Stored, ...]] = ("int4", "int8-weights", "fp16", "bf16")
"""Those that only store weights in fewer bits."""
