"""How a graph is quantized: the recipe's section [quantize]."""

from typing import Annotated, Literal

from pydantic import ByteSize, Field

from compressor.recipe.section import Positive, Section


class QuantizeOptions(Section):
    """Quantization."""

    mode: Literal[
        "int8", "int8-static", "int8-dynamic", "int8-weights", "int4", "fp16", "bf16", "none"
    ] = Field(
        "int8",
        description="Precision. For speed: int8; int8-static, without ranges found at run time; "
        "int8-dynamic, with no others and without calibration data. For size, weights only: "
        "int8-weights or int4, in blocks of integers; fp16 or bf16, in half. none folds only.",
    )
    ranges: str = Field(
        "auto",
        description="auto (per tensor, by the error at its consumers), minmax, percentile or "
        "percentile:99.9, samples or samples:99, entropy, mse.",
    )
    cpu: Literal["host", "vnni", "avx2", "arm64"] = Field(
        "host",
        description="CPU of the deployment; avx2 has no VNNI: pairs of weights fit its sums.",
    )
    activation: Literal["uint8", "int8"] | None = Field(
        None, description="Type of activations; default: the target's."
    )
    symmetric: bool | None = Field(
        None,
        description="Real zero in the middle of the integers of activations; default: the "
        "target's. Kernels that absorb Relu where it is false leave it in float then. For int4 and "
        "int8-weights of weights, without zero points; default: of 8 bits.",
    )
    weight_bits: Literal[2, 3, 4, 5, 6, 7, 8] | None = Field(
        None,
        description="Bits of weights; default: what the deployment CPU can sum, see cpu. 6 and "
        "fewer are stored and computed as 8, no faster.",
    )
    granularity: Literal["channel", "tensor"] | None = Field(
        None, description="One weight scale per output channel, or per tensor; default: channel."
    )
    block: Literal[16, 32, 64, 128, 256] = Field(
        32, description="Inputs of a matrix that share a scale, for int4 and int8-weights."
    )
    table_bits: Literal[4, 8] = Field(
        8, description="Bits that int4 gives to embeddings, and to what shares their weights."
    )
    compute: Literal["int8", "float"] = Field(
        "int8",
        description="What products of int4 and int8-weights compute in: int8 rounds activations, "
        "block by block, and is many times as fast.",
    )
    kv_cache: Literal["float", "int8", "auto"] = Field(
        "float",
        description="Cache of keys and values of a decoder: float, int8 or auto. With int8 its "
        "inputs and outputs are uint8. auto takes int8 where that is faster and a quality budget "
        "allows it.",
    )
    contrib: bool = Field(
        False,
        description="Let GroupQueryAttention of com.microsoft append to a decoder's cache in "
        "place, where that is faster. The file then takes buffers and two lengths; "
        "compressor.load calls it as before.",
    )
    leave: tuple[str, ...] = Field(
        (),
        description="Patterns of names of nodes or initializers that stay in float, whatever the "
        "precision: head.weight, or *head*.",
    )
    memory: Annotated[ByteSize, Field(ge=1_000_000)] | None = Field(
        None,
        description="Memory that calibration may take beside the model, like 4GB; as much again on "
        "disk for the calls of a pipeline. An ONNX file with more weights in files of their own is "
        "worked on block by block. Default: 1GB.",
    )
    keep_slower: bool = Field(
        False, description="Ship INT8, or what was pruned to a goal, even where it is not faster."
    )
    keep_ruined: bool = Field(
        False,
        description="Ship what was quantized even where its outputs no longer follow the "
        "original's, or where the calibration data does not vary.",
    )
    batch: Positive = Field(32, description="Samples per calibration step.")
