"""Commands beside `compress` that take a model."""

from pathlib import Path
from typing import Any

import click

from compressor.cli.failures import shown
from compressor.cli.front import CONTEXT
from compressor.cli.options.budget import SEARCHED_BUDGET
from compressor.cli.options.data import DATA
from compressor.cli.options.loading import LOADING
from compressor.cli.options.loops import COMPARED_LOOP
from compressor.cli.options.measuring import MEASURING, SEED, TIMING
from compressor.cli.options.output import SHARING, SHOWING, TARGETS, recipe_option
from compressor.cli.options.quantization import CALIBRATION
from compressor.cli.options.searching import SEARCH, SEARCHED
from compressor.cli.options.training import TRAINING
from compressor.cli.parsing import shard
from compressor.cli.places import recipe_values
from compressor.cli.sections import SectionedCommand
from compressor.cli.targets import complete_targets
from exporters import DEFAULT_LINTER, DEFAULT_TARGET

RUNTIME = f"Runtime; `compress targets` lists them. [default: {DEFAULT_TARGET}]"

SHARDING = """\b
compress calibrate MODEL --calib DATA --shard 1/2 -o one.npz
compress calibrate MODEL --calib DATA --shard 2/2 -o two.npz
compress calibrate --merge one.npz two.npz -o stats.npz
compress MODEL --calib DATA --stats stats.npz
"""


@click.command(cls=SectionedCommand, context_settings=CONTEXT)
@click.argument("model")
@click.option("--top", type=click.IntRange(1), default=15, show_default=True, help="Nodes to list.")
@click.option("--target", metavar="NAME", help=RUNTIME, shell_complete=complete_targets)
@DATA
@LOADING
@TIMING
@SHOWING
def profile(model: str, **flags: Any) -> None:
    """Profile a model by operator: time, MACs, bytes, and what bounds it; and its peak memory."""
    from compressor.cli.commands import profile_model  # noqa: PLC0415 - keeps --help quick

    with shown(flags):
        profile_model(model, flags, recipe_values(flags))


@click.command(cls=SectionedCommand, context_settings=CONTEXT)
@click.argument("model")
@click.option("--top", type=click.IntRange(1), default=15, show_default=True, help="Rows to list.")
@DATA
@LOADING
@SHOWING
def inspect(model: str, **flags: Any) -> None:
    """List what could be pruned: coupled channels, heads and hidden units; and what stays, and why.

    The model is not changed. The share of a group is of all that would go with it; shares overlap.
    """
    from compressor.cli.commands import inspect_model  # noqa: PLC0415 - keeps --help quick

    with shown(flags):
        inspect_model(model, flags, recipe_values(flags))


@click.command(cls=SectionedCommand, context_settings=CONTEXT)
@click.argument("model")
@click.option("--top", type=click.IntRange(1), default=15, show_default=True, help="Rows to list.")
@click.option("--target", metavar="NAME", help=RUNTIME, shell_complete=complete_targets)
@DATA
@CALIBRATION
@LOADING
@TIMING
@SHOWING
def sensitivity(model: str, **flags: Any) -> None:
    """Measure what each region of a model costs in time and quality, as float and as INT8.

    Nothing is written. Quality is the error at the outputs with only that region quantized. It is
    measured on calibration samples that no range was chosen on.
    """
    from compressor.cli.commands import sensitivity_of  # noqa: PLC0415 - keeps --help quick

    with shown(flags):
        sensitivity_of(model, flags, recipe_values(flags))


@click.command(cls=SectionedCommand, context_settings=CONTEXT)
@click.argument("model")
@SEARCHED
@SHARING
@SEARCH
@DATA
@CALIBRATION
@LOADING
@MEASURING
@SEARCHED_BUDGET
@TARGETS
@SHOWING
def search(model: str, **flags: Any) -> None:
    """Search many recipes of a model for the front between latency, quality, size and memory.

    Every point of the front has a plan that `compress MODEL --plan` replays. It needs --calib, and
    --eval is best. The package optuna searches; an interrupted search goes on where it stopped.
    """
    from compressor.cli.commands import search_model  # noqa: PLC0415 - keeps --help quick

    with shown(flags):
        search_model(model, flags, recipe_values(flags))


@click.command(cls=SectionedCommand, context_settings=CONTEXT)
@click.argument("a")
@click.argument("b")
@click.option("--target", metavar="NAME", help=RUNTIME, shell_complete=complete_targets)
@DATA
@COMPARED_LOOP
@LOADING
@MEASURING
@SHOWING
def compare(a: str, b: str, **flags: Any) -> None:
    """Compare two models: latency, quality, memory and size of B against A.

    Both are timed in turn in one process. --model and --input hold for both. With --pipeline A and
    B are folders that compress wrote.
    """
    from compressor.cli.commands import compare_models  # noqa: PLC0415 - keeps --help quick

    with shown(flags):
        compare_models(a, b, flags, recipe_values(flags))


@click.command(cls=SectionedCommand, context_settings=CONTEXT)
@click.argument("model")
@click.option(
    "--target", metavar="NAME", default=DEFAULT_LINTER, help=f"Runtime. [default: {DEFAULT_LINTER}]"
)
@click.option("--strict", is_flag=True, help="Count warnings as errors: exit code 5.")
@click.option(
    "--time-limit",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    default=300.0,
    help="Time limit of the runtime's own parser, where it is installed. [default: 300]",
)
@SHOWING
def lint(model: str, **flags: Any) -> None:
    """Check an ONNX file for what a runtime would reject, misread or run slowly.

    Any ONNX file will do. Each finding names the node, the reason and the remedy. Errors give exit
    code 5. The runtime's own parser reads the file too, where it is installed; neither needs a GPU.
    docs/lint.md lists the rules.
    """
    from compressor.cli.commands import lint_model  # noqa: PLC0415 - keeps --help quick

    with shown(flags):
        lint_model(model, flags)


@click.command(cls=SectionedCommand, context_settings=CONTEXT, epilog=SHARDING)
@click.argument("paths", nargs=-1, required=True, metavar="MODEL | FILE...")
@click.option("--target", metavar="NAME", help=RUNTIME, shell_complete=complete_targets)
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="File for the statistics.",
)
@click.option(
    "--shard",
    callback=shard,
    metavar="I/N",
    help="Shard of the data to read: part I of N. Merged shards equal one pass.",
)
@click.option("--merge", is_flag=True, help="Merge statistics: the paths are FILEs of shards.")
@SHARING
@recipe_option("Recipe in TOML; flags override it.")
@SEED
@DATA
@CALIBRATION
@LOADING
@SHOWING
def calibrate(paths: tuple[str, ...], **flags: Any) -> None:
    """Collect calibration statistics for `compress MODEL --stats FILE`, whole or in shards.

    Shards merge to the statistics of one pass, bit for bit.
    """
    from compressor.cli.commands import calibrate_model  # noqa: PLC0415 - keeps --help quick

    with shown(flags):
        calibrate_model(paths, flags, recipe_values(flags))


@click.command(cls=SectionedCommand, context_settings=CONTEXT)
@click.argument("model")
@click.option(
    "--teacher", metavar="MODEL", help="Original that answers: an ONNX file or a checkpoint."
)
@click.option(
    "--loss",
    metavar="FILE:FUNCTION",
    help="Loss function of (outputs, batch) in place of the teacher.",
)
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="ONNX file for the trained model. [default: MODEL's name with -trained]",
)
@recipe_option("Recipe in TOML, whose [train] holds optimizer, schedule and the like.")
@SEED
@DATA
@TRAINING
@LOADING
@SHOWING
def train(model: str, **flags: Any) -> None:
    """Train an ONNX MODEL, float or with Q/DQ, to answer as its --teacher does, without its source.

    Labels are optional. A Q/DQ model is trained through its integers, whose scales stay. The best
    moment on held-out samples is kept, and the weights stay as they are where none is better.
    """
    from compressor.cli.commands import train_model  # noqa: PLC0415 - keeps --help quick

    with shown(flags):
        train_model(model, flags, recipe_values(flags))
