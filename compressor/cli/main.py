"""The entry point: `compress MODEL ...`, and the commands beside it."""

import signal
import sys
from typing import Any

import click

from compressor.cli import on_folders, on_models
from compressor.cli.failures import shown
from compressor.cli.front import CONTEXT, DEFAULT, EPILOG, Front, ModelCommand
from compressor.cli.options.budget import BUDGET
from compressor.cli.options.data import LOOP_DATA
from compressor.cli.options.loading import LOADING_GRAPHS
from compressor.cli.options.loops import PIPELINE
from compressor.cli.options.measuring import MEASURING
from compressor.cli.options.output import OUTPUT, SHARING, SHOWING, TARGETS
from compressor.cli.options.pruning import PRUNING
from compressor.cli.options.quantization import CALIBRATION, QUANTIZATION
from compressor.cli.options.training import TRAINING
from compressor.cli.places import recipe_values
from compressor.cli.sections import SectionedCommand, together

ASKED = together(
    LOOP_DATA,
    PIPELINE,
    QUANTIZATION,
    CALIBRATION,
    PRUNING,
    TRAINING,
    LOADING_GRAPHS,
    MEASURING,
    BUDGET,
    TARGETS,
)
"""What a recipe holds, but for its output."""


@click.group(cls=Front, context_settings=CONTEXT, no_args_is_help=True, epilog=EPILOG)
@click.version_option(package_name="compressor", prog_name="compress")
def cli() -> None:
    """Compress trained models; see `run`."""


@cli.command(DEFAULT, cls=ModelCommand, hidden=True, context_settings=CONTEXT, epilog=EPILOG)
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@OUTPUT
@SHARING
@ASKED
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
        compress_models(models, flags, recipe_values(flags))


for _command in (
    on_models.profile,
    on_models.inspect,
    on_models.sensitivity,
    on_models.search,
    on_models.compare,
    on_models.lint,
    on_models.calibrate,
    on_models.train,
    on_folders.report,
    on_folders.check,
    on_folders.verify,
    on_folders.cache,
):
    cli.add_command(_command)


@cli.command(cls=SectionedCommand, context_settings=CONTEXT)
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def targets(as_json: bool) -> None:
    """List the runtimes that artifacts can be made for, and whether each is usable here."""
    from compressor.cli.commands import list_targets  # noqa: PLC0415 - keeps --help quick

    with shown({}):
        list_targets(as_json)


@cli.command(cls=SectionedCommand, context_settings=CONTEXT)
@OUTPUT
@ASKED
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
