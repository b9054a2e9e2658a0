"""Options of training."""

import click

from compressor.cli.sections import section

TRAINING = section(
    "Training",
    click.option(
        "--train", metavar="LENGTH",
        help="Training with gradients from the original's own outputs, for so long: 5m, 2000steps "
        "or 10epochs. The recipe's [train] has the rest. Needs the extra torch.",
    ),
    click.option(
        "--train-data", metavar="DATA",
        help="Training data in the forms of --calib, with or without labels. [default: --calib]",
    ),
    click.option(
        "--attention", metavar="FORM",
        help="Efficient attention, window:128 (tokens that each sees) or linear, in the layers "
        "where it is faster. Distilled from the original, so that it needs --train.",
    ),
    click.option(
        "--exits", type=click.IntRange(min=1), metavar="N",
        help="Early exits of a classifier, at most: samples that a head is sure of leave at the "
        "end of a block. Kept where the mean latency falls within --max-drop, which it needs.",
    ),
    click.option(
        "--device", type=click.Choice(["cpu", "cuda"]),
        help="Device that training runs on. [default: cpu]",
    ),
)  # fmt: skip
