"""Options of data, and of how it is prepared."""

from pathlib import Path

import click

from compressor.cli.parsing import (
    calib,
    image_size,
    layout,
    number,
    numbers,
)
from compressor.cli.sections import section, together

_FORMS = (
    "Calibration data: arrays (.npz, .npy, or a folder of .npz), a folder of images or recordings, "
    "a table (.csv, .jsonl, .parquet, .txt), or file.py:function."
)

_CALIB = click.option("--calib", metavar="DATA", help=_FORMS)

CALIB_OF_GRAPHS = section(
    "Data",
    click.option(
        "--calib", multiple=True, callback=calib, metavar="DATA",
        help=f"{_FORMS} For one graph of a pipeline NAME=DATA (repeatable), in place of what the "
        "loop feeds it.",
    ),
)  # fmt: skip

_DATA = section(
    "Data",
    click.option(
        "--eval", metavar="DATA", help="Evaluation data in the same forms, with or without labels."
    ),
    click.option(
        "--samples", type=click.IntRange(1), metavar="N",
        help="Number of calibration samples to draw. [default: all]",
    ),
    click.option(
        "--tokenizer", type=click.Path(path_type=Path), metavar="FILE",
        help="Tokenizer of texts: tokenizer.json, or its folder. [default: the model folder's]",
    ),
    click.option(
        "--layout", callback=layout, metavar="ORDER",
        help="Transposition of stored data to the input's order of axes: nhwc-to-nchw or "
        "nchw-to-nhwc.",
    ),
    click.option(
        "--scale", callback=number, metavar="X",
        help="Factor of stored values, before --mean and --std: 1/255.",
    ),
    click.option(
        "--mean", callback=numbers, metavar="X,Y,Z",
        help="Mean of each channel, subtracted from values.",
    ),
    click.option(
        "--std", callback=numbers, metavar="X,Y,Z",
        help="Standard deviation of each channel, by which values are divided.",
    ),
    click.option(
        "--image-size", callback=image_size, metavar="HxW",
        help="Size that images of a folder are resized to: 224 or 224x192.",
    ),
    click.option(
        "--crop", type=click.FloatRange(0, 1, min_open=True), metavar="SHARE",
        help="Share of an image's side that the centre crop keeps: 0.875.",
    ),
    click.option(
        "--fit", type=click.Choice(["cover", "stretch"]),
        help="Way to the image size: cover keeps the aspect, stretch does not. [default: cover]",
    ),
    click.option(
        "--interpolation",
        type=click.Choice(["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]),
        help="Filter of resized images. [default: bilinear]",
    ),
)  # fmt: skip

DATA = together(section("Data", _CALIB), _DATA)

LOOP_DATA = together(CALIB_OF_GRAPHS, _DATA)
