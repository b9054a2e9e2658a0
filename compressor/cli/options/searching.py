"""Options of `compress search`."""

from pathlib import Path

import click

from compressor.cli.options.output import recipe_option
from compressor.cli.parsing import (
    words,
)
from compressor.cli.sections import section
from compressor.cli.targets import complete_targets
from exporters import DEFAULT_TARGET

SEARCHED = section(
    "Target and output",
    click.option(
        "--target", metavar="NAME", shell_complete=complete_targets,
        help="Runtime of the artifacts; `compress targets` lists them. "
        f"[default: {DEFAULT_TARGET}]",
    ),
    click.option(
        "-o", "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
        help="Folder of study and front. A search that was broken off goes on there. [default: "
        "MODEL's name with -TARGET-search]",
    ),
    recipe_option("Recipe in TOML; its section [search.space] says what is varied."),
    click.option("--force", is_flag=True, help="Begin anew, whatever the folder holds."),
)  # fmt: skip

SEARCH = section(
    "Search",
    click.option(
        "--objectives", callback=words, metavar="NAMES",
        help="Objectives, of latency, quality, size and memory. [default: latency,quality]",
    ),
    click.option(
        "--trials", type=click.IntRange(1), metavar="N",
        help="Number of recipes to try. [default: 60; with --time-budget as many as it allows]",
    ),
    click.option(
        "--sampler", metavar="NAME",
        help="Sampler: tpe, nsga2, gp, cmaes, random or grid. [default: tpe]",
    ),
    click.option(
        "--limit", "limits", multiple=True, metavar="LIMIT",
        help='Limit of an objective (repeatable): "latency<=2ms" or "size<=5MB".',
    ),
    click.option(
        "--pick", metavar="POINT",
        help='Point of the front to ship into DIR/picked: knee, or limits as "latency<=2ms". It is '
        "confirmed on samples that no trial has seen.",
    ),
    click.option(
        "--validation", metavar="HOW",
        help="Use of the evaluation samples that are searched on: holdout, kfold:5 or "
        "stratified-kfold:5. [default: holdout]",
    ),
    click.option(
        "--no-warm-start", "warm_start", flag_value="no",
        help="Trials begin at random, and not with the front of the sensitivity table.",
    ),
    click.option(
        "--storage", metavar="URL",
        help="Database that several machines share: postgresql+psycopg://USER@HOST/NAME. "
        "[default: a journal in DIR]",
    ),
    click.option(
        "--study", metavar="NAME", help="Name of the study in that database. [default: compress]"
    ),
)  # fmt: skip
