"""Options of the quality budget."""

import click

from compressor.cli.sections import section

_EVIDENCE = click.option(
    "--budget", "accept", type=click.Choice(["bound", "point"]),
    help="Evidence that accepts a result: a 95 % confidence bound of the loss, or its point "
    "estimate. [default: bound]",
)  # fmt: skip

_LOSS = "a loss of 1% of the original's value, or of 0.5pt in the metric's unit."

BUDGET = section(
    "Quality budget",
    click.option(
        "--max-drop", metavar="LOSS",
        help=f"Quality budget: {_LOSS} It also prunes as far as that allows. Exit code 3 if not "
        "met.",
    ),
    _EVIDENCE,
    click.option(
        "--time-budget", metavar="TIME",
        help="Time limit of the search: 90s, 10m or 1.5h. The best candidate by then ships.",
    ),
)  # fmt: skip

SEARCHED_BUDGET = section(
    "Quality budget",
    click.option(
        "--max-drop", metavar="LOSS",
        help=f"Quality budget: {_LOSS} Trials that lose more are given up. Exit code 3 if what "
        "--pick ships does not meet it.",
    ),
    _EVIDENCE,
    click.option(
        "--time-budget", metavar="TIME",
        help="Time limit of the trials: 90s, 10m or 1.5h. The front is of those that ended.",
    ),
)  # fmt: skip
