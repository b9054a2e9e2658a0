"""What an artifact's weights and kernels are: the names that plans, reports and messages share."""

from typing import Final, Literal

Precision = Literal["int8", "int4", "int8-weights", "fp16", "bf16", "float"]
"""`int8` computes in integers; `int4` and `int8-weights` store matrices in blocks of integers;
`fp16` and `bf16` store weights in half of the bits and compute in float32."""

WORDS: Final[dict[Precision, str]] = {
    "int8": "INT8",
    "int4": "weight-only INT4",
    "int8-weights": "weight-only INT8",
    "fp16": "FP16",
    "bf16": "BF16",
    "float": "float",
}
"""As they are written inside a sentence."""
