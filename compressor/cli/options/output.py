"""Options of target and output, and of what the terminal shows."""

from pathlib import Path

import click

from compressor.cli.sections import TERMINAL, Decorator, section
from compressor.cli.targets import complete_targets, target_options
from exporters import DEFAULT_TARGET


def recipe_option(words: str) -> Decorator:
    """`--recipe FILE`, and what it is for there."""
    file = click.Path(path_type=Path)
    return click.option("--recipe", "recipe_file", type=file, metavar="FILE", help=words)


TARGETS = target_options()

OUTPUT = section(
    "Target and output",
    click.option(
        "--target", metavar="NAME", shell_complete=complete_targets,
        help="Runtime of the artifact; `compress targets` lists them. Several: ort,trt. "
        f"[default: {DEFAULT_TARGET}]",
    ),
    click.option(
        "-k", "--keep-going", is_flag=True,
        help="Run the other models and targets even if one fails.",
    ),
    click.option(
        "-o", "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
        help="Output folder. [default: MODEL's name with -TARGET]",
    ),
    recipe_option("Recipe in TOML; flags override it. `compress recipe` prints one."),
    click.option(
        "--plan", type=click.Path(path_type=Path), metavar="FILE",
        help="Plan to replay: plan.json of an earlier run. The same model gives the same bytes.",
    ),
    click.option(
        "--force", is_flag=True, help="Replace an output folder that compress did not write."
    ),
    click.option(
        "--package", type=click.Choice(["triton"]),
        help="Layout for a server, beside the artifact: triton, a model repository.",
    ),
    click.option(
        "--effort", type=click.Choice(["fast", "default", "best"]),
        help="Time to spend. fast: --samples 128 --measure-seconds 1, and with --max-drop "
        "--time-budget 60s. best: --measure-seconds 12.",
    ),
    click.option(
        "--track", multiple=True, metavar="NAME",
        help="Tracker that the run is logged to: mlflow, tensorboard or wandb (repeatable).",
    ),
)  # fmt: skip

SHARING = section(
    "Target and output",
    click.option(
        "--workers", metavar="N|HOST:PORT|auto", default="1",
        help="Number of processes here that share the work, or the address of a Ray cluster. "
        "[default: 1]",
    ),
)  # fmt: skip

SHOWING = section(
    TERMINAL,
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
    click.option("--quiet", is_flag=True, help="Print errors only."),
    click.option(
        "-v", "--verbose", is_flag=True,
        help="Show messages of other libraries, and the traceback of an error.",
    ),
)  # fmt: skip
