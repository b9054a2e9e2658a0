"""Options of quantization and its calibration."""

from pathlib import Path

import click

from compressor.cli.sections import section

QUANTIZATION = section(
    "Quantization",
    click.option(
        "--quantize",
        type=click.Choice(
            ["int8", "int8-static", "int8-dynamic", "int8-weights", "int4", "fp16", "bf16", "none"]
        ),
        help="Precision. For speed: int8; int8-static, without ranges found at run time; "
        "int8-dynamic, with no others and without --calib. For size, weights only: int8-weights, "
        "int4, fp16, bf16. none keeps float. [default: int8]"
    ),
    click.option(
        "--ranges", metavar="METHOD",
        help="Range method: auto, minmax, percentile[:99.9], samples[:99], entropy or mse. "
        "[default: auto]",
    ),
    click.option(
        "--stats", type=click.Path(path_type=Path), metavar="FILE",
        help="Calibration statistics of `compress calibrate`, instead of a pass over --calib.",
    ),
    click.option(
        "--keep-slower", is_flag=True,
        help="Ship INT8, or a graph pruned to a goal, even if it is not faster.",
    ),
    click.option(
        "--keep-ruined", is_flag=True,
        help="Ship a quantized graph even if its outputs no longer follow the original's, or the "
        "calibration data does not vary.",
    ),
    click.option(
        "--kv-cache", type=click.Choice(["float", "int8", "auto"]),
        help="Cache of keys and values of a decoder: int8 makes its inputs and outputs uint8, auto "
        "does where that is faster and --max-drop allows it. [default: float]",
    ),
    click.option(
        "--contrib", is_flag=True,
        help="Let GroupQueryAttention of com.microsoft append to a decoder's cache in place, where "
        "faster: the file's inputs change, compressor.load hides that.",
    ),
)  # fmt: skip

CALIBRATION = section(
    "Quantization",
    click.option(
        "--cpu", type=click.Choice(["host", "vnni", "avx2", "arm64"]),
        help="CPU of the deployment; for avx2 (no VNNI) pairs of weights fit into its sums of 16 "
        "bits. [default: host]",
    ),
    click.option(
        "--activation", type=click.Choice(["uint8", "int8"]),
        help="Integer type of activations. [default: the target's]",
    ),
    click.option(
        "--symmetric", is_flag=True,
        help="Symmetric ranges of activations; ONNX Runtime then keeps Relu in float.",
    ),
    click.option(
        "--weight-bits", type=click.Choice(["2", "3", "4", "5", "6", "7", "8"]),
        help="Bits of INT8 weights; 6 and fewer are no faster. [default: by --cpu]",
    ),
    click.option(
        "--granularity", type=click.Choice(["channel", "tensor"]),
        help="Weight scales: one per output channel, or one per tensor. [default: channel]",
    ),
    click.option(
        "--calib-batch", type=click.IntRange(1), metavar="N",
        help="Batch size of calibration. [default: 32]",
    ),
    click.option(
        "--cache", "--calib-cache", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
        help="Folder that keeps captures, statistics, kernel times and decisions for later runs. "
        "[default: the user's]",
    ),
    click.option(
        "--no-cache", "reuse", flag_value="no",
        help="Nothing is taken from earlier runs, or kept for later ones.",
    ),
    click.option(
        "--memory", metavar="SIZE",
        help="Memory limit of calibration, beside the model: 4GB. `compress MODEL` works on an "
        "ONNX file with more weights in files of their own block by block. [default: 1GB]",
    ),
)  # fmt: skip
