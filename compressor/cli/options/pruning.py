"""Options of pruning."""

import click

from compressor.cli.sections import section
from compressor.recipe.methods import METHODS

PRUNING = section(
    "Pruning",
    click.option(
        "--prune", metavar="SHARE",
        help="Share of the multiply-accumulates to remove: 30%. none prunes nothing. [default: as "
        "much as --max-drop allows, else none]",
    ),
    click.option(
        "--params", metavar="SHARE", help="Share of the parameters to remove: 50%."
    ),
    click.option(
        "--speedup", metavar="RATIO",
        help="Speed-up over the float baseline to prune to, as measured: 1.5x.",
    ),
    click.option(
        "--latency", metavar="TIME",
        help="Latency of one inference to prune to, as measured: 4ms.",
    ),
    click.option("--size", metavar="SIZE", help="Size of the model file to prune to: 5MB."),
    click.option(
        "--prune-threshold", metavar="FRACTION",
        help="Norm below which channels are removed, relative to the largest of their group: 0.05. "
        "Needs --prune-method l2 or l1.",
    ),
    click.option(
        "--prune-method",
        type=click.Choice(METHODS),
        help="Importance criterion of channels, heads and hidden units. "
        f"[default: {METHODS[0]}]",
    ),
    click.option(
        "--prune-loss", metavar="FILE:FUNCTION",
        help="Loss function of --prune-method taylor. [default: cross-entropy of class labels]",
    ),
    click.option(
        "--prune-round", type=click.IntRange(1), metavar="N",
        help="Multiple that channel counts are kept at. [default: the target's]",
    ),
    click.option(
        "--prune-least", metavar="SHARE",
        help="Least share of every group that stays: 25% or 0.25. [default: 0.125]",
    ),
    click.option(
        "--prune-leave", multiple=True, metavar="PATTERN",
        help="Names of nodes or weights whose groups and blocks stay whole, like '*head*' "
        "(repeatable).",
    ),
    click.option(
        "--no-prune-blocks", "prune_blocks", flag_value="no",
        help="Residual blocks stay. apply_plan cannot take them out of a module.",
    ),
    click.option(
        "--sparsity", type=click.Choice(["2:4"]),
        help="2:4 sparsity: two of every four neighbouring weights become zero, the others are "
        "refitted. Needs --calib, and a target whose kernels skip zeros.",
    ),
)  # fmt: skip
