"""Options under headings: those that people need first, then by what they are about."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

FIRST: Final = (
    "target",
    "calib",
    "eval",
    "max_drop",
    "quantize",
    "prune",
    "model_factory",
    "inputs",
    "output",
    "recipe_file",
)
"""Parameters that most runs need, in the order of help."""

NEEDED_FIRST: Final = "Options needed first"
TERMINAL: Final = "Terminal"
_OWN: Final = "Options of this command"
_headings: Final = dict[str, str]()
_Rows = dict[str, dict[str, tuple[str, str]]]


def section(heading: str, *options: Decorator) -> Decorator:
    """Options that stand under one heading, in reading order, as one decorator.

    Raises:
        ValueError: One of them stands under another already: a name has one heading in all help.
    """

    def probe() -> None:
        """Collects the parameters that the options add."""

    for option in options:
        option(probe)
    parameters: Iterable[click.Parameter] = getattr(probe, "__click_params__", ())
    for parameter in parameters:
        known = _headings.setdefault(parameter.name or "", heading)
        if known != heading:
            raise ValueError(f"{parameter.name} stands under {known!r} and under {heading!r}")
    return together(*options)


def together(*decorators: Decorator) -> Decorator:
    """One decorator from several, in reading order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


class SectionedCommand(click.Command):
    """A command whose help shows its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each option once: under `NEEDED_FIRST` if `FIRST` has it, else under its own."""
        rows: _Rows = {NEEDED_FIRST: {}, _OWN: {}}
        for option in self.get_params(ctx):
            row = option.get_help_record(ctx) if isinstance(option, click.Option) else None
            if row is not None:
                name = option.name or ""
                heading = TERMINAL if option.is_eager else _headings.get(name, _OWN)
                heading = NEEDED_FIRST if name in FIRST else heading
                rows.setdefault(heading, {})[name] = row
        needed = rows[NEEDED_FIRST]
        rows[NEEDED_FIRST] = {name: needed[name] for name in FIRST if name in needed}
        for heading, found in rows.items():
            if found:
                with formatter.section(heading):
                    formatter.write_dl(list(found.values()))
