"""A table for the terminal: names to the left, figures to the right."""

from rich.table import Table


def figures_table(first: str, *numbers: str) -> Table:
    """A table without rows.

    Args:
        first: Heading of the names, which may take several lines.
        numbers: Headings of the figures, which may not.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table
