"""Options of pipelines of several graphs."""

import click

from compressor.cli.parsing import (
    graphs,
    pipeline_options,
)
from compressor.cli.sections import section
from compressor.pipelines.builtin import loop_names

_LOOPS = "Pipelines of several graphs"

UNITS = click.option(
    "--units", type=click.IntRange(2), metavar="N",
    help="Number of generated units that judge. [default: what a minute makes, at least 64]",
)  # fmt: skip

LOOP_OPTION = click.option(
    "--pipeline-option", "pipeline_options", multiple=True, callback=pipeline_options,
    metavar="NAME=VALUE",
    help="Option of a built-in loop (repeatable): steps=20. `compress recipe --pipeline NAME` "
    "lists them.",
)  # fmt: skip

COMPARED_LOOP = section(
    _LOOPS,
    click.option(
        "--pipeline", metavar="SPEC",
        help="Loop over the graphs of two result folders: generate(models, seed, count) as "
        "file.py:function, or a built-in one by name. What it returns is compared.",
    ),
    LOOP_OPTION,
    UNITS,
)  # fmt: skip

PIPELINE = section(
    _LOOPS,
    click.option(
        "--pipeline", metavar="SPEC",
        help="Loop over the graphs: generate(models, seed, count) as file.py:function, or "
        f"{', '.join(loop_names())}. What it feeds them calibrates them; what it returns is "
        "judged.",
    ),
    LOOP_OPTION,
    click.option(
        "--graph", "graphs", multiple=True, callback=graphs, metavar="NAME=MODEL[@FACTORY]",
        help="Graph of the loop by the name it is called (repeatable), in place of MODEL.",
    ),
    UNITS,
)  # fmt: skip
