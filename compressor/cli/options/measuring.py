"""Options of what speed and quality are measured at."""

import click

from compressor.cli.parsing import (
    number,
)
from compressor.cli.sections import section, together

SEED = click.option(
    "--seed", type=int, metavar="N", help="Seed of every random choice. [default: 0]"
)

TIMING = section(
    "Measuring",
    click.option(
        "--batch", type=click.IntRange(1), metavar="N",
        help="Batch size at which latency decides. [default: 1]",
    ),
    click.option(
        "--threads", type=click.IntRange(0), metavar="N",
        help="Threads at which latency decides, 0 for all. [default: 1]",
    ),
    click.option(
        "--phase", type=click.Choice(["decode", "prefill"]),
        help="Decoder phase that comes first, in which regions are timed: one token behind the "
        "cache, or a whole prompt. [default: decode]",
    ),
    click.option(
        "--context", type=click.IntRange(1), metavar="TOKENS",
        help="Context length of a decoder: tokens of a prompt, or in the cache. [default: the "
        "data's, else 128]",
    ),
    click.option(
        "--tokens", metavar="PROMPT:NEW",
        help="Use of a decoder with a cache: tokens that it reads at once, and tokens that it "
        "writes then. The time of both decides. [default: 64:64]",
    ),
    click.option(
        "--measure-seconds", type=click.FloatRange(0, min_open=True), metavar="S",
        help="Longest time of the deciding latency measurement. [default: 4]",
    ),
    SEED,
)  # fmt: skip

JUDGING = section(
    "Measuring",
    click.option(
        "--metric", metavar="NAME",
        help="Quality metric, such as accuracy, psnr or fid: docs/metrics.md lists all. Or "
        "file.py:function. [default: the first that fits]",
    ),
    click.option(
        "--radius", callback=number, metavar="R",
        help="Radius of the attacks of --metric robust_accuracy: most that any number the model is "
        "fed changes, such as 0.03 or 8/255.",
    ),
    click.option(
        "--features", metavar="MODEL",
        help="Feature model of metrics such as fid and kid: an ONNX file, CHECKPOINT, "
        "CHECKPOINT@FACTORY, or file.py:function.",
    ),
    click.option(
        "--output-metric", metavar="OUTPUT",
        help="Output that the metric reads. [default: logits, output, or the first that is no "
        "state]",
    ),
    click.option(
        "--no-memory", "measure_memory", flag_value="no",
        help="Peak memory is not measured, which takes a process for each model.",
    ),
)  # fmt: skip

MEASURING = together(TIMING, JUDGING)
