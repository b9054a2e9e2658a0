"""Commands on the folders that `compress` wrote."""

from pathlib import Path
from typing import Any

import click

from compressor.cli.failures import shown
from compressor.cli.front import CONTEXT
from compressor.cli.options.output import SHOWING
from compressor.cli.sections import SectionedCommand


@click.command(cls=SectionedCommand, context_settings=CONTEXT)
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
        render_directories(directories, flags)


@click.command(cls=SectionedCommand, context_settings=CONTEXT)
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
        check_directory(directory, flags)


@click.command(cls=SectionedCommand, context_settings=CONTEXT)
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@SHOWING
def verify(directory: Path, **flags: Any) -> None:
    """Verify a finished folder DIR before it is deployed: exit code 2 and what differs.

    Files are held against the manifest, report and plan against the files. Each graph is loaded in
    a process of its own and has to answer what it answered to a sample when it was written.
    """
    from compressor.cli.commands import verify_directory  # noqa: PLC0415 - keeps --help quick

    with shown(flags):
        verify_directory(directory, flags)


@click.command(cls=SectionedCommand, context_settings=CONTEXT)
@click.argument("directory", required=False, type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--clear", is_flag=True, help="Remove the entries.")
@SHOWING
def cache(directory: Path | None, **flags: Any) -> None:
    """Show what is kept for later runs, or clear it.

    DIR is a folder of --cache; without one it is the user's.
    """
    from compressor.cli.commands import show_cache  # noqa: PLC0415 - keeps --help quick

    with shown(flags):
        show_cache(directory, flags)
