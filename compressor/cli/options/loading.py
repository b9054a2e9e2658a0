"""Options of loading the model."""

import click

from compressor.cli.parsing import (
    factory_arguments,
)
from compressor.cli.sections import Decorator, section, together

_INPUT = (
    "Type and shape of an input, like image:float32[batch,3,224,224] (repeatable). Needed where "
    "neither data nor model tells. Names are dynamic sizes; past+seq is their sum."
)


def _input_option(words: str) -> Decorator:
    """`--input NAME:DTYPE[DIMS]`, and what it is for there."""
    return click.option("--input", "inputs", multiple=True, metavar="NAME:DTYPE[DIMS]", help=words)


_LOADING = section(
    "Loading the model",
    click.option(
        "--model", "model_factory", metavar="SPEC",
        help="Factory of the module that a state dict is for: package.module:factory or "
        "file.py:factory.",
    ),
    click.option(
        "--model-args", multiple=True, callback=factory_arguments, metavar="KEY=VALUE",
        help="Keyword argument of the factory (repeatable), or a JSON object.",
    ),
    click.option(
        "--state-key", metavar="KEY",
        help="Key of the state dict to load from a file with several, like ema. [default: the one "
        "that fits]",
    ),
    click.option(
        "--task", metavar="NAME",
        help="Task of a Hugging Face folder, like text-classification. [default: what its "
        "architecture is for]",
    ),
    click.option(
        "--trust-pickle", is_flag=True,
        help="Unpickle a whole module. This runs code from the file: only for files you trust. "
        "With --model the weights are read without it.",
    ),
    click.option(
        "--noise", type=click.Choice(["inside", "input"]),
        help="Source of the random numbers that the model draws: inside the artifact, or an input "
        "of it. [default: inside]",
    ),
)  # fmt: skip

LOADING = together(_LOADING, section("Loading the model", _input_option(_INPUT)))

LOADING_GRAPHS = together(
    _LOADING,
    section(
        "Loading the model",
        _input_option(f"{_INPUT} GRAPH/NAME:... is of one graph of a pipeline."),
    ),
)
