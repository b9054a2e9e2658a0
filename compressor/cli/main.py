"""The entry point: `compress MODEL ...`, and the commands beside it."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from compressor.cli.failures import shown
from compressor.cli.options.budget import BUDGET, SEARCHED_BUDGET
from compressor.cli.options.data import DATA, LOOP_DATA
from compressor.cli.options.loading import LOADING, LOADING_GRAPHS
from compressor.cli.options.loops import COMPARED_LOOP, PIPELINE
from compressor.cli.options.measuring import MEASURING, SEED, TIMING
from compressor.cli.options.output import (
    OUTPUT,
    SHARING,
    SHOWING,
    TARGETS,
    recipe_option,
    reject_both,
)
from compressor.cli.options.pruning import PRUNING
from compressor.cli.options.quantization import CALIBRATION, QUANTIZATION
from compressor.cli.options.searching import SEARCH, SEARCHED
from compressor.cli.options.training import TRAINING
from compressor.cli.parsing import shard
from compressor.cli.places import recipe_values
from compressor.cli.sections import SectionedCommand
from compressor.cli.targets import complete_targets
from exporters import DEFAULT_LINTER, DEFAULT_TARGET

DEFAULT = "run"
RUNTIME = f"Runtime; `compress targets` lists them. [default: {DEFAULT_TARGET}]"
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
EPILOG = """\b
Exit codes: 0 done · 1 internal error · 2 wrong usage or bad input ·
3 quality budget or goal of pruning not met · 4 target not available ·
5 the linter found errors · 130 interrupted
\b
A model file that is named like a command is reached as ./profile.
"""

SHARDING = """\b
compress calibrate MODEL --calib DATA --shard 1/2 -o one.npz
compress calibrate MODEL --calib DATA --shard 2/2 -o two.npz
compress calibrate --merge one.npz two.npz -o stats.npz
compress MODEL --calib DATA --stats stats.npz
"""


class Front(click.Group):
    """A group whose first argument is a model unless it names a command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command in front of a model's path or of a flag."""
        _require_text(args)
        own = {"-h", "--help", "--version", *self.commands}
        if args and (args[0] not in own or args[0] == DEFAULT):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The default command's help is the help; the other commands come below."""
        run = self.commands[DEFAULT]
        formatter.write_usage(ctx.command_path, "MODEL... [OPTIONS]  |  COMMAND ...")
        run.format_help_text(ctx, formatter)
        with formatter.section("Commands"):
            others = [(n, c.get_short_help_str(100)) for n, c in self.commands.items()]
            formatter.write_dl([row for row in others if row[0] != DEFAULT])
        with click.Context(run, parent=ctx) as inner:
            run.format_options(inner, formatter)
        self.format_epilog(ctx, formatter)


def _require_text(args: Sequence[str]) -> None:
    """Reports, plans and manifests hold names, and are UTF-8: other bytes would fail at the end.

    Raises:
        click.UsageError: A word is not UTF-8.
    """
    for word in args:
        try:
            word.encode()
        except UnicodeEncodeError:
            told = word.encode(errors="backslashreplace").decode()
            raise click.UsageError(
                f"{told} is not UTF-8, as reports and plans are: rename the file, or link to it"
            ) from None


class _ModelContext(click.Context):
    """Context of the default command, which users do not name."""

    @property
    def command_path(self) -> str:
        """`compress`, for usage and advice."""
        return self.parent.command_path if self.parent else "compress"


class _ModelCommand(SectionedCommand):
    context_class = _ModelContext


@click.group(cls=Front, context_settings=CONTEXT, no_args_is_help=True, epilog=EPILOG)
@click.version_option(package_name="compressor", prog_name="compress")
def cli() -> None:
    """Compress trained models; see `run`."""


@cli.command(DEFAULT, cls=_ModelCommand, hidden=True, context_settings=CONTEXT, epilog=EPILOG)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@OUTPUT
@SHARING
@LOOP_DATA
@PIPELINE
@QUANTIZATION
@CALIBRATION
@PRUNING
@TRAINING
@LOADING_GRAPHS
@MEASURING
@BUDGET
@TARGETS
@SHOWING
def run(models: tuple[str, ...], **flags: Any) -> None:
    """Compress a trained MODEL for its runtime: fold, prune, quantize to INT8, measure, report.

    MODEL is a checkpoint (state dict, safetensors, torch.export or TorchScript archive, trusted
    pickle), a Hugging Face folder, or an ONNX file. Several run one after the other. INT8 needs
    --calib, except --quantize int8-dynamic. Pruning needs a goal (--prune, --params, --speedup,
    --latency or --size) or a quality budget (--max-drop).
    """
    from compressor.cli.commands import compress_models  # noqa: PLC0415 - keeps --help quick

    with shown(flags):
        reject_both(flags["as_json"], flags["quiet"])
        compress_models(models, flags, recipe_values(flags))


@cli.command(cls=SectionedCommand, context_settings=CONTEXT)
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
        reject_both(flags["as_json"], flags["quiet"])
        profile_model(model, flags, recipe_values(flags))


@cli.command(cls=SectionedCommand, context_settings=CONTEXT)
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
        reject_both(flags["as_json"], flags["quiet"])
        inspect_model(model, flags, recipe_values(flags))


@cli.command(cls=SectionedCommand, context_settings=CONTEXT)
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
        reject_both(flags["as_json"], flags["quiet"])
        sensitivity_of(model, flags, recipe_values(flags))


@cli.command(cls=SectionedCommand, context_settings=CONTEXT)
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
        reject_both(flags["as_json"], flags["quiet"])
        search_model(model, flags, recipe_values(flags))


@cli.command(cls=SectionedCommand, context_settings=CONTEXT)
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
        reject_both(flags["as_json"], flags["quiet"])
        compare_models(a, b, flags, recipe_values(flags))


@cli.command(cls=SectionedCommand, context_settings=CONTEXT)
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
        reject_both(flags["as_json"], flags["quiet"])
        lint_model(model, flags)


@cli.command(cls=SectionedCommand, context_settings=CONTEXT, epilog=SHARDING)
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
        reject_both(flags["as_json"], flags["quiet"])
        calibrate_model(paths, flags, recipe_values(flags))


@cli.command(cls=SectionedCommand, context_settings=CONTEXT)
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
        reject_both(flags["as_json"], flags["quiet"])
        train_model(model, flags, recipe_values(flags))


@cli.command(cls=SectionedCommand, context_settings=CONTEXT)
@click.argument(
    "directories", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="DIR..."
)
@SHOWING
def report(directories: tuple[Path, ...], **flags: Any) -> None:
    """Render report.html and report.md of the output folder DIR anew from its report.json.

    Several folders are put side by side, with the runs marked that no other beats in everything.
    """
    from compressor.cli.commands import render_directories  # noqa: PLC0415 - keeps --help quick

    with shown(flags):
        reject_both(flags["as_json"], flags["quiet"])
        render_directories(directories, flags)


@cli.command(cls=SectionedCommand, context_settings=CONTEXT)
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--max-drop",
    metavar="LOSS",
    help="Quality that may be lost: 1% of the original's value, or 0.5pt in the metric's unit.",
)
@click.option(
    "--min-speedup",
    metavar="RATIO",
    help="Least speed-up over the float baseline: 1.5x. 1x is no slower.",
)
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Stored folder that the new one must not fall behind.",
)
@SHOWING
def check(directory: Path, **flags: Any) -> None:
    """Check a finished folder DIR, for CI: exit code 3 if it is not good or fast enough.

    Files are held against the manifest, figures of the report against limits. Nothing is run.
    Quality and size count as they are against a stored folder, speed by its speed-up.
    """
    from compressor.cli.commands import check_directory  # noqa: PLC0415 - keeps --help quick

    with shown(flags):
        reject_both(flags["as_json"], flags["quiet"])
        check_directory(directory, flags)


@cli.command(cls=SectionedCommand, context_settings=CONTEXT)
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@SHOWING
def verify(directory: Path, **flags: Any) -> None:
    """Verify a finished folder DIR before it is deployed: exit code 2 and what differs.

    Files are held against the manifest, report and plan against the files. Each graph is loaded in
    a process of its own and has to answer what it answered to a sample when it was written.
    """
    from compressor.cli.commands import verify_directory  # noqa: PLC0415 - keeps --help quick

    with shown(flags):
        reject_both(flags["as_json"], flags["quiet"])
        verify_directory(directory, flags)


@cli.command(cls=SectionedCommand, context_settings=CONTEXT)
@click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--clear", is_flag=True, help="Remove the entries.")
@SHOWING
def cache(directory: Path | None, **flags: Any) -> None:
    """Show what is kept for later runs, or clear it.

    DIR is a folder of --cache; without one it is the user's.
    """
    from compressor.cli.commands import show_cache  # noqa: PLC0415 - keeps --help quick

    with shown(flags):
        reject_both(flags["as_json"], flags["quiet"])
        show_cache(directory, flags)


@cli.command(cls=SectionedCommand, context_settings=CONTEXT)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def targets(as_json: bool) -> None:
    """List the runtimes that artifacts can be made for, and whether each is usable here."""
    from compressor.cli.commands import list_targets  # noqa: PLC0415 - keeps --help quick

    with shown({}):
        list_targets(as_json)


@cli.command(cls=SectionedCommand, context_settings=CONTEXT)
@OUTPUT
@LOOP_DATA
@PIPELINE
@QUANTIZATION
@CALIBRATION
@PRUNING
@TRAINING
@LOADING_GRAPHS
@MEASURING
@BUDGET
@TARGETS
def recipe(**flags: Any) -> None:
    """Print a documented TOML recipe; flags given here are filled in."""
    from compressor.cli.commands import print_recipe  # noqa: PLC0415 - keeps --help quick

    with shown({}):
        print_recipe(flags["recipe_file"], recipe_values(flags), flags["effort"])


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        # A pipe with an ASCII locale must not turn a × or → into a crash after an hour's work.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    # What make, timeout and containers send: cleaned up after like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cli(prog_name="compress")
